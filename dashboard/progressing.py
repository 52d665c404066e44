"""How far an applied plan is, and what a draft that replaces one would change: what its page shows."""

from decimal import Decimal
from typing import Any, NamedTuple

from django.db.models import Case, Count, F, Q, Sum, When
from django.db.models.functions import Coalesce

from annotation.models import Assignment, Membership, Role, Task, TaskState, Tier
from dashboard.following import Following, follow
from judges.models import JudgeRun
from routing.auditing.accepting import acceptance_of
from routing.errors import RoutingError
from routing.labels.resolving import NOT_GUARANTEED, SPLIT
from routing.models import BudgetKind, Label, Plan, PlanState, RouteSource
from routing.plans.applying import ASKED, Changes, changes_of, options_of, votes_of
from routing.plans.replanning import last_applied, left_of

# The answers that a task has or may come to.
MOST = Case(
    When(state=TaskState.OPEN, then=Coalesce(F("most_votes"), F("votes_wanted"))),
    When(state=TaskState.CLOSED, then=F("answered")),
    default=F("votes_wanted"),
)


class Work(NamedTuple):
    """What people have done of a plan, in pairs and answers, and the money that goes with it.

    `wanted` answers are asked for now, and `most` may be where people differ everywhere. `grown` pairs got a vote more
    because people differed; `expert` pairs went to an expert for it, `experts_waiting` of them wait. `closed` pairs
    were taken back untouched.
    """

    pairs: int
    done: int
    held: int
    untouched: int
    closed: int
    grown: int
    expert: int
    experts_waiting: int
    answers: int
    wanted: int
    most: int
    may_grow: bool
    spent_usd: Decimal
    promised_usd: Decimal
    budget_usd: Decimal | None

    @property
    def open_pairs(self) -> int:
        """Return the pairs that are still asked about, finished ones included."""
        return self.pairs - self.closed


class SecondJudge(NamedTuple):
    """The second judge of a plan: how many pairs are its, its run or why there is none, and on how many both differ."""

    name: str
    pairs: int
    run: Following | None
    error: str
    split: int


class Promise(NamedTuple):
    """The guarantee of a plan, as the answers to `tested` of its `drawn` audited pairs stand.

    `open_labels` of the judge's labels are not accepted by it.
    """

    alpha: float
    confidence: float
    threshold: float | None
    note: str
    tested: int
    drawn: int
    accepted: int
    open_labels: int


class PlanProgress(NamedTuple):
    """Everything `_plan_progress.html` shows of a plan; parts that do not concern it are None.

    `stuck` says in words why it cannot be planned again; empty where it can. `follower` is the applied plan that
    replaced this one.
    """

    plan: Plan
    is_live: bool
    work: Work | None
    second: SecondJudge | None
    promise: Promise | None
    changes: Changes | None
    stuck: str
    follower: Plan | None
    no_experts: bool

    @property
    def next_round(self) -> int:
        """Return the number of the round that planning again would draw."""
        return self.plan.round + 1


def plan_progress(plan: Plan) -> PlanProgress | None:
    """Return how far a plan is; None for one that has nothing to tell yet (a first draft, or one being drawn)."""
    if plan.state == PlanState.APPLYING:
        return PlanProgress(plan, True, None, None, None, None, "", None, False)
    if plan.state == PlanState.DRAFT and plan.replaces_id:
        return PlanProgress(plan, False, None, None, None, changes_of(plan), "", None, False)
    if plan.state != PlanState.APPLIED:
        return None
    work, second = _work(plan), _second(plan)
    last = last_applied(plan.project)
    is_last = last is not None and last.pk == plan.pk
    busy = work.done + work.closed < work.pairs or (second is not None and second.run is not None and _runs(second.run))
    return PlanProgress(
        plan=plan,
        is_live=busy,
        work=work,
        second=second,
        promise=_promise(plan),
        changes=None,
        stuck=_stuck(plan) if is_last else "",
        follower=None if is_last else plan.replaced_by.filter(state=PlanState.APPLIED).first() or last,
        no_experts=bool(work.experts_waiting)
        and not Membership.objects.filter(project=plan.project_id, role=Role.EXPERT).exists(),
    )


