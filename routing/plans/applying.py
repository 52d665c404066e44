"""Applying a plan: its pairs are opened to people, once, and what a replaced plan asked in vain is taken back."""

import logging
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import numpy as np
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from annotation.assigning import Opening, close_untouched, open_tasks, reprioritise
from annotation.errors import TiebreakError
from annotation.models import Pair, Project, Task, TaskState, Tier
from annotation.publishing import publish, wake
from judges.errors import JudgeError
from judges.models import JudgeVersion
from judges.running import start_run
from routing.errors import RoutingError
from routing.labels.resolving import resolve_labels
from routing.models import BudgetKind, Plan, PlanState, RouteSource
from routing.plans.budgeting import promised_usd
from routing.plans.closing import closable_tasks
from routing.plans.costing import Votes, count_votes
from routing.plans.drawing import Draw, mix_priorities
from routing.plans.options import PlanOptions

logger = logging.getLogger(__name__)

TASK = "routing.tasks.apply_plan"
# After this long a message counts as lost; applying takes seconds, and applying twice is harmless.
LOST_AFTER = timedelta(minutes=2)
ASKED = (RouteSource.PEOPLE, RouteSource.AUDIT)
# What `figures["after"]` holds once the second judge was asked, or could not be.
SECOND_ASKED = {"second_run", "second_error"}
READY = (PlanState.DRAFT, PlanState.APPLYING)


class Changes(NamedTuple):
    """What applying a plan changes for people, in pairs.

    `opens` that are not open now and `closes` that are; of those that stay open, `wanted` by this plan too, `begun`
    (held or answered) and of an `audit` slice.
    """

    opens: int
    closes: int
    wanted: int
    begun: int
    audit: int

    @property
    def stay(self) -> int:
        """Return the pairs that stay open."""
        return self.wanted + self.begun + self.audit


def apply_plan(plan: Plan) -> int:
    """Open a plan's pairs to people and return how many tasks that opened; then resolve the project's labels.

    A plan is applied once, by conditional update in the transaction that opens the tasks; called again it opens
    nothing and only goes on where it stopped: it asks the second judge and resolves. A plan that replaces another
    takes back the replaced plan's pairs that it does not want and nobody has begun. Raises `RoutingError` for a plan
    that is no draft, or that another plan has overtaken.
    """
    opened = _open(plan, tell=False)
    _ask_second_judge(plan)
    plan.refresh_from_db()
    resolve_labels(plan.project)
    return opened


def queue_apply(plan: Plan) -> bool:
    """Have a worker apply a draft; say whether it was this call that asked. Raises `RoutingError` for no draft.

    A broker that is down loses nothing: the row waits, and `send_waiting_applications` sends it again.
    """
    with transaction.atomic():
        queued = Plan.objects.filter(pk=plan.pk, state=PlanState.DRAFT).update(state=PlanState.APPLYING, error="")
        if queued:
            plan.note_after(queued_at=timezone.now().isoformat())
            transaction.on_commit(lambda: _send(plan.pk))
    plan.refresh_from_db()
    if not queued and plan.state not in (PlanState.APPLYING, PlanState.APPLIED):
        raise RoutingError(f"This plan is not ready to be applied: {plan.get_state_display().lower()}.")
    return bool(queued)


def work_apply(plan_id: UUID | str) -> None:
    """Apply a plan that waits for a worker. Idempotent: one that is applied, or deleted, is left alone.

    What goes wrong makes it a draft again that says why. The labels follow by the outbox, in the same worker's queue.
    """
    plan = Plan.objects.select_related("project").filter(pk=plan_id, state=PlanState.APPLYING).first()
    if plan is None:
        return
    try:
        _open(plan, tell=True)
    except TiebreakError as error:
        _give_up(plan, str(error))
        logger.info("plan %s was not applied: %s", plan.pk, error)
        return
    except Exception as error:
        _give_up(plan, f"It could not be applied ({type(error).__name__}); the worker's log says more. Try again.")
        raise
    _ask_second_judge(plan)


