import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from judges.averaging import (
    OUTCOMES,
    VerdictValues,
    compare_scores,
    distribution_of,
    mean_distribution,
    score_of,
    settle,
    sharpened,
)

OTHER = {"a": "b", "b": "a"}


def soft(order: str, a: float, tie: float, b: float) -> VerdictValues:
    shares = {"a": a, "tie": tie, "b": b}
    return VerdictValues(order, max(OUTCOMES, key=lambda one: shares[one]), a + tie / 2, shares)


def test_tie_that_is_likelier_than_either_side_is_one() -> None:
    settled = settle([soft("ab", 0.3, 0.6, 0.1), soft("ba", 0.45, 0.4, 0.15)], tie_band=0.05)
    assert (settled.choice, settled.consistent, settled.rationale_from) == ("tie", False, 0)
    assert settled.prob_a == pytest.approx(0.625)
    assert settled.prob_tie == pytest.approx(0.5)


def test_tie_counts_half_for_each_side_where_it_is_not_the_likeliest() -> None:
    settled = settle([soft("ab", 0.2, 0.5, 0.3), soft("ba", 0.7, 0.1, 0.2)], tie_band=0.05)
    assert settled.choice == "a"
    assert settled.prob_a == pytest.approx(0.6)


def test_tie_probability_is_unknown_where_a_verdict_has_no_distribution() -> None:
    settled = settle([soft("ab", 0.2, 0.5, 0.3), VerdictValues("ba", "a", 0.9)])
    assert (settled.choice, settled.prob_tie) == ("a", None)


@pytest.mark.parametrize(
    ("verdict", "shares"),
    [
        (VerdictValues("ab", "a", 0.8), (0.8, 0.0, 0.2)),
        (VerdictValues("ab", "b"), (0.0, 0.0, 1.0)),
        (VerdictValues("ab", "tie"), (0.0, 1.0, 0.0)),
        (VerdictValues("ab", "both_bad"), (0.0, 1.0, 0.0)),
        (VerdictValues("ab", "tie", 0.4), (0.0, 0.8, 0.2)),
        (VerdictValues("ab", "tie", 0.4, {"a": 0.3, "b": 0.5, "tie": 0.2}), (0.3, 0.2, 0.5)),
    ],
)
def test_distribution_is_the_measured_one_or_what_the_answer_implies(
    verdict: VerdictValues, shares: tuple[float, float, float]
) -> None:
    assert distribution_of(verdict) == pytest.approx(dict(zip(OUTCOMES, shares, strict=True)))


@pytest.mark.parametrize(
    ("band", "choice"),
    [(0.0, "b"), (0.049, "b"), (0.051, "tie")],
)
def test_likelihood_leads_by_more_than_the_band_or_ties(band: float, choice: str) -> None:
    both = [soft("ab", 0.4, 0.35, 0.25), soft("ba", 0.1, 0.35, 0.55)]
    assert settle(both, tie_band=band, aggregation="likelihood").choice == choice
    assert mean_distribution(both) == pytest.approx({"a": 0.25, "tie": 0.35, "b": 0.4})


def test_likelihood_of_orders_that_cancel_is_a_tie() -> None:
    both = [VerdictValues("ab", "a", 0.9), VerdictValues("ba", "b", 0.1)]
    assert settle(both, aggregation="likelihood").choice == "tie"


def test_score_of_a_distribution() -> None:
    shares = {"7": 0.4, "9": 0.4, "10": 0.2}
    assert score_of(shares, "expectation") == pytest.approx(8.4)
    assert score_of(shares, "mode") == 7.0
    # softmax(logit(p) / 0.2): odds of 0.4 against 0.2 are (2/3) / (1/4) = 8/3, to the power of five.
    weight = (8 / 3) ** 5
    assert score_of(shares, "sharpened") == pytest.approx((7 * weight + 9 * weight + 10) / (2 * weight + 1))
    assert score_of({"3": 1.0}, "sharpened") == 3.0
    with pytest.raises(ValueError, match="needs a distribution"):
        score_of({}, "mode")


