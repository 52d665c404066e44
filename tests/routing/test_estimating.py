"""Figures from answers that the router chose: covered, without bias, over several rounds, and honest about too few."""

from collections.abc import Sequence

import numpy as np
import pytest

from annotation.models import Origin, Pair, Project
from bench.routing_worlds import simulate_coverage, simulate_narrowing
from routing.auditing.estimating import (
    applied_plans,
    draws_of,
    join_rounds,
    judge_accuracy,
    project_accuracy,
    read_measured,
)
from routing.auditing.inferring import Drawn, estimate_accuracy, estimate_share, join_draws, wilson
from routing.models import Plan, RouteSource
from routing.plans.applying import apply_plan
from routing.plans.drawing import draw_pairs
from routing.plans.planning import Budget, draw_plan
from routing.predicting.scoring import Bools, Floats
from tests.builders import make_pair, make_project
from tests.judged import answer_pairs, judge_pairs, make_judge

pytestmark = pytest.mark.either_database

# --- Worlds ---------------------------------------------------------------------------------------------------------


def check_coverage(n_projects: int, seed: int, *, least: float, most: float) -> None:
    for found in simulate_coverage(n_projects, seed).values():
        assert least <= found["covered"] <= most
        assert abs(found["bias"]) < 1
        assert found["naive_bias"] < -5


def test_intervals_cover_the_truth_where_the_naive_share_is_far_off() -> None:
    # 95 % within three standard errors of a share of 100.
    check_coverage(100, 3, least=0.885, most=1.0)


@pytest.mark.slow
def test_intervals_cover_the_truth_in_500_projects() -> None:
    check_coverage(500, 0, least=0.92, most=0.98)


def test_signals_make_the_interval_narrower_at_equal_labels() -> None:
    found = simulate_narrowing(150, 0)
    assert 0.9 <= found["covered"] <= 1.0
    assert found["narrower"] >= 0.15


@pytest.mark.slow
def test_signals_make_the_interval_narrower_in_1000_draws() -> None:
    found = simulate_narrowing(1000, 0)
    assert 0.93 <= found["covered"] <= 0.97
    assert found["narrower"] >= 0.15


class TwoRounds:
    """A project asked twice: the second round's draw follows what the first one found."""

    def __init__(self, seed: int, n: int = 1500) -> None:
        rng = np.random.default_rng([9, seed])
        c = rng.beta(5, 2, n)
        self.right = (rng.random(n) < 0.35 + 0.6 * c).astype(float)
        first = draw_pairs(rng.random(n), asked=200, audited=80, rng=rng)
        asked = first.audit | first.people
        # The second plan believes what the first one's answers taught it.
        mean = self.right[asked].mean()
        believed = np.clip(mean + (c - c.mean()) * np.sign(mean - 0.3), 0.05, 0.95)
        pool = np.flatnonzero(~asked)
        second = draw_pairs(1 - believed[pool], asked=250, audited=90, rng=rng)
        self.draws = [
            Drawn(np.ones(n, bool), asked, np.zeros(n, bool), first.selection_prob, np.full(n, 0.5)),
            Drawn(~asked, *self.of(pool, second.audit | second.people, second.selection_prob, asked), believed),
        ]

    def of(self, pool: np.ndarray, counted: Bools, odds: Floats, exact: Bools) -> tuple[Bools, Bools, Floats]:
        n = len(self.right)
        counts, chances = np.zeros(n, bool), np.zeros(n)
        counts[pool], chances[pool] = counted, odds
        return counts, exact, chances

    def estimate(self, draws: Sequence[Drawn]) -> tuple[float, float, float]:
        n = len(self.right)
        answered = np.any([draw.counted | draw.exact for draw in draws], axis=0)
        terms = join_draws(draws, np.where(answered, self.right, np.nan), answered | ~answered)
        found = estimate_share(terms.right, terms.settled, np.arange(n).astype(object), answered=answered, n=n)
        assert found.value is not None
        assert found.low is not None
        assert found.high is not None
        return found.value, found.low, found.high


def test_rounds_together_are_without_bias_and_tell_more_than_either() -> None:
    rows = []
    for seed in range(150):
        world = TwoRounds(seed)
        truth = world.right.mean()
        mean, low, high = world.estimate(world.draws)
        widths = [high_ - low_ for _, low_, high_ in (world.estimate([draw]) for draw in world.draws)]
        rows.append([low <= truth <= high, mean - truth, (high - low) < min(widths)])
    covered, bias, narrower = np.array(rows, dtype=float).mean(axis=0)
    assert 0.9 <= covered <= 1
    assert abs(bias) < 0.01
    assert narrower > 0.9


