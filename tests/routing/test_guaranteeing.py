"""The guarantee: an exact test on audited pairs, honest about what it lacks, and kept as often as it says."""

import numpy as np
import pytest
from scipy.stats import beta, binom

from annotation.models import Origin, Pair, Project
from judges.models import ResponseFlag
from routing.auditing.guaranteeing import certify, error_bound, guarantee_of, guarantee_splits, read_audited
from routing.models import Plan, RouteSource
from routing.plans.applying import apply_plan
from routing.plans.options import PlanOptions
from routing.plans.planning import Budget, draw_plan
from routing.predicting.scoring import Bools, Floats
from tests.builders import make_pair, make_project
from tests.judged import answer_pairs, judge_pairs, make_judge

PLAIN = PlanOptions()


def sample(seed: int, n: int) -> tuple[Floats, Bools]:
    """Return calibrated P(wrong), 30 % on average, and what was wrong."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.7, 1.6, n)
    return p, rng.random(n) < p


@pytest.mark.parametrize(("errors", "n", "delta"), [(0, 22, 0.1), (3, 40, 0.1), (40, 40, 0.1), (7, 90, 0.05)])
def test_bound_is_where_so_few_errors_would_be_as_rare_as_delta(errors: int, n: int, delta: float) -> None:
    bound = error_bound(errors, n, delta)
    assert bound == 1.0 if errors == n else binom.cdf(errors, n, bound) == pytest.approx(delta)


def test_bound_without_errors_is_the_closed_form() -> None:
    assert error_bound(0, 22, 0.1) == pytest.approx(1 - 0.1 ** (1 / 22))


def test_accepted_labels_are_counted_and_their_bound_is_below_alpha() -> None:
    p, wrong = sample(1, 400)
    found = certify(p, wrong, alpha=0.15, delta=0.1)
    assert found.threshold is not None
    assert found.bound is not None
    there = p <= found.threshold
    assert (found.accepted, found.errors, found.tested) == (there.sum(), wrong[there].sum(), 400)
    assert found.bound == pytest.approx(float(beta.ppf(0.9, found.errors + 1, found.accepted - found.errors)))
    assert found.bound <= 0.15
    assert (found.needed, found.note) == (0, f"{found.errors} of {found.accepted} audited labels there were wrong")


def test_larger_alpha_never_accepts_less() -> None:
    p, wrong = sample(2, 500)
    accepted = [certify(p, wrong, alpha=alpha, delta=0.1).accepted for alpha in (0.1, 0.15, 0.2, 0.3, 0.5)]
    assert accepted == sorted(accepted)
    assert accepted[-1] == 500


def test_thresholds_and_start_do_not_depend_on_the_answers() -> None:
    # One threshold is tried first whatever people said; were it chosen by the answers, luck would be certified.
    p = np.repeat([0.1, 0.3, 0.6], 100)
    safest_wrong, none_wrong = np.arange(300) < 60, np.zeros(300, dtype=bool)
    assert certify(p, none_wrong, alpha=0.15, delta=0.1).threshold == 0.6
    # The first one tried is the safest third; as it fails, the wider ones are not tried although they would pass.
    assert certify(p, safest_wrong, alpha=0.25, delta=0.1).threshold is None


def test_too_few_labels_accept_nothing_and_say_how_many_more() -> None:
    p, wrong = sample(3, 12)
    found = certify(p, wrong, alpha=0.1, delta=0.1)
    assert (found.threshold, found.accepted, found.bound) == (None, 0, None)
    # Without an error 22 labels are the least that can show "at most 10 %" with 90 % confidence.
    assert found.needed >= 10
    assert found.note.startswith("too few labels (12 of about ")


def test_as_many_answers_as_were_said_to_be_missing_certify_most_of_the_time() -> None:
    everything, _ = sample(99, 5000)
    said = [certify(*sample(seed, 40), alpha=0.15, delta=0.1, p_all=everything).needed for seed in range(20)]
    missing = int(np.median([n for n in said if n]))
    certified = [
        certify(*sample(100 + seed, 40 + missing), alpha=0.15, delta=0.1, p_all=everything).threshold is not None
        for seed in range(60)
    ]
    assert np.mean(certified) >= 0.7


def test_a_judge_that_is_always_wrong_cannot_be_helped_by_more_answers() -> None:
    p, _ = sample(4, 300)
    found = certify(p, np.ones(300, dtype=bool), alpha=0.1, delta=0.1)
    assert (found.threshold, found.needed) == (None, 0)
    assert "10% is out of reach" in found.note


def test_a_judge_that_is_always_right_is_accepted_whole() -> None:
    p, _ = sample(5, 300)
    found = certify(p, np.zeros(300, dtype=bool), alpha=0.1, delta=0.1)
    assert (found.accepted, found.errors, found.threshold) == (300, 0, p.max())


def test_no_pair_and_no_answer_accept_nothing() -> None:
    none, nothing = np.array([]), np.array([], dtype=bool)
    assert certify(none, nothing, alpha=0.1, delta=0.1).note == "there are no labels of the judge to accept"
    found = certify(none, nothing, alpha=0.1, delta=0.1, p_all=np.linspace(0, 0.5, 50))
    assert (found.threshold, found.tested) == (None, 0)
    assert found.needed > 0


@pytest.mark.parametrize("alpha", [0.15, 0.2])
@pytest.mark.parametrize("predictor", ["calibrated", "useless", "turned round"])
def test_error_rate_is_above_alpha_in_at_most_delta_of_samples(alpha: float, predictor: str) -> None:
    rng = np.random.default_rng(6)
    p_all = rng.beta(0.7, 1.6, 20_000)
    truth = p_all.copy()
    if predictor == "useless":
        truth = rng.permutation(p_all)
    if predictor == "turned round":
        truth = 1 - p_all
    broken = 0
    for _ in range(250):
        rows = rng.choice(20_000, 200)
        found = certify(p_all[rows], rng.random(200) < truth[rows], alpha=alpha, delta=0.1, p_all=p_all)
        broken += found.threshold is not None and truth[p_all <= found.threshold].mean() > alpha
    # Two standard errors of a share over 250 samples.
    assert broken / 250 <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 250)


def test_prompt_groups_that_err_together_count_for_less() -> None:
    p = np.full(200, 0.05)
    groups = np.repeat(np.arange(20), 10).astype(object)
    wrong = np.isin(groups, [3, 11])
    assert certify(p, wrong, alpha=0.15, delta=0.1).threshold is not None
    assert certify(p, wrong, alpha=0.15, delta=0.1, groups=groups).threshold is None


def test_splits_keep_the_guarantee_and_print_the_coverage() -> None:
    p, wrong = sample(7, 500)
    groups = np.repeat(np.arange(125), 4).astype(object)
    found = guarantee_splits(p, wrong, groups, alpha=0.2, delta=0.1, splits=100, seed=0)
    assert found == guarantee_splits(p, wrong, groups, alpha=0.2, delta=0.1, splits=100, seed=0)
    assert found["error"] <= 0.2
    assert found["above"] <= 0.17
    assert found["above_beyond_noise"] <= 0.1
    assert found["held_out_pairs"] == pytest.approx(252)
    assert 0.4 < found["coverage"]["mean"] < 0.7
    assert found["coverage"]["low"] <= found["coverage"]["mean"] <= found["coverage"]["high"]


def test_splits_of_a_judge_nobody_can_vouch_for_accept_nothing() -> None:
    p, _ = sample(8, 200)
    found = guarantee_splits(
        p, np.ones(200, dtype=bool), np.arange(200).astype(object), alpha=0.1, delta=0.1, splits=20, seed=0
    )
    assert (found["certified"], found["above"], found["error"]) == (0.0, 0.0, None)


# --- Plans ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(db: None) -> Project:
    return make_project()


def planned(project: Project, n: int, options: PlanOptions = PLAIN) -> Plan:
    """Return an applied plan over n pairs on which the judge says a; it audits half of them."""
    pairs = [make_pair(project) for _ in range(n)]
    judge_pairs(make_judge(project), pairs, ["a"] * n)
    plan = draw_plan(project, budget=Budget.parse("60%"), judge="gpt", audit_share=0.5, options=options)
    apply_plan(plan)
    return plan


def audited(plan: Plan) -> list[Pair]:
    return [route.pair for route in plan.routes.filter(source=RouteSource.AUDIT).select_related("pair")]


def test_plan_is_guaranteed_by_its_own_answered_audit_slice(project: Project) -> None:
    plan = planned(project, 120, PlanOptions(guarantee_alpha=0.2, guarantee_delta=0.05))
    assert guarantee_of(plan).threshold is None
    drawn = audited(plan)
    answer_pairs(drawn, ["b"] * 2 + ["a"] * (len(drawn) - 2), origin=Origin.LIVE)
    found = guarantee_of(plan)
    assert (found.alpha, found.delta) == (0.2, 0.05)
    assert found.threshold is not None
    assert found.errors <= 2
    assert 40 <= found.tested <= 60


def test_contested_flagged_and_router_chosen_pairs_are_not_tested(project: Project) -> None:
    plan = planned(project, 120)
    drawn = audited(plan)
    # Two that the router would have left to the judge.
    unlikely = plan.routes.filter(source=RouteSource.AUDIT, selection_prob__lt=0.55).values_list("pair_id", flat=True)
    contested, flagged = [pair for pair in drawn if pair.pk in set(unlikely)][:2]
    answer_pairs(drawn, ["a"] * len(drawn), origin=Origin.LIVE)
    before = read_audited(plan)
    answer_pairs([contested], ["b"], origin=Origin.SIMULATED)
    after = read_audited(plan)
    assert len(after.wrong) == len(before.wrong) - 1
    assert len(after.p_all) == len(before.p_all)
    ResponseFlag.objects.create(response=flagged.response_a, kind="addresses_judge", detector="1")
    last = read_audited(plan)
    assert len(last.wrong) == len(after.wrong) - 1
    assert len(last.p_all) == len(after.p_all) - 1
    chosen = plan.routes.filter(source=RouteSource.PEOPLE).select_related("pair")
    answer_pairs([route.pair for route in chosen], ["b"] * len(chosen), origin=Origin.LIVE)
    assert len(read_audited(plan).wrong) == len(last.wrong)
    assert not read_audited(plan).wrong.any()