def send_waiting_applications(*, now: datetime) -> int:
    """Heal what a lost message or a dead worker left: plans not yet applied, second judges not yet asked.

    Return how many messages left; sending one twice is harmless.
    """
    sent = 0
    for plan in Plan.objects.filter(state=PlanState.APPLYING).order_by("created_at"):
        queued_at = plan.figures.get("after", {}).get("queued_at")
        if queued_at is not None and datetime.fromisoformat(queued_at) > now - LOST_AFTER:
            continue
        if not _send(plan.pk):
            break
        sent += 1
    # After the messages: whatever goes wrong with one judge, no plan waits for it.
    for plan in Plan.objects.filter(state=PlanState.APPLIED, options__has_key="second_judge").defer("predictor"):
        if not plan.figures.get("after", {}).keys() & SECOND_ASKED:
            _ask_second_judge(plan)
    return sent


def changes_of(plan: Plan) -> Changes:
    """Return what applying a draft would change for people now. Four queries."""
    asked = {*plan.routes.filter(source__in=ASKED).values_list("pair_id", flat=True)}
    tasks = Task.objects.filter(project=plan.project_id, tier=Tier.CROWD, state=TaskState.OPEN)
    there = {*tasks.values_list("pair_id", flat=True)}
    free = {*closable_tasks(plan.project).values_list("pair_id", flat=True)} if plan.replaces_id else set()
    begun = {*tasks.filter(Q(taken__gt=0) | Q(answered__gt=0)).values_list("pair_id", flat=True)}
    closes = free - asked
    left = there - closes
    return Changes(
        opens=len(asked - there),
        closes=len(closes),
        wanted=len((left & asked) - begun),
        begun=len(left & begun),
        audit=len(left - begun - asked),
    )


def _send(plan_id: UUID) -> bool:
    return wake([TASK], {"plan_id": str(plan_id)})


def _give_up(plan: Plan, reason: str) -> None:
    Plan.objects.filter(pk=plan.pk, state=PlanState.APPLYING).update(state=PlanState.DRAFT, error=reason)


def _open(plan: Plan, *, tell: bool) -> int:
    """Open a plan's tasks, once, and say how many; with `tell` the outbox has the labels made again afterwards."""
    with transaction.atomic():
        # Two plans of a project wait here for each other: what one opens is what the other finds.
        project = Project.objects.select_for_update(no_key=True).get(pk=plan.project_id)
        claimed = Plan.objects.filter(pk=plan.pk, state__in=READY)
        if not claimed.update(state=PlanState.APPLIED, applied_at=timezone.now(), error=""):
            _refuse_unless_applied(plan)
            return 0
        _refuse_overtaken(plan)
        _refuse_dearer(plan, project)
        promised = promised_usd(project, None)
        closed, dropped = _take_back(plan) if plan.replaces_id else (set(), set())
        options = options_of(plan)
        # As the plan promised and priced them, whatever the project wants by now.
        votes = votes_of(plan)
        openings = [*_openings(plan), *_waiting_again(plan)]
        opened = open_tasks(
            project,
            openings,
            votes_wanted=votes.wanted,
            most_votes=votes.most if votes.most > votes.wanted else None,
            expert_on_split=options.expert_on_split,
            tier=Tier.CROWD,
            keep_priorities=True,
        )
        close_untouched(project, dropped)
        _refuse_beyond_budget(project, promised)
        plan.note_after(opened=opened - len(dropped), closed=len(closed), dropped=len(dropped))
        if tell:
            publish("labels_outdated", {"project_id": str(project.pk)})
    # After it, in transactions of its own: nobody's answer waits until thousands of tasks have moved.
    reprioritise(project, openings)
    return opened - len(dropped)


def options_of(plan: Plan) -> PlanOptions:
    """Return the options a plan was drawn with."""
    return PlanOptions.from_json(plan.options)


