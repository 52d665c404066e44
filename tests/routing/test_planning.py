"""Plans keep their budget, say where each label comes from, and are applied once."""

import json
from decimal import Decimal
from io import StringIO

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation.models import Origin, Pair, Project, Task
from routing.errors import RoutingError
from routing.models import BudgetKind, Plan, PlanState, Route, RouteSource
from routing.planning import Budget, apply_plan, draw_plan
from tests.builders import make_pair, make_project
from tests.judged import answer_pairs, judge_pairs, make_judge

pytestmark = pytest.mark.django_db


def judged_project(n: int = 60, **overrides: object) -> tuple[Project, list[Pair]]:
    project = make_project(**overrides)  # type: ignore[arg-type]
    pairs = [make_pair(project) for _ in range(n)]
    judge_pairs(make_judge(project), pairs, [("a", "b", "flip")[number % 3] for number in range(n)])
    return project, pairs


def learnable_project(n: int = 240) -> tuple[Project, list[Pair]]:
    """Return pairs that people answered as the judge did, but for nine in ten of those on which it flipped."""
    project, pairs = judged_project(n)
    rng = np.random.default_rng(0)
    flips = ["tie" if rng.random() < 0.1 else "a" for _ in pairs]
    held = [rng.random() < 0.9 for _ in pairs]
    choices = [
        (("a" if kept else "b"), ("b" if kept else "a"), flip)[number % 3]
        for number, (flip, kept) in enumerate(zip(flips, held, strict=True))
    ]
    answer_pairs(pairs, choices)
    return project, pairs


def rows(plan: Plan) -> list[tuple[object, ...]]:
    return list(
        plan.routes.order_by("pair_id").values_list("pair_id", "source", "p_wrong", "selection_prob", "cost_usd", "why")
    )


def test_share_of_pairs_is_asked_and_flips_go_first() -> None:
    project, pairs = judged_project()
    plan = draw_plan(project, budget=Budget.parse("25%"), judge="gpt")
    assert plan.figures["counts"] == {
        "people": 12,
        "audit": 3,
        "ai": 45,
        "without_judge_label": 0,
        "flagged": 0,
    }
    assert plan.figures["cost_usd"] == "13.5000"
    flipped = {pair.pk for pair in pairs[2::3]}
    people = set(plan.routes.filter(source=RouteSource.PEOPLE).values_list("pair_id", flat=True))
    assert people <= flipped
    [reason, *_] = plan.routes.filter(source=RouteSource.PEOPLE)[0].why
    assert reason == "gpt changed its answer when the order was swapped"
    assert plan.state == PlanState.DRAFT
    assert not Task.objects.exists()


def test_every_pair_has_a_route_with_odds_above_zero_that_add_up_to_the_budget() -> None:
    project, _ = judged_project()
    plan = draw_plan(project, budget=Budget.parse("25%"), judge="gpt", audit_share=0.1)
    odds = list(plan.routes.values_list("selection_prob", flat=True))
    assert len(odds) == 60
    assert min(odds) >= 0.1
    assert sum(odds) == pytest.approx(15)


def test_same_seed_draws_the_same_plan_and_another_seed_another_audit_slice() -> None:
    project, _ = learnable_project()
    first, again, other = (draw_plan(project, budget=Budget.parse("25%"), judge="gpt", seed=seed) for seed in (1, 1, 2))
    assert rows(first) == rows(again)
    assert json.dumps(first.predictor) == json.dumps(again.predictor)
    assert first.figures == again.figures
    assert rows(first) != rows(other)


def test_too_few_labels_make_a_cold_plan_that_promises_no_agreement() -> None:
    project, pairs = judged_project()
    answer_pairs(pairs[:30], ["a"] * 30)
    plan = draw_plan(project, budget=Budget.parse("25%"), judge="gpt")
    assert plan.predictor_kind == "cold"
    assert plan.figures["agreement"] == {"note": "too few labels (30 of 100 pairs answered by both)"}
    assert plan.figures["predictor"]["calibrated"] is False
    with pytest.raises(RoutingError, match=r"too few labels \(30 of 100"):
        draw_plan(project, budget=Budget.target(0.9), judge="gpt")


