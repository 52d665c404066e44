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
from judges.defining import add_judge
from routing.errors import RoutingError
from routing.models import BudgetKind, Plan, PlanState, Route, RouteSource
from routing.plans.applying import apply_plan
from routing.plans.costing import chance_people_err
from routing.plans.frontier import frontier_of
from routing.plans.options import PlanOptions
from routing.plans.planning import Budget, draw_plan
from routing.plans.reasoning import reasons_of
from tests.builders import make_pair, make_project, make_prompt
from tests.judged import answer_pairs, judge_pairs, make_judge

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]


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
        "second": 0,
        "ai": 45,
        "without_judge_label": 0,
        "flagged": 0,
        "split": 0,
    }
    assert plan.figures["cost_usd"] == "13.5000"
    flipped = {pair.pk for pair in pairs[2::3]}
    people = set(plan.routes.filter(source=RouteSource.PEOPLE).values_list("pair_id", flat=True))
    assert people <= flipped
    route = plan.routes.filter(source=RouteSource.PEOPLE)[0]
    [reason, *_] = reasons_of(plan, [route])[route.pair_id]
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


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(usd=st.decimals("0.9", "80", places=2), audit=st.floats(0.02, 1), seed=st.integers(0, 1000))
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
    with pytest.raises(RoutingError, match=r"A pair costs up to 0\.90 USD"):
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
    plan = draw_plan(project, budget=Budget.parse("100%"), judge="gpt")
    assert Route.objects.filter(plan=plan, selection_prob=1.0).count() == 9


EVERYTHING = PlanOptions(
    votes="adaptive",
    group_cap=1,
    spread=True,
    balance_by="language",
    pay_per_hour_usd=Decimal(18),
    worth_usd=Decimal(3),
)


def queue(plan: Plan) -> list[tuple[object, ...]]:
    apply_plan(plan)
    return list(Task.objects.order_by("-priority", "pair_id").values_list("pair_id", "priority", "most_votes"))


def test_same_inputs_and_options_give_a_byte_identical_queue() -> None:
    project, _ = learnable_project()
    plans = [
        draw_plan(project, budget=Budget.money(9), judge="gpt", seed=3, options=EVERYTHING, audit_share=0.02)
        for _ in range(2)
    ]
    assert rows(plans[0]) == rows(plans[1])
    assert plans[0].figures == plans[1].figures
    assert bytes(plans[0].signals.data) == bytes(plans[1].signals.data)
    first = queue(plans[0])
    Task.objects.all().delete()
    assert queue(plans[1]) == first
    assert {most for *_, most in first} == {3}
    assert PlanOptions.from_json(plans[0].options) == EVERYTHING


def test_unequal_pairs_never_pass_a_money_budget_and_long_ones_need_more_doubt() -> None:
    project = make_project()
    pairs = [make_pair(project, response_a="word " * (2000 if number % 2 else 5)) for number in range(60)]
    judge_pairs(make_judge(project), pairs, ["flip"] * 60)
    options = PlanOptions(pay_per_hour_usd=Decimal(18))
    for seed in range(3):
        plan = draw_plan(project, budget=Budget.money(30), judge="gpt", seed=seed, options=options)
        spent = sum(plan.routes.values_list("cost_usd", flat=True), Decimal(0))
        # Three of the long ones may be drawn at random, at 8.12 dollars; the rest are short.
        assert spent <= 30
        assert Decimal(plan.figures["cost_usd"]) == spent
        chosen = plan.routes.filter(source=RouteSource.PEOPLE).values_list("expected_usd", flat=True)
        assert max(chosen) < 1
        assert plan.figures["budget"]["pairs"] == 3 + len(chosen)


def test_adaptive_votes_are_promised_at_their_most_and_expected_below() -> None:
    project, _ = judged_project()
    plan = draw_plan(project, budget=Budget.of_pairs(10), judge="gpt", options=PlanOptions(votes="adaptive"))
    assert (plan.figures["cost_usd"], plan.figures["expected_usd"]) == ("9.0000", "6.9000")
    assert plan.figures["votes"] == {"wanted": 2, "most": 3, "expected": 2.3}
    assert "assumed (0 of 30 pairs" in plan.figures["disagreement"]["note"]
    assert plan.figures["hours"] == pytest.approx(10 * 2.3 * plan.figures["seconds_per_answer"] / 3600)


