"""Planning again with the answers that came in: what is left of the budget goes where the doubt is now."""

from decimal import Decimal
from typing import Any

from annotation.models import Project, Task, TaskState, User
from routing.errors import RoutingError
from routing.models import BudgetKind, Plan, PlanState
from routing.plans.applying import ASKED, options_of, votes_of
from routing.plans.budgeting import Budget, answers_beside
from routing.plans.closing import closable_tasks
from routing.plans.planning import PlanRequest, draw_plan
from routing.plans.queueing import queue_plan

USD = Decimal("0.000001")


def replan(
    project: Project,
    *,
    judge: str | None = None,
    budget: Budget | None = None,
    seed: int | None = None,
    created_by: User | None = None,
) -> Plan:
    """Draw the plan applied last anew, in this process, with what is left of its budget, and store it as a draft.

    The judge, the options, the part drawn at random and the seed are those of the plan it replaces, unless given. Held,
    answered and audited pairs stay with people; applying the draft closes the untouched ones that it does not want.
    Raises `RoutingError`: no plan is applied, or nothing is left to plan.
    """
    return draw_plan(project, **_arguments(project, judge, budget, seed, created_by))


def queue_replan(
    project: Project,
    *,
    judge: str | None = None,
    budget: Budget | None = None,
    seed: int | None = None,
    created_by: User | None = None,
) -> Plan:
    """Have a worker plan again (`replan` as a job). Raises `RoutingError` for what cannot be."""
    return queue_plan(project, **_arguments(project, judge, budget, seed, created_by))


def last_applied(project: Project) -> Plan | None:
    """Return the plan that was applied last."""
    return Plan.objects.filter(project=project, state=PlanState.APPLIED).order_by("-applied_at").first()


def left_of(project: Project) -> Budget:
    """Return what is left of the applied plans' budgets for pairs that are not with people for good.

    Where all of them had a budget in US dollars: that money but for the votes that kept pairs have taken or may still
    take. Where the last one aims at an agreement: that agreement. Otherwise as many pairs as nobody has begun.
    Raises `RoutingError` where nothing is left.
    """
    applied = list(Plan.objects.filter(project=project, state=PlanState.APPLIED).order_by("applied_at"))
    first = [plan for plan in applied if plan.replaces_id is None]
    if applied and _first_of(applied[-1]).budget_kind == BudgetKind.TARGET:
        return Budget.target(_first_of(applied[-1]).budget_value)
    if first and all(plan.budget_kind == BudgetKind.MONEY for plan in first):
        left = sum((plan.budget_value for plan in first), Decimal(0)) - _promised(project, applied)
        if left <= 0:
            raise RoutingError("Nothing is left to plan again: all money of the plan is spent or promised.")
        return Budget.money(left.quantize(USD))
    untouched = closable_tasks(project).count()
    if not untouched:
        raise RoutingError(
            "Nothing is left to plan again: every pair that the plan asks about is answered, held by somebody, or of "
            "the audit slice, which stays. Draw a new plan to ask about more pairs."
        )
    return Budget.of_pairs(untouched)


def _arguments(
    project: Project, judge: str | None, budget: Budget | None, seed: int | None, created_by: User | None
) -> PlanRequest:
    last = last_applied(project)
    if last is None:
        raise RoutingError(f"No plan of {project} is applied yet, so there is none to draw again. Draw and apply one.")
    return {
        "budget": budget or left_of(project),
        "judge": judge or last.judge_name or None,
        "audit_share": last.audit_share,
        "seed": last.seed if seed is None else seed,
        "created_by": created_by,
        "options": options_of(last),
        "replaces": last,
    }


def _first_of(plan: Plan) -> Plan:
    """Return the plan whose budget a plan goes on with: the first of those that replaced each other."""
    while plan.replaces is not None:
        plan = plan.replaces
    return plan


def _promised(project: Project, applied: list[Plan]) -> Decimal:
    """Return what the plans' pairs that people keep have cost or may cost at most, with what was answered beside."""
    kept = Task.objects.filter(project=project).exclude(state=TaskState.CLOSED)
    kept = kept.exclude(pk__in=closable_tasks(project).values("pk"))
    promised = Decimal(0)
    prices: dict[Any, tuple[Decimal, int]] = {}
    for plan in applied:
        votes = votes_of(plan).most
        routes = plan.routes.filter(source__in=ASKED)
        prices |= {pair: (cost, votes) for pair, cost in routes.values_list("pair_id", "cost_usd")}
    for pair, state, wanted, most in kept.values_list("pair_id", "state", "votes_wanted", "most_votes"):
        if pair in prices:
            cost, votes = prices[pair]
            # A task that is done takes no further vote, however far it might have grown.
            promised += cost * (most or wanted if state == TaskState.OPEN else wanted) / votes
    for pair, answers in answers_beside(project):
        if pair in prices:
            cost, votes = prices[pair]
            promised += cost * answers / votes
    return promised
