"""Round by round beside random: what a round found, what follows from it, and what cannot be told yet."""

import numpy as np
import pytest

from annotation.models import Origin, Pair, Project
from routing.auditing.comparing import (
    CANNOT_TELL,
    HELPS,
    HELPS_NOT,
    NO_PLAN,
    compare_rounds,
    difference_of,
    outcome_of,
    verdict_of,
)
from routing.auditing.inferring import Estimate
from routing.models import Plan, RouteSource
from routing.plans.applying import apply_plan
from routing.plans.planning import Budget, draw_plan
from tests.builders import make_pair, make_project
from tests.judged import answer_pairs, judge_pairs, make_judge

pytestmark = pytest.mark.either_database


@pytest.fixture
def project(db: None) -> Project:
    return make_project()


def judged_pairs(project: Project, n: int = 200) -> list[Pair]:
    """Return n pairs of which the judge says "a" on every other one and flips on the rest."""
    pairs = [make_pair(project) for _ in range(n)]
    judge_pairs(make_judge(project), pairs, ["a", "flip"] * (n // 2))
    return pairs


def applied(project: Project, budget: str = "50%", audit_share: float = 0.2) -> Plan:
    plan = draw_plan(project, budget=Budget.parse(budget), judge="gpt", audit_share=audit_share)
    apply_plan(plan)
    return plan


def answer(plan: Plan, source: RouteSource, wrong: int) -> int:
    """Let people contradict the judge on so many of the pairs of this kind, and agree on the rest; return how many."""
    pairs = [route.pair for route in plan.routes.filter(source=source).order_by("pair_id").select_related("pair")]
    judged = {pair.pk: pair.preferences.of_judges().get().choice for pair in pairs}
    agreed = [judged[pair.pk] for pair in pairs[wrong:]]
    answer_pairs(pairs, ["b"] * wrong + agreed, origin=Origin.LIVE)
    return len(pairs)


def test_without_an_applied_plan_there_is_no_banner(project: Project) -> None:
    judged_pairs(project, 40)
    draw_plan(project, budget=Budget.parse("50%"), judge="gpt")
    found = compare_rounds(project)
    assert (found.outcome, found.rounds, verdict_of(project)) == (NO_PLAN, [], "")


def test_round_counts_wrong_labels_of_the_routers_and_of_random_pairs(project: Project) -> None:
    judged_pairs(project)
    plan = applied(project)
    n_random = answer(plan, RouteSource.AUDIT, 8)
    n_router = answer(plan, RouteSource.PEOPLE, 30)
    found = compare_rounds(project)
    [only] = found.rounds
    assert (n_random, n_router) == (40, 60)
    assert (only.router.n, only.router.value) == (60, 30 / 60)
    assert (only.random.n, only.random.value) == (40, 8 / 40)
    assert only.difference.value == pytest.approx(0.3)
    assert only.difference.low is not None
    assert 0 < only.difference.low < 0.3
    assert found.outcome == HELPS
    assert verdict_of(project).startswith(
        "Routing helps. The judge was wrong on 50 % of the 60 answered pairs that the router chose, and on 20 % of the "
        "40 drawn at random (difference "
    )


def test_too_few_answers_say_how_many_there_are(project: Project) -> None:
    judged_pairs(project)
    plan = applied(project, audit_share=0.1)
    answer(plan, RouteSource.AUDIT, 4)
    answer(plan, RouteSource.PEOPLE, 10)
    found = compare_rounds(project)
    assert found.outcome == CANNOT_TELL
    assert found.rounds[0].random.note == "too few labels (20 of 30)"
    assert "80 answered pairs that the router chose and 20 drawn at random; it takes 30 of each" in found.text


def test_rounds_add_up_and_a_pair_asked_again_counts_in_the_later_one(project: Project) -> None:
    judged_pairs(project)
    first = applied(project, "30%", audit_share=0.15)
    answer(first, RouteSource.AUDIT, 5)
    answer(first, RouteSource.PEOPLE, 20)
    second = applied(project, "40%", audit_share=0.15)
    answer(second, RouteSource.AUDIT, 6)
    answer(second, RouteSource.PEOPLE, 25)
    found = compare_rounds(project)
    assert [one.name for one in found.rounds] == ["Round 1", "Round 2"]
    assert [one.name for one in found.cumulated] == ["Round 1", "Rounds 1 to 2"]
    summed = found.cumulated[-1]
    assert summed.random.n == sum(one.random.n for one in found.rounds)
    assert summed.router.n == sum(one.router.n for one in found.rounds)
    assert summed.router.value == pytest.approx(45 / summed.router.n)
    # Where a route of the first round is the second's as well, the pair is the second's.
    shared = first.routes.filter(source=RouteSource.PEOPLE).first()
    assert shared is not None
    second.routes.create(
        pair=shared.pair, source=RouteSource.PEOPLE, cost_usd=0, selection_prob=0.5, p_wrong=0.5, expected_gain=0.5
    )
    again = compare_rounds(project)
    assert again.rounds[0].router.n == found.rounds[0].router.n - 1
    assert again.rounds[1].router.n == found.rounds[1].router.n + 1


def test_contested_pairs_count_for_neither(project: Project) -> None:
    judged_pairs(project)
    plan = applied(project)
    answer(plan, RouteSource.AUDIT, 8)
    answer(plan, RouteSource.PEOPLE, 30)
    route = plan.routes.filter(source=RouteSource.AUDIT).select_related("pair").order_by("pair_id")[0]
    answer_pairs([route.pair], ["a"], origin=Origin.SIMULATED)
    assert compare_rounds(project).rounds[0].random.n == 39


@pytest.mark.parametrize(
    ("difference", "outcome"),
    [
        (Estimate(0.2, 0.05, 0.35, 90), HELPS),
        (Estimate(0.2, -0.01, 0.41, 90), CANNOT_TELL),
        (Estimate(-0.1, -0.2, 0.04, 90), HELPS_NOT),
        (Estimate(0.03, 0.01, 0.045, 9000), HELPS),
        (Estimate(None, None, None, 3, "too few"), CANNOT_TELL),
    ],
)
def test_outcome_follows_from_the_interval(difference: Estimate, outcome: str) -> None:
    assert outcome_of(difference) == outcome


def test_a_router_no_better_than_chance_is_told_so(project: Project) -> None:
    judged_pairs(project, 260)
    plan = applied(project, "100%", audit_share=0.5)
    answer(plan, RouteSource.AUDIT, 50)
    answer(plan, RouteSource.PEOPLE, 15)
    found = compare_rounds(project)
    assert found.outcome == HELPS_NOT
    assert found.text.startswith("Routing does not help.")
    assert "Asking at random would do as well" in found.text


def test_difference_of_two_shares_is_newcombes() -> None:
    # Newcombe 1998, table II, case (a), method 10: 56/70 against 48/80 is 0.0524 to 0.3339.
    one, other = Estimate(0.8, 0.6918, 0.8769, 70), Estimate(0.6, 0.4905, 0.7004, 80)
    found = difference_of(one, other)
    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(0.0524, abs=2e-3)
    assert found.high == pytest.approx(0.3339, abs=2e-3)
    assert np.isclose(found.n, 150)