def test_labels_make_a_learned_plan_with_expected_agreement() -> None:
    project, _ = learnable_project()
    plan = draw_plan(project, budget=Budget.parse("25%"), judge="gpt")
    assert plan.predictor_kind in {"logistic", "lightgbm", "blend"}
    agreement = plan.figures["agreement"]
    # The judge is wrong on 9 of 10 flips and 1 of 10 others: about 37 % of pairs.
    assert agreement["before"] == pytest.approx(0.63, abs=0.05)
    assert 0.8 < agreement["after"] <= 0.9
    assert {row["kind"] for row in plan.figures["predictor"]["comparison"]} == {"logistic", "lightgbm", "blend", "cold"}


def test_target_asks_more_people_for_a_higher_agreement() -> None:
    project, _ = learnable_project()
    asked = [
        draw_plan(project, budget=Budget.target(target), judge="gpt").figures["budget"]["pairs"]
        for target in (0.7, 0.8, 0.9)
    ]
    assert asked == sorted(asked)
    plan = Plan.objects.get(budget_value=Decimal("0.9"))
    assert plan.figures["agreement"]["after"] >= 0.9


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(usd=st.decimals("0.9", "80", places=2), audit=st.floats(0, 1), seed=st.integers(0, 1000))
def test_plan_never_costs_more_than_its_budget(usd: Decimal, audit: float, seed: int) -> None:
    project = Project.objects.filter(slug="capped").first() or judged_project(slug="capped", people_budget_usd=40)[0]
    plan = draw_plan(project, budget=Budget.money(usd), judge="gpt", audit_share=audit, seed=seed)
    spent = sum(plan.routes.values_list("cost_usd", flat=True), Decimal(0))
    assert 0 < spent <= min(usd, Decimal(40))
    assert Decimal(plan.figures["cost_usd"]) == spent


def test_money_that_is_already_promised_to_people_is_not_planned_twice() -> None:
    project, _ = judged_project(people_budget_usd=Decimal(18))
    apply_plan(draw_plan(project, budget=Budget.parse("25%"), judge="gpt"))
    second = draw_plan(project, budget=Budget.parse("100%"), judge="gpt")
    # 18 dollars buy 20 pairs at 0.90, of which 15 are with people.
    assert second.figures["budget"] == {"pairs": 5, "limited_by": "the project's budget for people"}
    assert second.figures["already_with_people"] == 15
    assert second.routes.count() == 45


def test_budget_too_small_for_one_pair_is_refused_with_the_price() -> None:
    project, _ = judged_project()
    with pytest.raises(RoutingError, match=r"A pair costs 0\.90 USD"):
        draw_plan(project, budget=Budget.money("0.5"), judge="gpt")


def test_apply_opens_the_tasks_once_and_only_for_people() -> None:
    project, _ = judged_project()
    plan = draw_plan(project, budget=Budget.parse("25%"), judge="gpt")
    assert apply_plan(plan) == 15
    assert apply_plan(Plan.objects.get(pk=plan.pk)) == 0
    asked = set(plan.routes.exclude(source=RouteSource.AI).values_list("pair_id", flat=True))
    assert set(Task.objects.values_list("pair_id", flat=True)) == asked
    assert set(Task.objects.values_list("votes_wanted", flat=True)) == {3}
    plan.refresh_from_db()
    assert plan.state == PlanState.APPLIED
    assert plan.applied_at is not None


def test_audited_pairs_have_priorities_that_the_routers_pairs_have_too() -> None:
    project, _ = learnable_project()
    plan = draw_plan(project, budget=Budget.parse("50%"), judge="gpt", audit_share=0.2)
    apply_plan(plan)
    sources = dict(plan.routes.values_list("pair_id", "source"))
    priorities: dict[str, set[float]] = {"audit": set(), "people": set()}
    for pair_id, priority in Task.objects.values_list("pair_id", "priority"):
        priorities[sources[pair_id]].add(priority)
    assert len(priorities["audit"]) > 5
    assert priorities["audit"] <= priorities["people"]


def test_recorded_answers_do_not_count_as_work_done_here_but_live_ones_do() -> None:
    project, pairs = judged_project()
    answer_pairs(pairs[:30], ["a"] * 30, people=3)
    assert draw_plan(project, budget=Budget.parse("25%"), judge="gpt").routes.count() == 60
    answer_pairs(pairs[:10], ["a"] * 10, origin=Origin.LIVE, people=3)
    assert draw_plan(project, budget=Budget.parse("25%"), judge="gpt").routes.count() == 50