def _work(plan: Plan) -> Work:
    """Count a plan's tasks: three queries."""
    asked = plan.routes.filter(source__in=ASKED)
    crowd = Task.objects.filter(pair_id__in=asked.values("pair_id"), tier=Tier.CROWD)
    votes = options_of(plan)
    counts: dict[str, Any] = crowd.aggregate(
        pairs=Count("id"),
        done=Count("id", filter=Q(state=TaskState.DONE)),
        held=Count("id", filter=Q(taken__gt=F("answered"))),
        untouched=Count("id", filter=Q(state=TaskState.OPEN, taken=0, answered=0)),
        closed=Count("id", filter=Q(state=TaskState.CLOSED)),
        grown=Count("id", filter=Q(votes_wanted__gt=votes_of(plan).wanted)),
        answers=Coalesce(Sum("answered"), 0),
        wanted=Coalesce(Sum("votes_wanted", filter=~Q(state=TaskState.CLOSED)), 0),
        most=Coalesce(Sum(MOST), 0),
        may_grow=Count("id", filter=Q(state=TaskState.OPEN, votes_wanted__lt=F("most_votes"))),
    )
    experts = Task.objects.filter(pair_id__in=asked.values("pair_id"), tier=Tier.EXPERT).aggregate(
        pairs=Count("id"),
        waiting=Count("id", filter=Q(state=TaskState.OPEN)),
        answers=Coalesce(Sum("answered"), 0),
        wanted=Coalesce(Sum("votes_wanted"), 0),
    )
    spent, promised = _money(plan)
    return Work(
        pairs=counts["pairs"],
        done=counts["done"],
        held=counts["held"],
        untouched=counts["untouched"],
        closed=counts["closed"],
        grown=counts["grown"] + (experts["pairs"] if votes.expert_on_split else 0),
        expert=experts["pairs"],
        experts_waiting=experts["waiting"],
        answers=counts["answers"] + experts["answers"],
        wanted=counts["wanted"] + experts["wanted"],
        most=counts["most"] + experts["wanted"],
        may_grow=bool(counts["may_grow"]),
        spent_usd=spent,
        promised_usd=promised,
        budget_usd=plan.budget_value if plan.budget_kind == BudgetKind.MONEY else None,
    )


def _money(plan: Plan) -> tuple[Decimal, Decimal]:
    """Return what the answers on a plan's pairs cost, and what those still to come may cost at most.

    Simulated answers cost nothing, as on the other pages; answers too late and hidden repeats do.
    """
    prices = dict(plan.routes.filter(source__in=ASKED).values_list("pair_id", "cost_usd"))
    votes = votes_of(plan).most
    tasks = Task.objects.filter(pair__routes__plan=plan, pair__routes__source__in=ASKED)
    paid = Assignment.objects.paid().filter(task__in=tasks).values_list("task__pair_id").annotate(Count("id"))
    spent = sum((prices[pair] * answers / votes for pair, answers in paid.order_by()), Decimal(0))
    open_ = tasks.annotate(may_be=MOST).values_list("pair_id", "answered", "may_be")
    promised = sum((prices[pair] * (may_be - answered) / votes for pair, answered, may_be in open_), Decimal(0))
    return spent, promised


def _second(plan: Plan) -> SecondJudge | None:
    second, after = plan.figures.get("second"), plan.figures.get("after", {})
    mine = plan.routes.filter(source=RouteSource.SECOND)
    if not second or not second.get("version_id"):
        return None
    run = None
    if "second_run" in after:
        run = JudgeRun.objects.select_related("version__judge").filter(pk=after["second_run"]).first()
    labels = Label.objects.filter(pair_id__in=mine.values("pair_id"), provenance__rule=SPLIT)
    return SecondJudge(
        name=second["name"],
        pairs=mine.count(),
        run=follow(run) if run else None,
        error=after.get("second_error", ""),
        split=labels.count(),
    )


def _runs(one: Following) -> bool:
    return one.run.state == "running"


def _promise(plan: Plan) -> Promise | None:
    found = acceptance_of(plan)
    if found.alpha is None or found.delta is None:
        return None
    labels = Label.objects.filter(pair__routes__plan=plan, source="ai", provenance__plan=str(plan.pk))
    return Promise(
        alpha=found.alpha,
        confidence=1 - found.delta,
        threshold=found.threshold,
        note=found.note,
        tested=found.tested,
        drawn=plan.figures["counts"]["audit"],
        accepted=labels.exclude(choice="").count(),
        open_labels=labels.filter(provenance__rule=NOT_GUARANTEED).count(),
    )


def _stuck(plan: Plan) -> str:
    try:
        left_of(plan.project)
    except RoutingError as error:
        return str(error)
    return ""