def test_group_cap_takes_few_pairs_of_a_prompt_while_others_are_left() -> None:
    project = make_project()
    shared = make_prompt(project, "One prompt of many pairs?")
    pairs = [make_pair(project, prompt=shared if number < 30 else None) for number in range(60)]
    judge_pairs(make_judge(project), pairs, ["flip"] * 30 + ["a", "b"] * 15)

    def of_shared(cap: int) -> int:
        plan = draw_plan(project, budget=Budget.of_pairs(20), judge="gpt", options=PlanOptions(group_cap=cap))
        return plan.routes.filter(source=RouteSource.PEOPLE, pair__prompt=shared).count()

    assert (of_shared(0), of_shared(4)) == (17, 4)


def test_second_judge_gets_the_pairs_next_in_doubt_that_it_has_not_answered() -> None:
    project, _ = judged_project()
    add_judge(project, "length", kind="length")
    options = PlanOptions(second_judge="length")
    plan = draw_plan(project, budget=Budget.parse("25%"), judge="gpt", options=options)
    assert plan.figures["counts"]["second"] == 12
    assert plan.figures["counts"]["ai"] == 33
    second = plan.routes.filter(source=RouteSource.SECOND)
    asked = plan.routes.filter(source=RouteSource.PEOPLE)
    kept = plan.routes.filter(source=RouteSource.AI)
    of_asked, of_second, of_kept = ([route.expected_gain or 0.0 for route in zone] for zone in (asked, second, kept))
    assert min(of_asked) >= max(of_second) >= min(of_second) >= max(of_kept)
    assert set(second.values_list("cost_usd", flat=True)) == {Decimal(0)}
    with pytest.raises(RoutingError, match="is the plan's own judge"):
        draw_plan(project, budget=Budget.parse("25%"), judge="gpt", options=PlanOptions(second_judge="gpt"))
    with pytest.raises(RoutingError, match="There is no judge named 'none'"):
        draw_plan(project, budget=Budget.parse("25%"), judge="gpt", options=PlanOptions(second_judge="none"))


def test_second_judge_takes_as_many_pairs_as_its_budget_pays() -> None:
    project, _ = judged_project()
    model = add_judge(
        project,
        "small",
        kind="openai",
        base_url="http://127.0.0.1:1/v1",
        model="small",
        price_input_usd_per_million=Decimal(1),
        price_output_usd_per_million=Decimal(1),
    )
    sizes = []
    for budget in ("0.01", "0.03"):
        options = PlanOptions(second_judge="small", second_budget_usd=Decimal(budget))
        plan = draw_plan(project, budget=Budget.parse("10%"), judge="gpt", options=options)
        sizes.append(plan.figures["counts"]["second"])
        assert 0 < Decimal(plan.figures["second"]["most_usd"]) <= Decimal(budget)
        assert plan.figures["second"]["version_id"] == str(model.pk)
    assert 0 < sizes[0] < sizes[1] < 54


def test_plan_knows_what_each_budget_buys_and_where_to_stop() -> None:
    project, _ = learnable_project()
    plan = draw_plan(project, budget=Budget.parse("25%"), judge="gpt")
    found = frontier_of(plan)
    at_plan = next(row for row in found.rows if row.way == "router" and row.asked == 60)
    assert at_plan.agreement == pytest.approx(plan.figures["agreement"]["after"], abs=0.01)
    assert at_plan.usd == pytest.approx(54)
    agreement = plan.figures["agreement"]
    assert agreement["after_low"] < agreement["after"] < agreement["after_high"]
    assert agreement["before_high"] < agreement["after_low"]
    # Worth asking about are the audit slice, and the pairs where the judge errs more often than three people would.
    err = chance_people_err(0.3, 3)
    doubtful = plan.routes.filter(p_wrong__gt=err).count()
    assert found.stop_here is not None
    assert found.stop_here.asked == 12 + round(doubtful * (1 - 12 / 240))
    cold = judged_project(slug="cold", with_people=False)[0]
    nothing = frontier_of(draw_plan(cold, budget=Budget.parse("25%"), judge="gpt"))
    assert (nothing.rows, nothing.note[:14]) == ([], "too few labels")