def test_contested_pairs_leave_the_share_of_the_others_without_bias() -> None:
    # Hard pairs are contested more often, and the judge is wrong on them more often.
    errors = []
    for seed in range(100):
        rng = np.random.default_rng([4, seed])
        hard = rng.random(3000) < 0.4
        settled = rng.random(3000) > np.where(hard, 0.6, 0.05)
        right = (rng.random(3000) < np.where(hard, 0.5, 0.9)).astype(float)
        drawn = draw_pairs(hard + rng.random(3000) / 10, asked=600, audited=200, rng=rng)
        asked = drawn.audit | drawn.people
        expected = np.where(hard, 0.5, 0.9)
        everything = np.ones(3000, dtype=bool)
        terms = join_draws(
            [Drawn(everything, asked, ~everything, drawn.selection_prob, expected)], right, settled & asked
        )
        errors.append(terms.right.sum() / terms.settled.sum() - right[settled].mean())
    assert abs(np.mean(errors)) < 0.006


# --- Arithmetic -----------------------------------------------------------------------------------------------------


def all_of(n: int) -> tuple[Bools, Floats, Floats]:
    return np.ones(n, dtype=bool), np.ones(n), np.full(n, 0.7)


def test_a_project_that_is_answered_whole_is_counted() -> None:
    asked, odds, expected = all_of(200)
    right = np.arange(200) % 4 != 0
    mean, low, high = estimate_accuracy(expected, right.astype(float), asked, odds)
    assert mean == pytest.approx(0.75)
    assert low < 0.75 < high


def test_prompt_groups_that_move_together_widen_the_interval() -> None:
    asked, odds, expected = all_of(400)
    right = np.repeat(np.arange(40) % 4 != 0, 10).astype(float)
    groups = np.repeat(np.arange(40), 10).astype(object)
    _, low, high = estimate_accuracy(expected, right, asked, odds)
    _, low_of_groups, high_of_groups = estimate_accuracy(expected, right, asked, odds, groups)
    assert high_of_groups - low_of_groups > 2.5 * (high - low)


def test_thirty_right_answers_of_thirty_are_not_certainty() -> None:
    n = 600
    answered = np.arange(n) < 30
    mean, low, high = estimate_accuracy(np.full(n, 0.9), np.ones(n), answered, np.full(n, 0.05))
    assert mean == pytest.approx(1.0)
    assert 0.8 < low < 0.95
    assert high == 1.0


def test_wilson_is_the_textbook_interval() -> None:
    # Newcombe 1998, table I: 81 of 263.
    low, high = wilson(81 / 263, 263, 1.959964)
    assert low == pytest.approx(0.2553, abs=1e-4)
    assert high == pytest.approx(0.3662, abs=1e-4)


def test_answers_of_one_prompt_group_are_too_few() -> None:
    one = np.array(["p"] * 20, dtype=object)
    found = estimate_share(np.ones(20), np.ones(20), one, answered=np.ones(20, dtype=bool), n=20)
    assert (found.value, found.note) == (None, "too few labels (answers in 1 of 2 prompt groups)")


def test_expectations_that_are_off_are_corrected_by_the_answers() -> None:
    # A cold predictor ranks; what it says of P(right) is far from the truth and on the wrong scale.
    rng = np.random.default_rng(5)
    p = rng.random(4000)
    right = (rng.random(4000) < p).astype(float)
    asked = rng.random(4000) < 0.1
    odds = np.full(4000, 0.1)
    good = estimate_accuracy(p, right, asked, odds)
    squeezed = estimate_accuracy(0.8 + 0.05 * p, right, asked, odds)
    assert squeezed == pytest.approx(good, abs=1e-9)


# --- Plans ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(db: None) -> Project:
    return make_project()


def route_pairs(plan: Plan, source: RouteSource) -> list[Pair]:
    return [route.pair for route in plan.routes.filter(source=source).order_by("pair_id").select_related("pair")]


def test_accuracy_counts_the_audit_slice_until_every_pair_asked_is_answered(project: Project) -> None:
    pairs = [make_pair(project) for _ in range(200)]
    judge_pairs(make_judge(project), pairs, ["a", "b"] * 100)
    plan = draw_plan(project, budget=Budget.parse("50%"), judge="gpt", audit_share=0.2)
    assert "no plan" in plan.figures["judge_accuracy"]["note"]
    apply_plan(plan)
    assert judge_accuracy(plan) == {"note": "too few labels (0 of 30)"}
    answer_pairs(route_pairs(plan, RouteSource.AUDIT), ["a"] * 40, origin=Origin.LIVE)
    first = judge_accuracy(plan)
    assert (first["answers"], first["from"]) == (40, "audit slice")
    assert first["low"] < 0.5 < first["high"]
    answer_pairs(route_pairs(plan, RouteSource.PEOPLE), ["a"] * 60, origin=Origin.LIVE)
    last = judge_accuracy(plan)
    assert (last["answers"], last["from"]) == (100, "all pairs asked")
    assert last["low"] < 0.5 < last["high"]
    [noted] = {draw_plan(project, budget=Budget.parse("10%"), judge="gpt").figures["judge_accuracy"]["from"]}
    assert noted == "all pairs asked"


