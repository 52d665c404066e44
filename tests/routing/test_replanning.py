"""Planning again moves what nobody has begun to where the doubt is, and takes nothing from anybody."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from django.utils import timezone

from annotation.assigning import Answer, next_assignment, submit
from annotation.checking import check_invariants
from annotation.models import Assignment, Membership, Pair, Preference, Project, Rater, Role, Task, TaskState
from routing.errors import RoutingError
from routing.models import BudgetKind, Label, Plan, PlanState, Route, RouteSource
from routing.plans.applying import apply_plan, changes_of
from routing.plans.budgeting import promised_usd
from routing.plans.closing import closable_tasks
from routing.plans.options import PlanOptions
from routing.plans.planning import Budget, draw_plan
from routing.plans.replanning import left_of, replan
from routing.predicting.labelling import pair_weights
from tests.builders import make_pair, make_person, make_project
from tests.judged import judge_pairs, make_judge

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def applied(n: int = 60, budget: Budget | None = None, **settings: Any) -> tuple[Project, Plan]:
    """Return a project of which half the pairs are with people, three of them drawn at random."""
    project = make_project(lease_seconds=600)
    pairs = [make_pair(project) for _ in range(n)]
    judge_pairs(make_judge(project), pairs, [("a", "b", "flip", "a")[number % 4] for number in range(n)])
    plan = draw_plan(project, budget=budget or Budget.parse("50%"), judge="gpt", **settings)
    apply_plan(plan)
    return project, plan


def people(project: Project, *names: str) -> list[Rater]:
    for name in names:
        Membership.objects.get_or_create(
            project=project, user=make_person(project, name).user, defaults={"role": Role.ANNOTATOR}
        )
    return [make_person(project, name) for name in names]


def take(project: Project, rater: Rater) -> Assignment:
    held = next_assignment(project, rater, now=NOW).assignment
    assert held is not None
    return held


def answer(project: Project, rater: Rater, number: int, choice: str = "b") -> list[Any]:
    """Let a person answer so many pairs; return them."""
    answered = []
    for _ in range(number):
        held = take(project, rater)
        submit(held.pk, rater, Answer(choice), now=NOW)
        answered.append(held.task.pair_id)
    return answered


def states() -> dict[Any, str]:
    return dict(Task.objects.values_list("pair_id", "state"))


def asked_by(plan: Plan, *sources: str) -> set[Any]:
    return set(plan.routes.filter(source__in=sources or ["people", "audit"]).values_list("pair_id", flat=True))


def unlike(plan: Plan) -> None:
    """Make a draft want other pairs than the plan before: the router's choices become AI's, and the other way round."""
    chosen = list(plan.routes.filter(source=RouteSource.PEOPLE))
    others = list(plan.routes.filter(source=RouteSource.AI, pair__tasks__isnull=True)[: len(chosen)])
    for old, new in zip(chosen, others, strict=False):
        new.source, new.cost_usd, new.expected_gain = RouteSource.PEOPLE, old.cost_usd, old.expected_gain
        old.source, old.cost_usd = RouteSource.AI, Decimal(0)
        old.save()
        new.save()


def test_it_asks_as_many_as_nobody_has_begun_with_the_options_it_had() -> None:
    project, first = applied(options=PlanOptions(votes="adaptive", group_cap=2), seed=3)
    ben, cyd = people(project, "ben", "cyd")
    answer(project, ben, 4)
    take(project, cyd)
    untouched = closable_tasks(project).count()
    second = replan(project)
    assert (second.replaces, second.round, second.seed) == (first, 2, 3)
    assert second.options == first.options
    assert left_of(project) == Budget(BudgetKind.COUNT, Decimal(untouched))
    assert second.budget_value == untouched
    assert len(asked_by(second)) == untouched
    assert second.figures["counts"]["audit"] >= 1
    assert second.state == PlanState.DRAFT
    # A draft changes nothing.
    assert set(states().values()) == {TaskState.OPEN}
    assert Task.objects.count() == 30


def test_applying_it_keeps_what_is_held_answered_or_drawn_at_random() -> None:
    project, first = applied()
    ben, cyd = people(project, "ben", "cyd")
    answered = answer(project, ben, 3)
    held = take(project, cyd)
    audit = asked_by(first, "audit")
    second = replan(project)
    unlike(second)
    expected = changes_of(second)
    kept = {*answered, held.task.pair_id, *audit}
    given_up = asked_by(first) - kept - asked_by(second)
    assert given_up
    assert (expected.closes, expected.opens) == (len(given_up), len(asked_by(second) - asked_by(first)))
    assert expected.begun == len({*answered, held.task.pair_id})
    assert expected.stay == 30 - len(given_up)
    opened = apply_plan(second)
    assert opened == expected.opens
    now = states()
    assert {pair for pair, state in now.items() if state == TaskState.CLOSED} == given_up
    assert {pair for pair, state in now.items() if state == TaskState.OPEN} == kept | asked_by(second)
    assert sum(state == TaskState.OPEN for state in now.values()) == 30
    second.refresh_from_db()
    assert second.figures["after"] == {"opened": opened, "closed": len(given_up), "dropped": 0}
    # The one who holds a pair answers it.
    assert not submit(held.pk, cyd, Answer("a"), now=NOW).is_extra
    assert [check.name for check in check_invariants(now=NOW) if check.broken] == []


def test_begun_pairs_are_served_first_and_the_random_ones_among_the_others() -> None:
    project, first = applied(n=80, audit_share=0.2)
    (ben,) = people(project, "ben")
    answered = answer(project, ben, 2)
    second = replan(project)
    unlike(second)
    apply_plan(second)
    priorities = dict(Task.objects.exclude(state="closed").values_list("pair_id", "priority"))
    gains = {priorities[pair] for pair in asked_by(second, "people")}
    assert all(priorities[pair] == max(gains) for pair in answered)
    waiting = asked_by(first, "audit") - {*answered}
    assert len(waiting) > 3
    assert {priorities[pair] for pair in waiting} <= gains


def test_pairs_begun_since_it_was_drawn_stay_and_as_many_of_its_own_are_dropped() -> None:
    project, _ = applied()
    second = replan(project)
    unlike(second)
    (ben,) = people(project, "ben")
    begun = set(answer(project, ben, 4)) - asked_by(second) - asked_by(Plan.objects.get(round=1), "audit")
    assert begun
    apply_plan(second)
    second.refresh_from_db()
    assert second.figures["after"]["dropped"] == len(begun)
    now = states()
    assert all(now[pair] == TaskState.OPEN for pair in begun)
    assert sum(state != TaskState.CLOSED for state in now.values()) == 30
    # Those of the least gain went; they are closed, so the plan counts by its random slice.
    dropped = [pair for pair in asked_by(second) if now[pair] == TaskState.CLOSED]
    gains = {route.pair_id: route.expected_gain or 0.0 for route in second.routes.filter(source="people")}
    assert len(dropped) == len(begun)
    assert max(gains[pair] for pair in dropped) <= min(gains[pair] for pair in set(gains) - {*dropped})


def test_a_draft_that_could_not_give_up_enough_is_refused_and_nothing_changes() -> None:
    project, _ = applied()
    second = replan(project)
    unlike(second)
    second.routes.filter(source="people").update(source=RouteSource.AI)
    before = states()
    (ben,) = people(project, "ben")
    answer(project, ben, 4)
    with pytest.raises(RoutingError, match=r"People began \d pairs since this plan was drawn"):
        apply_plan(second)
    assert states() == before
    second.refresh_from_db()
    assert (second.state, second.applied_at) == (PlanState.DRAFT, None)


def test_a_draft_that_another_plan_has_overtaken_is_refused() -> None:
    project, _ = applied()
    older, newer = replan(project), replan(project, seed=7)
    apply_plan(newer)
    with pytest.raises(RoutingError, match="Another plan was applied since this one was drawn"):
        apply_plan(older)
    assert Plan.objects.get(pk=older.pk).state == PlanState.DRAFT


def test_a_closed_pair_is_open_to_later_rounds() -> None:
    project, _ = applied()
    second = replan(project)
    unlike(second)
    apply_plan(second)
    closed = {pair for pair, state in states().items() if state == TaskState.CLOSED}
    third = replan(project)
    assert third.round == 3
    assert closed <= set(third.routes.values_list("pair_id", flat=True))
    unlike(third)
    Route.objects.filter(plan=third, pair_id__in=closed).update(source=RouteSource.PEOPLE)
    apply_plan(third)
    assert all(states()[pair] == TaskState.OPEN for pair in closed)


def test_money_that_agreement_saved_is_planned_again_and_the_budget_is_never_passed() -> None:
    project, _ = applied(budget=Budget.money(18), options=PlanOptions(votes="adaptive"))
    assert Task.objects.count() == 20
    ben, cyd = people(project, "ben", "cyd")
    answer(project, ben, 10, "a")
    answer(project, cyd, 10, "a")
    done = Task.objects.filter(state=TaskState.DONE).count()
    assert done == 10
    audit_left = Task.objects.filter(state=TaskState.OPEN).count() - closable_tasks(project).count()
    # A pair costs up to three answers of 0.30; ten took two.
    left = Decimal(18) - 10 * Decimal("0.60") - audit_left * Decimal("0.90")
    assert left_of(project) == Budget(BudgetKind.MONEY, left)
    second = replan(project)
    unlike(second)
    apply_plan(second)
    votes = [
        task.votes_wanted if task.state == TaskState.DONE else task.most_votes or 0
        for task in Task.objects.exclude(state=TaskState.CLOSED)
    ]
    promised = Decimal("0.30") * sum(votes)
    assert Decimal(16) < promised <= Decimal(18)
    assert promised_usd(project, None) == promised


def test_a_target_is_aimed_at_again() -> None:
    project, plan = applied()
    Plan.objects.filter(pk=plan.pk).update(budget_kind=BudgetKind.TARGET, budget_value=Decimal("0.9"))
    assert left_of(project) == Budget(BudgetKind.TARGET, Decimal("0.9"))


def test_nothing_applied_and_nothing_left_are_said_in_words() -> None:
    project = make_project()
    with pytest.raises(RoutingError, match="No plan of helpfulness is applied yet"):
        replan(project)
    project.delete()
    project, _ = applied(n=60, budget=Budget.of_pairs(4))
    names = people(project, "ben")
    answer(project, names[0], 4)
    with pytest.raises(RoutingError, match="every pair that the plan asks about is answered, held"):
        replan(project)


def test_pairs_on_which_two_judges_differ_are_asked_first() -> None:
    project, first = applied()
    routes = list(first.routes.filter(source="ai", p_wrong__isnull=False).order_by("p_wrong", "pair_id")[:3])
    for route in routes:
        label = Label.objects.get(pair_id=route.pair_id)
        label.provenance["rule"] = "judges_split"
        label.save()
    second = replan(project)
    assert {route.pair_id for route in routes} <= asked_by(second)


def test_odds_are_those_of_the_plan_that_a_pair_was_answered_under() -> None:
    project, first = applied()
    second = replan(project, seed=9)
    apply_plan(second)
    both = asked_by(first, "people") & asked_by(second, "people")
    early, late, waiting = sorted(both, key=str)[:3]
    Route.objects.filter(plan=first).update(selection_prob=0.5)
    Route.objects.filter(plan=second).update(selection_prob=0.25)
    now = timezone.now()
    Plan.objects.filter(pk=first.pk).update(applied_at=now - timedelta(hours=2))
    Plan.objects.filter(pk=second.pk).update(applied_at=now - timedelta(hours=1))
    ben = make_person(project, "ben")
    for pair, ago in ((early, 1.5), (late, 0.5)):
        Preference.objects.create(pair=Pair.objects.get(pk=pair), rater=ben, choice="a")
        Preference.objects.filter(pair_id=pair).exclude(rater__kind="judge").update(
            created_at=now - timedelta(hours=ago)
        )
    weights = pair_weights(project)
    assert (weights[str(early)], weights[str(late)], weights[str(waiting)]) == (2.0, 4.0, 4.0)
    only_first = asked_by(first) - asked_by(second)
    assert {weights[str(pair)] for pair in only_first} == {2.0}


@pytest.mark.parametrize("seed", [0, 1])
def test_rounds_of_planning_among_people_at_work_break_no_promise(seed: int) -> None:
    """People take, answer and hold at random between and within three rounds; the budget holds to the last vote."""
    rng = Random(seed)
    project, _ = applied(n=50, budget=Budget.money(12), options=PlanOptions(votes="adaptive"), seed=seed)
    raters = people(project, "ben", "cyd", "dee")

    def work(times: int) -> None:
        for _ in range(times):
            rater = rng.choice(raters)
            held = next_assignment(project, rater, now=NOW).assignment
            if held is not None and rng.random() < 0.8:
                submit(held.pk, rater, Answer(rng.choice(["a", "b"])), now=NOW)

    for _ in range(3):
        work(rng.randrange(3, 9))
        try:
            plan = replan(project)
        except RoutingError as error:
            assert "plan again" in str(error) or "does not pay" in str(error)  # noqa: PT017
            continue
        unlike(plan)
        work(rng.randrange(0, 3))
        in_hand = set(Assignment.objects.filter(state="leased").values_list("task_id", flat=True))
        try:
            apply_plan(plan)
        except RoutingError as error:
            assert "since this plan was drawn" in str(error)  # noqa: PT017
        assert not Task.objects.filter(pk__in=in_hand, state=TaskState.CLOSED).exists()
        assert not Task.objects.filter(state=TaskState.CLOSED, answered__gt=0).exists()
        assert promised_usd(project, None) <= Decimal(12)
        assert [check.name for check in check_invariants(now=NOW) if check.broken] == []
