"""The pairs that go to a second judge before their label stands: those next in doubt after people's."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from annotation.models import Pair, Project
from judges.models import COMBINED, JudgeKind, JudgeVersion
from judges.paying import largest_cost
from judges.questions import Question, orders_of, shown
from routing.errors import RoutingError
from routing.labels.reading import answers_of
from routing.plans.options import PlanOptions
from routing.plans.trusting import full_name

PAIRS_PER_FETCH = 500


class Second(NamedTuple):
    """A second judge, the pairs it is to be asked about, and the most that may cost (None: its price is unknown)."""

    version: JudgeVersion
    pair_ids: list[UUID]
    most_usd: Decimal | None


def choose_second(
    project: Project, options: PlanOptions, first: JudgeVersion, candidates: Sequence[UUID], *, without_budget: int
) -> Second:
    """Return which of the `candidates` (most doubtful first) the second judge is asked about.

    Pairs it has answered are passed over: what it said is a signal already. It takes as many pairs as its budget pays
    for at the most that its calls can cost; without a budget `without_budget` pairs. Raises `RoutingError`.
    """
    version = _find(project, options.second_judge)
    if version.pk == first.pk:
        raise RoutingError(f"The second judge, {full_name(version)}, is the plan's own judge; name another.")
    if version.judge.kind == JudgeKind.RECORDED:
        raise RoutingError(f"The second judge, {full_name(version)}, was imported: nobody can ask it. Name another.")
    answered = answers_of(version, candidates)
    fresh = [pair_id for pair_id in candidates if pair_id not in answered]
    budget = options.second_budget_usd
    taken: list[UUID] = []
    total: Decimal | None = Decimal(0)
    for pair_id, cost in _costs(version, fresh if budget is not None else fresh[:without_budget]):
        if budget is not None:
            if cost is None:
                raise RoutingError(
                    f"The price of {full_name(version)} is unknown, so second_budget_usd cannot be kept. Add the judge "
                    "again with its prices, or leave its budget out."
                )
            if (total or 0) + cost > budget:
                break
        total = None if cost is None or total is None else total + cost
        taken.append(pair_id)
    return Second(version, taken, total)


def _find(project: Project, name: str) -> JudgeVersion:
    """Return the version of that name, whether or not it has answered anything yet; pairwise and newest first."""
    wanted = name.strip().casefold()
    known = list(JudgeVersion.objects.filter(judge__project=project).select_related("judge__project", "rater"))
    for name_of in (lambda one: {full_name(one), str(one)}, lambda one: {one.judge.name}):
        fitting = [one for one in known if wanted in {text.casefold() for text in name_of(one)}]
        if fitting:
            return max(fitting, key=lambda one: ("pairwise" in one.protocol, one.number))
    names = ", ".join(sorted({full_name(one) for one in known})) or "none yet"
    raise RoutingError(f"There is no judge named {name!r} in {project} to ask second. Judges: {names}.")


def _costs(version: JudgeVersion, pair_ids: Sequence[UUID]) -> Iterator[tuple[UUID, Decimal | None]]:
    """Yield the most that asking about each pair can cost, all orders together; texts are read a few at a time."""
    for start in range(0, len(pair_ids), PAIRS_PER_FETCH):
        wanted = pair_ids[start : start + PAIRS_PER_FETCH]
        pairs = Pair.objects.with_texts().in_bulk(wanted) if version.judge.kind not in COMBINED else {}
        for pair_id in wanted:
            yield pair_id, _cost(version, pairs[pair_id]) if pair_id in pairs else None


def _cost(version: JudgeVersion, pair: Pair) -> Decimal | None:
    total = Decimal(0)
    for order in orders_of(version):
        first, second = shown(order, pair.response_a.text, pair.response_b.text)
        question = Question(
            verdict_id=pair.pk,
            prompt=pair.prompt.messages,
            first=first,
            second=second,
            order=order,
            pair_id=pair.pk,
            context=pair.prompt.context,
            reference=pair.prompt.reference,
            group=pair.prompt.group,
        )
        cost = largest_cost(version, question)
        if cost is None:
            return None
        total += cost
    return total