def test_audit_drawn_for_one_judge_measures_another_on_the_pairs_it_labelled(project: Project) -> None:
    pairs = [make_pair(project) for _ in range(200)]
    judge_pairs(make_judge(project), pairs, ["a", "b"] * 100)
    other = make_judge(project, "other")
    labelled, rest = pairs[:160], pairs[160:]
    judge_pairs(other, labelled, ["a", "a", "a", "b"] * 40)
    plan = draw_plan(project, budget=Budget.parse("50%"), judge="gpt", audit_share=0.5)
    apply_plan(plan)
    asked = set(plan.routes.exclude(source=RouteSource.AI).values_list("pair_id", flat=True))
    answered = [pair for pair in pairs if pair.pk in asked]
    answer_pairs(answered, ["a"] * len(answered), origin=Origin.LIVE)
    found = judge_accuracy(plan, other)
    right = [pairs.index(pair) % 4 != 3 for pair in answered if pair not in rest]
    assert found["answers"] == len(right)
    assert found["estimate"] == pytest.approx(sum(right) / len(right), abs=1e-9)
    assert found["low"] < 0.75 < found["high"]


def test_second_round_knows_the_first_exactly_and_the_first_does_not_know_the_second(project: Project) -> None:
    pairs = [make_pair(project) for _ in range(200)]
    version = make_judge(project)
    judge_pairs(version, pairs, ["a", "b"] * 100)
    plans = []
    for budget in ("30%", "30%"):
        plan = draw_plan(project, budget=Budget.parse(budget), judge="gpt", audit_share=0.15)
        apply_plan(plan)
        plans.append(plan)
        for source in (RouteSource.AUDIT, RouteSource.PEOPLE):
            drawn = route_pairs(plan, source)
            answer_pairs(drawn, ["a"] * len(drawn), origin=Origin.LIVE)
    measured = read_measured(project, version, applied_plans(project))
    first, second = draws_of(measured)
    asked_first = measured.frame.index.isin(
        [str(pk) for pk in plans[0].routes.exclude(source=RouteSource.AI).values_list("pair_id", flat=True)]
    )
    assert first.pool.all()
    assert not first.exact.any()
    assert (second.exact == asked_first).all()
    assert (second.pool == ~asked_first).all()
    both = project_accuracy(project, version)
    assert both.value is not None
    assert both.low is not None
    assert both.high is not None
    assert both.low < 0.5 < both.high
    assert both.n == 120
    alone = join_rounds(measured._replace(rounds=measured.rounds[:1])).accuracy()
    assert alone.low is not None
    assert alone.high is not None
    assert both.high - both.low < alone.high - alone.low


def test_a_round_whose_routed_pairs_were_closed_counts_by_its_audit_slice(project: Project) -> None:
    pairs = [make_pair(project) for _ in range(200)]
    version = make_judge(project)
    judge_pairs(version, pairs, ["a", "b"] * 100)
    plan = draw_plan(project, budget=Budget.parse("50%"), judge="gpt", audit_share=0.2)
    apply_plan(plan)
    audited, routed = (route_pairs(plan, source) for source in (RouteSource.AUDIT, RouteSource.PEOPLE))
    answer_pairs(audited, ["a"] * 40, origin=Origin.LIVE)
    # Thirty of the router's pairs were answered before their tasks were closed, all where the judge said b.
    answer_pairs([pair for pair in routed if pairs.index(pair) % 2][:20], ["a"] * 20, origin=Origin.LIVE)
    measured = read_measured(project, version, [plan])
    [draw] = draws_of(measured)
    assert draw.counted.sum() == 40
    assert draw.odds == pytest.approx(40 / 200)
    right = [pairs.index(pair) % 2 == 0 for pair in audited]
    assert project_accuracy(project, version).value == pytest.approx(np.mean(right))


def test_pairs_imported_after_the_last_plan_are_not_counted(project: Project) -> None:
    pairs = [make_pair(project) for _ in range(100)]
    version = make_judge(project)
    judge_pairs(version, pairs, ["a"] * 100)
    plan = draw_plan(project, budget=Budget.parse("50%"), judge="gpt", audit_share=0.5)
    apply_plan(plan)
    audited = route_pairs(plan, RouteSource.AUDIT)
    answer_pairs(audited, ["a"] * len(audited), origin=Origin.LIVE)
    late = [make_pair(project) for _ in range(40)]
    judge_pairs(version, late, ["b"] * 40)
    joined = join_rounds(read_measured(project, version, applied_plans(project)))
    assert (~joined.terms.covered).sum() == 40
    assert joined.accuracy().value == pytest.approx(1.0)


def test_share_of_pairs_that_no_answer_settles_says_so_and_counts_no_groups() -> None:
    groups = np.array(["a", "b", "c"], dtype=object)
    none, answered = np.zeros(3), np.array([True, True, False])
    found = estimate_share(none, none, groups, answered=answered, n=2)
    assert (found.value, found.note) == (None, "too few labels (people's answers settle none of these pairs)")
    one = estimate_share(none, np.ones(3), groups, answered=np.array([True, False, False]), n=1)
    assert one.note == "too few labels (answers in 1 of 2 prompt groups)"
