"""How many pairs a budget pays for, before any of them is drawn."""

import math
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import NamedTuple, Self
from uuid import UUID

import numpy as np
import pandas as pd
from django.db.models import Case, Count, F, Q, When
from django.db.models.functions import Coalesce

from annotation.models import Assignment, Origin, Pair, Preference, Project, Task
from annotation.models.tasks import TaskState
from annotation.opening import SLATES
from annotation.slating import asked_in
from routing.errors import RoutingError
from routing.models import BudgetKind, Plan, PlanState, RouteSource
from routing.plans.arranging import Ranking
from routing.plans.closing import closable_tasks
from routing.plans.costing import MICROS_PER_USD, Costs, Micros
from routing.plans.options import PlanOptions

# Below it, the measure of the judge would rest on nothing: a plan whose audit slice is smaller is refused.
LEAST_AUDIT_SHARE = 0.02


class Budget(NamedTuple):
    """What a plan may spend: a share of the pairs (0 to 1), a number, US dollars, or what an agreement needs."""

    kind: BudgetKind
    value: Decimal

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a share: "25%" or "0.25". Raises `RoutingError` for anything else."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text)
        share = Decimal(match[1]) / (100 if match[2] else 1) if match else Decimal(-1)
        if not 0 < share <= 1:
            raise RoutingError(f"A budget is a share of the pairs, such as 25% or 0.25, not {text!r}.")
        return cls(BudgetKind.SHARE, share)

    @classmethod
    def of_pairs(cls, pairs: Decimal | str | int) -> Self:
        """Return a budget of so many pairs. Raises `RoutingError` unless it is a whole number of 1 or more."""
        value = _number(pairs)
        if value < 1 or value != value.to_integral_value() or value >= Decimal(10) ** 8:
            raise RoutingError(f"A number of pairs is a whole number of 1 or more, such as 200, not {pairs!r}.")
        return cls(BudgetKind.COUNT, value)

    @classmethod
    def money(cls, usd: Decimal | str | float) -> Self:
        """Return a budget in US dollars. Raises `RoutingError` unless it is a positive number."""
        value = _number(usd)
        if value <= 0:
            raise RoutingError(f"A budget in US dollars is a number above 0, such as 50 or 12.5, not {usd!r}.")
        return cls(BudgetKind.MONEY, value)

    @classmethod
    def target(cls, agreement: Decimal | str | float) -> Self:
        """Return the budget that an agreement of labels with people needs. Raises `RoutingError` outside 0 to 1."""
        value = _number(agreement)
        if not 0 < value <= 1:
            raise RoutingError(f"A target agreement is a share above 0, such as 0.9, not {agreement!r}.")
        return cls(BudgetKind.TARGET, value)


def _number(value: Decimal | str | float) -> Decimal:
    """Return a number, or -1 for what is none."""
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return Decimal(-1)
    return found if found.is_finite() else Decimal(-1)


class Asked(NamedTuple):
    """How many pairs people are asked about, how many of those at random, and what set the limit."""

    pairs: int
    audited: int
    limited_by: str


def check_audit_share(audit_share: float) -> None:
    """Raise `RoutingError` for an audit slice that is no share, or too small to measure anything by."""
    if not 0 <= audit_share <= 1:
        raise RoutingError(f"The audit slice is a share of the pairs between 0 and 1, not {audit_share}.")
    if audit_share < LEAST_AUDIT_SHARE:
        raise RoutingError(
            f"The audit slice is {audit_share:.1%} of the pairs; it takes {LEAST_AUDIT_SHARE:.0%} or more (usually "
            "5%). Without pairs drawn at random nobody could say how good the labels are that people do not check."
        )


def pairs_in_budget(
    project: Project,
    budget: Budget,
    *,
    costs: Costs,
    pairs: int,
    ranking: Ranking,
    audit_of: Callable[[int], int],
    promised: Decimal,
    for_target: Callable[[], int],
) -> Asked:
    """Return how many pairs the budget pays for, whatever the draw will pick.

    `costs` and `ranking` are of the open pairs, `pairs` counts all; `audit_of` says how many of so many asked are drawn
    at random, `promised` what tasks may still cost. Raises `RoutingError` where not one pair can be paid.
    """
    n_open = len(costs.most)
    most_usd = Decimal(int(costs.most.max())) / MICROS_PER_USD
    if budget.kind == BudgetKind.SHARE:
        asked = math.floor(budget.value * pairs)
    elif budget.kind == BudgetKind.COUNT:
        asked = int(budget.value)
    elif budget.kind == BudgetKind.MONEY:
        if most_usd == 0:
            raise RoutingError(f"{project} pays 0 an answer, so money sets no limit. Set the pay, or plan by a share.")
        asked = most_pairs(costs.most, ranking, audit_of, int(budget.value * MICROS_PER_USD))
    else:
        asked = for_target()
    limits = {"the budget": asked, "the pairs there are": n_open}
    if project.people_budget_usd is not None and most_usd:
        left = project.people_budget_usd - promised
        limits["the project's budget for people"] = most_pairs(
            costs.most, ranking, audit_of, int(left * MICROS_PER_USD)
        )
    limited_by = min(limits, key=lambda name: limits[name])
    if limits[limited_by] < 1:
        raise RoutingError(
            f"The plan can ask about no pair: {limited_by} does not pay for one. A pair costs up to {most_usd:.2f} USD "
            f"({costs.votes.most} answers); {pairs:,} pairs are in {project}."
        )
    pairs_asked = limits[limited_by]
    return Asked(pairs_asked, min(audit_of(pairs_asked), pairs_asked), limited_by)