def test_scores_with_distributions_are_compared_as_independent_draws() -> None:
    compared = compare_scores(
        7.6, 7.5, distribution_a={"7": 0.4, "8": 0.6}, distribution_b={"7": 0.5, "8": 0.5, "10": 0.0}
    )
    assert compared == pytest.approx((0.55, 0.5))


def test_scores_compare_numbers_not_texts() -> None:
    assert compare_scores(10, 9, distribution_a={"10": 1.0}, distribution_b={"9": 1.0}) == (1.0, 0.0)


def test_scores_alone_decide_where_a_distribution_is_missing_or_the_mode_is_wanted() -> None:
    shares = {"7": 0.4, "8": 0.6}
    assert compare_scores(7.6, 7.0, distribution_a=shares) == (1.0, 0.0)
    assert compare_scores(6.0, 7.0) == (0.0, 0.0)
    assert compare_scores(7.0, 7.0) == (0.5, 1.0)
    assert compare_scores(8.0, 8.0, distribution_a=shares, distribution_b={"8": 1.0}, scoring="mode") == (0.5, 1.0)


def test_sharpened_scores_are_compared_sharpened() -> None:
    shares = {"7": 0.4, "8": 0.6}
    compared = compare_scores(0, 0, distribution_a=shares, distribution_b={"8": 1.0}, scoring="sharpened")
    assert compared.prob_tie == pytest.approx(sharpened(shares)["8"], abs=1e-6)


simplex = st.tuples(*[st.floats(0.001, 1.0)] * 3).map(lambda raw: [share / sum(raw) for share in raw])
verdicts = st.lists(simplex.map(lambda shares: soft("ab", *shares)), min_size=1, max_size=4)


@given(verdicts, st.floats(0.0, 0.4), st.sampled_from(["mean", "likelihood"]))
def test_swapping_sides_mirrors_what_is_settled(many: list[VerdictValues], band: float, aggregation: str) -> None:
    mirrored = [
        VerdictValues("ab", OTHER.get(one.choice, one.choice), 1 - (one.prob_a or 0), {
            OTHER.get(name, name): share for name, share in one.distribution.items()
        })
        for one in many
    ]  # fmt: skip
    one = settle(many, tie_band=band, aggregation=aggregation)
    assert one.prob_a is not None
    mean = mean_distribution(many)
    first, second, _ = sorted(mean.values(), reverse=True)
    # Not within rounding of an edge.
    assume(abs(abs(one.prob_a - 0.5) - band) > 1e-6 and abs(first - second - band) > 1e-6 and first - second > 1e-6)
    other = settle(mirrored, tie_band=band, aggregation=aggregation)
    assert other.choice == OTHER.get(one.choice, one.choice)
    assert other.prob_a == pytest.approx(1 - one.prob_a)
    assert other.prob_tie == pytest.approx(one.prob_tie)


scores = st.dictionaries(st.integers(1, 100).map(str), st.floats(0.001, 1.0), min_size=1, max_size=5)


@given(scores, scores, st.sampled_from(["expectation", "sharpened", "mode"]))
def test_comparing_the_other_way_round_mirrors_the_probability(
    a: dict[str, float], b: dict[str, float], scoring: str
) -> None:
    score_a, score_b = score_of(a, scoring), score_of(b, scoring)
    one = compare_scores(score_a, score_b, distribution_a=a, distribution_b=b, scoring=scoring)
    other = compare_scores(score_b, score_a, distribution_a=b, distribution_b=a, scoring=scoring)
    assert one.prob_a == pytest.approx(1 - other.prob_a)
    assert one.prob_tie == pytest.approx(other.prob_tie)
    assert min(map(int, a)) - 1e-9 <= score_a <= max(map(int, a)) + 1e-9