def votes_of(plan: Plan) -> Votes:
    """Return how many answers a plan's pairs get. Plans of before that was kept ask for the project's number."""
    kept = plan.figures.get("votes")
    return Votes(**kept) if kept else count_votes(plan.project.votes_wanted, options_of(plan), 0.0)


def _refuse_unless_applied(plan: Plan) -> None:
    state = Plan.objects.values_list("state", flat=True).get(pk=plan.pk)
    if state != PlanState.APPLIED:
        raise RoutingError(f"This plan is not ready to be applied: {PlanState(state).label.lower()}.")


def _refuse_overtaken(plan: Plan) -> None:
    """Refuse a plan that was drawn to replace another when a third was applied since. Caller holds the project."""
    others = Plan.objects.filter(project=plan.project_id, state=PlanState.APPLIED).exclude(pk=plan.pk)
    last = others.order_by("-applied_at").first()
    if plan.replaces_id and last is not None and last.pk != plan.replaces_id:
        raise RoutingError("Another plan was applied since this one was drawn. Plan again with what came in.")


def _refuse_dearer(plan: Plan, project: Project) -> None:
    """Refuse a plan in US dollars whose answers cost more than it has, since the pay was raised after it was drawn."""
    if plan.budget_kind != BudgetKind.MONEY or options_of(plan).pay_per_hour_usd is not None:
        return
    pairs = plan.routes.filter(source__in=ASKED).count()
    cost = pairs * votes_of(plan).most * Decimal(project.pay_per_answer_usd)
    if cost > plan.budget_value:
        raise RoutingError(
            f"The pay an answer was raised since this plan was drawn: its answers could cost ${cost:.2f}, and its "
            f"budget is ${plan.budget_value:.2f}. Draw it again."
        )


def _refuse_beyond_budget(project: Project, before: Decimal) -> None:
    """Refuse what takes the project's promises to people beyond its budget, however it was when the plan was drawn."""
    promised, budget = promised_usd(project, None), project.people_budget_usd
    if budget is not None and promised > budget and promised > before:
        raise RoutingError(
            f"With this plan people's answers could cost ${promised:.2f}, and the project's budget for people is "
            f"${budget:.2f}: it was drawn when more was left. Draw it again, or raise the budget."
        )


def _take_back(plan: Plan) -> tuple[set[UUID], set[UUID]]:
    """Close the tasks that a replaced plan opened and this one does not want; return their pairs, and those to drop.

    Pairs that people began since the plan was drawn stay with them although it counted on their money. As many of the
    plan's own, those of the least gain, are dropped: opened and closed at once. Caller holds the project.
    """
    routes = list(plan.routes.order_by("pair_id").values_list("pair_id", "source", "expected_gain", "cost_usd"))
    asked = {pair_id for pair_id, source, *_ in routes if source in ASKED}
    free = {*closable_tasks(plan.project).values_list("pair_id", flat=True)}
    closed = close_untouched(plan.project, free - asked)
    tasks = Task.objects.filter(project=plan.project_id, tier=Tier.CROWD).exclude(state=TaskState.CLOSED)
    there = {*tasks.values_list("pair_id", flat=True)}
    begun = {pair_id for pair_id, *_ in routes if pair_id in there and pair_id not in asked}
    counted_on = sum(_prices_of(plan, begun).values(), Decimal(0))
    fresh = [
        (gain or 0.0, pair_id, cost)
        for pair_id, source, gain, cost in routes
        if source == RouteSource.PEOPLE and pair_id not in there
    ]
    dropped: set[UUID] = set()
    freed = Decimal(0)
    for _, pair_id, cost in sorted(fresh):
        if len(dropped) >= len(begun) and freed >= counted_on:
            break
        dropped.add(pair_id)
        freed += cost
    if len(dropped) < len(begun) or freed < counted_on:
        raise RoutingError(
            f"People began {len(begun):,} pairs since this plan was drawn, more than it could give up instead. "
            "Plan again with what came in."
        )
    return closed, dropped