def most_pairs(most: Micros, ranking: Ranking, audit_of: Callable[[int], int], budget: int) -> int:
    """Return the largest number of pairs whose dearest possible draw costs no more than `budget` micro-dollars."""
    if budget <= 0:
        return 0
    low, high = 0, len(most)
    while low < high:
        middle = (low + high + 1) // 2
        if dearest_draw(most, ranking, middle, min(audit_of(middle), middle)) <= budget:
            low = middle
        else:
            high = middle - 1
    return low


def dearest_draw(most: Micros, ranking: Ranking, asked: int, audited: int) -> int:
    """Return the most that asking about `asked` pairs can cost, whichever `audited` of them chance picks.

    Pairs of the audit slice inside the router's reach only let it reach further, so no draw costs more than one whose
    audit slice lies wholly beyond: the first asked - audited of the ranking, and the dearest of the rest.
    """
    chosen = ranking[: asked - audited]
    rest = np.delete(most, chosen)
    dearest = np.sort(rest)[len(rest) - min(audited, len(rest)) :]
    return int(most[chosen].sum() + dearest.sum())


def audit_rule(audit_share: float, pairs: int, replaces: Plan | None) -> Callable[[int], int]:
    """Return how many of so many pairs asked are drawn at random: a share of all pairs, and one at least.

    A plan that replaces another asks at random the same part of what it asks as that one did: its predecessors' audit
    slices are kept, and a full one in every round would leave nothing to the router.
    """
    if replaces is None:
        slice_size = max(1, math.floor(audit_share * pairs))
        return lambda asked: min(slice_size, asked)
    counts = replaces.figures["counts"]
    part = counts["audit"] / max(1, counts["audit"] + counts["people"])
    return lambda asked: max(1, math.ceil(part * asked - 1e-9)) if asked else 0


def pairs_with_people(project: Project, replaces: Plan | None) -> set[str]:
    """Return the pairs that people have, or have had: with a task, or answered here often enough. Two queries.

    A task of a slate asks about every pair in it.

    A closed task that nobody answered is no work; nor is, for a plan that `replaces` another, an open task of the
    router's that nobody holds or has answered.
    """
    free = Q(state=TaskState.CLOSED, answered=0)
    if replaces is not None:
        free |= Q(pk__in=closable_tasks(project).values("pk"))
    tasks = Task.objects.filter(project=project).exclude(free)
    with_task = set(tasks.values_list("pair_id", flat=True))
    if project.template in SLATES:
        with_task |= set(Pair.objects.filter(asked_in(tasks), project=project).values_list("pk", flat=True))
    answered = (
        Preference.objects.counted()
        .of_people()
        .filter(pair__project=project, rater__origin__in=[Origin.LIVE, Origin.SIMULATED])
        .values("pair_id")
        .annotate(answers=Count("id"))
        .filter(answers__gte=project.votes_wanted)
        .values_list("pair_id", flat=True)
    )
    return {str(pair_id) for pair_id in {*with_task, *answered}}


def promised_usd(project: Project, replaces: Plan | None) -> Decimal:
    """Return what the project's tasks may cost: every vote an open one may take, those taken by one that ended.

    And what was answered beside them: too late, or again in a hidden repeat. An order of a slate is one answer. At the
    project's pay an answer, or at the price of the plan that opened the pair where people are paid by time.
    """
    tasks = Task.objects.filter(project=project)
    if replaces is not None:
        tasks = tasks.exclude(pk__in=closable_tasks(project).values("pk"))
    votes = Case(
        When(state=TaskState.OPEN, then=Coalesce(F("most_votes"), F("votes_wanted"))),
        When(state=TaskState.CLOSED, then=F("taken")),
        default=F("votes_wanted"),
    )
    prices, pay = _prices_by_time(project), Decimal(project.pay_per_answer_usd)
    rows = [*tasks.values_list("pair_id", votes).iterator(), *answers_beside(project)]
    return sum((prices.get(pair_id, pay) * number for pair_id, number in rows), Decimal(0))


def answers_beside(project: Project) -> "list[tuple[UUID, int]]":
    """Return the pairs with answers that are paid but fill no slot, and how many of them. One query.

    They came too late to count, or are hidden repeats.
    """
    beside = Assignment.objects.answered().beside().filter(task__project=project)
    return list(beside.values_list("task__pair_id").annotate(answers=Count("id")).order_by("task__pair_id"))


def _prices_by_time(project: Project) -> "dict[object, Decimal]":
    """Return the price of an answer on the pairs of applied plans that pay by time."""
    prices: dict[object, Decimal] = {}
    for plan in Plan.objects.filter(project=project, state=PlanState.APPLIED).order_by("applied_at"):
        if PlanOptions.from_json(plan.options).pay_per_hour_usd is None:
            continue
        asked = plan.routes.filter(source__in=[RouteSource.PEOPLE, RouteSource.AUDIT])
        votes = plan.figures["votes"]["most"]
        prices.update({pair_id: cost / votes for pair_id, cost in asked.values_list("pair_id", "cost_usd")})
    return prices


def words_of_votes(votes: pd.DataFrame, words: pd.Series) -> pd.DataFrame:
    """Return a frame of votes with the words of each vote's pair."""
    return votes.assign(words=votes["pair_id"].map(words).astype(float))