def test_audit_slice_has_a_floor() -> None:
    project, _ = judged_project(30)
    for share in (0.0, 0.019):
        with pytest.raises(RoutingError, match="it takes 2% or more"):
            draw_plan(project, budget=Budget.parse("25%"), judge="gpt", audit_share=share)
    plan = draw_plan(project, budget=Budget.parse("25%"), judge="gpt", audit_share=0.02)
    # Two per cent of 30 pairs is none; one is the least.
    assert plan.figures["counts"]["audit"] == 1


def test_plan_that_replaces_another_may_choose_again_what_nobody_began() -> None:
    project, _ = judged_project(people_budget_usd=Decimal("13.5"))
    first = draw_plan(project, budget=Budget.parse("25%"), judge="gpt")
    apply_plan(first)
    with pytest.raises(RoutingError, match="the project's budget for people does not pay"):
        draw_plan(project, budget=Budget.parse("25%"), judge="gpt")
    begun = Task.objects.filter(pair__routes__source=RouteSource.PEOPLE)[0]
    Task.objects.filter(pk=begun.pk).update(taken=1)
    second = draw_plan(project, budget=Budget.parse("100%"), judge="gpt", replaces=first)
    # 15 pairs are paid; three of the audit slice and the begun one keep their money.
    assert second.figures["budget"] == {"pairs": 11, "limited_by": "the project's budget for people"}
    assert second.figures["already_with_people"] == 4
    assert (second.round, second.replaces) == (2, first)
    assert second.figures["counts"]["audit"] == 3


def test_reasons_of_pairs_that_keep_the_ai_label_are_made_when_asked() -> None:
    project, _ = learnable_project()
    plan = draw_plan(project, budget=Budget.parse("25%"), judge="gpt")
    route = plan.routes.filter(source=RouteSource.AI).order_by("p_wrong")[0]
    assert route.why == []
    [kept] = reasons_of(plan, [route])[route.pair_id]
    asked = plan.routes.filter(source=RouteSource.PEOPLE)
    assert kept.startswith("for the judge: ")
    # Which of a pair's signals weigh most hangs on the folds too, and those on random ids: so over all kept pairs.
    surest = plan.routes.filter(source=RouteSource.AI)
    steady = sum("gpt kept its answer in both orders" in why[0] for why in reasons_of(plan, surest).values())
    assert steady > len(surest) / 2
    doubts = reasons_of(plan, asked)
    assert len(doubts) == len(asked)
    assert all(reasons and not reasons[0].startswith("for the judge") for reasons in doubts.values())
    audited = plan.routes.filter(source=RouteSource.AUDIT)[0]
    assert reasons_of(plan, [audited])[audited.pair_id][0] == "drawn at random for the audit slice"
    plan.signals.delete()
    assert reasons_of(plan, [route]) == {route.pair_id: []}


@pytest.mark.parametrize("value", ["0", "-3", "2.5", "many", "nan", "1e12"])
def test_number_of_pairs_is_a_whole_number(value: str) -> None:
    with pytest.raises(RoutingError, match="whole number of 1 or more"):
        Budget.of_pairs(value)


def test_command_takes_a_number_of_pairs_and_options() -> None:
    judged_project()
    out = StringIO()
    given = ["--pairs", "8", "--judge", "gpt", "--votes", "adaptive", "--worth-usd", "2", "--group-cap", "3", "--json"]
    call_command("plan_routing", "helpfulness", *given, stdout=out)
    last = json.loads(out.getvalue().splitlines()[-1])
    assert last["options"] == {"votes": "adaptive", "group_cap": 3, "worth_usd": "2"}
    assert last["budget"]["pairs"] == 8
    assert "2 to 3 a pair" in out.getvalue()
    with pytest.raises(CommandError, match="worth_usd is 'x'; it takes US dollars"):
        call_command("plan_routing", "helpfulness", "--pairs", "8", "--worth-usd", "x", stdout=StringIO())
    with pytest.raises(CommandError, match="--replan keeps the plan's options"):
        call_command("plan_routing", "helpfulness", "--replan", "--spread", stdout=StringIO())