def test_pairs_without_the_judges_label_are_counted_and_only_audited() -> None:
    project, _ = judged_project(30)
    for _ in range(30):
        make_pair(project)
    plan = draw_plan(project, budget=Budget.parse("80%"), judge="gpt", audit_share=0.2)
    unjudged = plan.routes.filter(p_wrong__isnull=True)
    assert unjudged.count() == 30
    assert not unjudged.filter(source=RouteSource.PEOPLE).exists()
    assert unjudged.filter(source=RouteSource.AUDIT).exists()
    left = unjudged.filter(source=RouteSource.AI)
    assert plan.figures["counts"]["without_judge_label"] == left.count()
    assert left[0].why == ["gpt has no label for it"]


def test_project_without_a_judge_says_how_to_get_one() -> None:
    project = make_project()
    make_pair(project)
    with pytest.raises(RoutingError, match="run_judge helpfulness"):
        draw_plan(project, budget=Budget.parse("25%"))
    with pytest.raises(RoutingError, match="Judges that have: none yet"):
        draw_plan(project, budget=Budget.parse("25%"), judge="gpt")


def test_judge_that_always_picks_the_first_labels_nothing_unless_it_is_named() -> None:
    project = make_project()
    pairs = [make_pair(project) for _ in range(60)]
    judge_pairs(make_judge(project, "first"), pairs, ["flip"] * 60)
    plan = draw_plan(project, budget=Budget.parse("25%"))
    assert plan.judge_name == ""
    assert plan.figures["judge"]["trusted"] is False
    assert plan.figures["judge"]["reasons"]
    assert apply_plan(plan) == 15
    assert not any(hasattr(pair, "label") for pair in Pair.objects.select_related("label"))
    named = draw_plan(project, budget=Budget.parse("25%"), judge="FIRST")
    assert named.judge_name == "first · pairwise"
    apply_plan(named)
    assert Pair.objects.filter(label__source="ai").count() == 60


def test_trusted_judge_goes_before_one_that_is_not() -> None:
    project = make_project()
    pairs = [make_pair(project) for _ in range(60)]
    judge_pairs(make_judge(project, "first"), pairs, ["flip"] * 60)
    judge_pairs(make_judge(project, "steady"), pairs, ["a", "b"] * 30)
    assert draw_plan(project, budget=Budget.parse("25%")).judge_name == "steady · pairwise"


@pytest.mark.parametrize("text", ["25", "0", "-5%", "101%", "abc", "", "nan"])
def test_share_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RoutingError, match="share of the pairs"):
        Budget.parse(text)


@pytest.mark.parametrize(("text", "share"), [("25%", "0.25"), ("0.25", "0.25"), (" 12.5 % ", "0.125"), ("1", "1")])
def test_share_is_read_as_percent_or_fraction(text: str, share: str) -> None:
    assert Budget.parse(text) == Budget(BudgetKind.SHARE, Decimal(share))


@pytest.mark.parametrize("value", ["nan", "-1", "0", "lots", "Infinity"])
def test_money_and_target_take_positive_numbers_only(value: str) -> None:
    with pytest.raises(RoutingError, match="US dollars"):
        Budget.money(value)
    with pytest.raises(RoutingError, match="target agreement"):
        Budget.target(value)


def test_command_shows_the_plan_before_anything_is_opened() -> None:
    judged_project()
    out = StringIO()
    call_command("plan_routing", "helpfulness", "--budget", "25%", "--judge", "gpt", "--json", stdout=out)
    shown, last = out.getvalue(), json.loads(out.getvalue().splitlines()[-1])
    assert "This is a draft" in shown
    assert "12" in shown
    assert last["counts"]["audit"] == 3
    assert last["tasks_opened"] is None
    assert not Task.objects.exists()
    call_command("plan_routing", "helpfulness", "--budget-usd", "9", "--judge", "gpt", "--apply", stdout=StringIO())
    assert Task.objects.count() == 10


def test_command_ends_with_a_message_for_an_unknown_judge() -> None:
    judged_project()
    with pytest.raises(CommandError, match="Judges that have: gpt · pairwise"):
        call_command("plan_routing", "helpfulness", "--budget", "25%", "--judge", "claude", stdout=StringIO())


def test_routes_are_written_whatever_the_number_of_pairs() -> None:
    project, _ = judged_project(9)
    plan = draw_plan(project, budget=Budget.parse("100%"), judge="gpt", audit_share=0)
    assert Route.objects.filter(plan=plan, selection_prob=1.0).count() == 9
