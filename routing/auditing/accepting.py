"""Which of a judge's labels a plan with a guarantee accepts, as its audited answers stand."""

from typing import NamedTuple, Self
from uuid import UUID

from annotation.models import Project
from routing.auditing.guaranteeing import Guarantee, guarantee_of
from routing.models import Plan, PlanState, RouteSource
from routing.plans.options import PlanOptions


class Acceptance(NamedTuple):
    """What a plan accepts of its judge's labels: all where `alpha` is None, else those with P(wrong) to `threshold`.

    `threshold` is None while the `tested` audited answers certify nothing; `note` says why.
    """

    alpha: float | None = None
    delta: float | None = None
    threshold: float | None = None
    note: str = ""
    tested: int = 0

    @classmethod
    def of(cls, guarantee: Guarantee) -> Self:
        """Return what a guarantee accepts."""
        return cls(guarantee.alpha, guarantee.delta, guarantee.threshold, guarantee.note, guarantee.tested)

    def against(self, p_wrong: float | None) -> str:
        """Return why a label with this P(wrong) is not accepted, in words; nothing where it is."""
        if self.alpha is None or self.delta is None:
            return ""
        if p_wrong is None:
            return "the guarantee knows no P(wrong) of it"
        if self.threshold is None:
            return f"nothing is guaranteed yet: {self.note}"
        if p_wrong <= self.threshold:
            return ""
        return (
            f"P(wrong) {p_wrong:.3f} is above {self.threshold:.3f}, up to where at most {self.alpha:.0%} of the labels "
            f"are wrong with {1 - self.delta:.0%} confidence"
        )


NOT_COUNTED = "no audited answer was counted yet"


def acceptance_of(plan: Plan) -> Acceptance:
    """Return what an applied plan accepts, as it was last counted (`renew_acceptances`). No query."""
    options = PlanOptions.from_json(plan.options)
    if options.guarantee_alpha is None:
        return Acceptance()
    counted = plan.figures.get("after", {}).get("guarantee")
    if counted is None:
        return Acceptance(options.guarantee_alpha, options.guarantee_delta, None, NOT_COUNTED)
    return Acceptance.of(Guarantee(**counted))


def renew_acceptances(project: Project, audited: UUID | None = None) -> set[UUID]:
    """Count the audited answers of plans with a guarantee again; return the pairs that are accepted now or no longer.

    `audited` names the one pair whose answers changed: only plans that drew it at random are counted.
    """
    plans = Plan.objects.filter(project=project, state=PlanState.APPLIED, options__has_key="guarantee_alpha")
    if audited is not None:
        plans = plans.filter(routes__pair_id=audited, routes__source=RouteSource.AUDIT)
    changed: set[UUID] = set()
    for plan in plans:
        before, after = acceptance_of(plan), guarantee_of(plan)
        if plan.figures.get("after", {}).get("guarantee") != after._asdict():
            plan.note_after(guarantee=after._asdict())
        changed |= _between(plan, before.threshold, after.threshold)
    return changed


def _between(plan: Plan, one: float | None, other: float | None) -> set[UUID]:
    """Return the plan's pairs whose P(wrong) lies between two thresholds, None being below all."""
    low, high = sorted([-1.0 if one is None else one, -1.0 if other is None else other])
    if low == high:
        return set()
    return {*plan.routes.filter(p_wrong__gt=low, p_wrong__lte=high).values_list("pair_id", flat=True)}
