"""What the Audit page shows: judge and labels against people, router against random, and what can be guaranteed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from annotation.models import Project
from dashboard.remembering import data_version, remembered
from routing.auditing.comparing import HELPS, HELPS_NOT, Comparison, compare_rounds
from routing.auditing.estimating import ANSWERS_NEEDED_IN_SLICE, applied_plans
from routing.auditing.guaranteeing import Audited, Guarantee, read_audited
from routing.auditing.slicing import AuditReport, audit_report
from routing.models import Plan
from routing.plans.options import PlanOptions

LEAST_IN_PART = ANSWERS_NEEDED_IN_SLICE
ALPHAS = (0.05, 0.10, 0.15, 0.20, 0.25)
# A naive figure nearer than this to the estimate misleads nobody.
MISLEADING = 0.01


class Offer(NamedTuple):
    """What could be guaranteed at one alpha: the labels that could stand, `pairs` of them, as a `share` of those left.

    `asked`: it is the guarantee that the plan itself asks for. `beyond`: it lacks more answers than pairs are left.
    """

    guarantee: Guarantee
    pairs: int
    share: float
    asked: bool
    beyond: bool


class Survey(NamedTuple):
    """The Audit page's contents; `report` is None before a plan is applied, `offers` rest on the `plan` named."""

    report: AuditReport | None
    comparison: Comparison
    offers: list[Offer]
    left: int
    tested: int
    confidence: float
    round_number: int

    @property
    def level(self) -> str:
        """Return the notice's level for what the comparison with random says."""
        return {HELPS: "success", HELPS_NOT: "error"}.get(self.comparison.outcome, "warning")

    @property
    def misleads(self) -> bool:
        """Say whether the naive figure is off by enough to warn of it."""
        distance = self.report.naive_distance if self.report else None
        return distance is not None and abs(distance) >= MISLEADING


def surveyed(project: Project) -> Survey:
    """Return the survey of a project, made once for each state of its data."""
    return remembered(f"survey:{data_version(project)}", lambda: survey(project))


def compared(project: Project) -> Comparison:
    """Return the comparison of the router with random, made once for each state of the data: for banners."""
    return remembered(f"compared:{data_version(project)}", lambda: compare_rounds(project))


def survey(project: Project) -> Survey:
    """Measure everything the page shows; some seconds on 100,000 pairs."""
    plans = applied_plans(project)
    if not plans:
        return Survey(None, compared(project), [], 0, 0, 0.0, 0)
    number, audited = _last_audited(plans)
    plan = plans[number - 1]
    options = PlanOptions.from_json(plan.options)
    return Survey(
        report=audit_report(project),
        comparison=compared(project),
        offers=_offers(plan, audited),
        left=len(audited.p_all),
        tested=len(audited.wrong),
        confidence=1 - options.guarantee_delta,
        round_number=number,
    )


def _last_audited(plans: Sequence[Plan]) -> tuple[int, Audited]:
    """Return the newest round with an audited answer, or the last one: one applied a moment ago has none yet."""
    for number in range(len(plans), 0, -1):
        audited = read_audited(plans[number - 1])
        if len(audited.wrong):
            return number, audited
    return len(plans), read_audited(plans[-1])


def _offers(plan: Plan, audited: Audited) -> list[Offer]:
    options = PlanOptions.from_json(plan.options)
    wanted = options.guarantee_alpha
    alphas = sorted({*ALPHAS, *([] if wanted is None else [wanted])})
    return [_offer(audited, alpha, options.guarantee_delta, asked=alpha == wanted) for alpha in alphas]


def _offer(audited: Audited, alpha: float, delta: float, *, asked: bool) -> Offer:
    found = audited.certify(alpha, delta)
    pairs = 0 if found.threshold is None else int(np.count_nonzero(audited.p_all <= found.threshold))
    left = len(audited.p_all)
    return Offer(found, pairs, pairs / max(1, left), asked, beyond=found.needed > left - len(audited.wrong))