def _prices_of(plan: Plan, pair_ids: set[UUID]) -> dict[UUID, Decimal]:
    """Return the most that the plans applied before may pay for each of these pairs."""
    before = Plan.objects.filter(project=plan.project_id, state=PlanState.APPLIED).exclude(pk=plan.pk)
    prices: dict[UUID, Decimal] = {}
    for one in before.order_by("applied_at"):
        routes = one.routes.filter(source__in=ASKED).values_list("pair_id", "cost_usd")
        prices |= {pair_id: cost for pair_id, cost in routes if pair_id in pair_ids}
    return prices


def _openings(plan: Plan) -> list[Opening]:
    """Return the plan's pairs with their priorities, drawn again from the plan's seed."""
    routes = list(
        plan.routes.filter(source__in=ASKED).order_by("pair_id").values_list("pair_id", "source", "expected_gain")
    )
    audit = np.array([source == RouteSource.AUDIT for _, source, _ in routes], dtype=bool)
    gain = np.array([value if value is not None else np.nan for *_, value in routes], dtype=float)
    draw = Draw(audit, ~audit, np.ones(len(routes)))
    priorities = mix_priorities(gain, draw, np.random.default_rng([plan.seed, len(routes)]))
    return [Opening(route[0], float(priority)) for route, priority in zip(routes, priorities, strict=True)]


def _waiting_again(plan: Plan) -> list[Opening]:
    """Return the open pairs that stay from before a plan, with priorities among its own.

    Those that were begun go first, so that they get their label; the untouched ones, all of an audit slice, get places
    at random, so that which of them are answered says nothing.
    """
    if not plan.replaces_id:
        return []
    routes = plan.routes.filter(source__in=ASKED)
    tasks = Task.objects.filter(project=plan.project_id, tier=Tier.CROWD, state=TaskState.OPEN)
    kept = tasks.exclude(pair_id__in=routes.values("pair_id")).order_by("pair_id")
    begun = Q(taken__gt=0) | Q(answered__gt=0)
    gains = routes.filter(source=RouteSource.PEOPLE, expected_gain__isnull=False).order_by("pair_id")
    pool = np.array(list(gains.values_list("expected_gain", flat=True)) or [1.0], dtype=float)
    untouched = list(kept.exclude(begun).values_list("pair_id", flat=True))
    places = np.random.default_rng([plan.seed, len(untouched), 1]).choice(pool, size=len(untouched))
    return [
        *(Opening(pair_id, float(pool.max())) for pair_id in kept.filter(begun).values_list("pair_id", flat=True)),
        *(Opening(pair_id, float(place)) for pair_id, place in zip(untouched, places, strict=True)),
    ]


def _ask_second_judge(plan: Plan) -> None:
    """Start the run of a plan's second judge on the pairs it is for, once; why it cannot be asked is kept.

    The pairs that people have by now are left out.
    """
    with transaction.atomic():
        # In the order of `start_run`: the project, then what is its own.
        Project.objects.select_for_update(no_key=True).get(pk=plan.project_id)
        held = Plan.objects.select_for_update(no_key=True).get(pk=plan.pk)
        second, after = held.figures.get("second") or {}, held.figures.get("after", {})
        if not second.get("version_id") or after.keys() & SECOND_ASKED:
            return
        with_people = Task.objects.filter(project=held.project_id).exclude(state=TaskState.CLOSED)
        routes = held.routes.filter(source=RouteSource.SECOND).exclude(pair_id__in=with_people.values("pair_id"))
        pairs = Pair.objects.filter(pk__in=routes.values("pair_id"))
        version = JudgeVersion.objects.select_related("judge__project", "rater").get(pk=second["version_id"])
        budget = options_of(held).second_budget_usd
        try:
            with transaction.atomic():
                run = start_run(version, pairs=pairs, budget_usd=budget, started_by=held.created_by)
        except JudgeError as error:
            plan.note_after(second_error=str(error))
        else:
            plan.note_after(second_run=str(run.pk))
