"""The flip rate that double labels give away, and the drivers of an answer."""

import numpy as np
import pandas as pd
import pytest

from annotation.agreeing.drivers import drivers
from annotation.agreeing.flips import flip_rate, flip_rates, flips_of

# Names of pairs, of groups of pairs, and of raters.
SIZES = {"p": 4000, "g": 250, "r": 10}


def doubly_labelled(flips: float, *, pairs: int = 1000, seed: int = 0, votes: int = 2) -> pd.DataFrame:
    """Return votes of people who are each wrong with a chance, on pairs of 250 groups."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, pairs)
    said = truth[:, None] ^ (rng.random((pairs, votes)) < flips)
    pair, vote = (place.ravel() for place in np.indices(said.shape))
    named = {name: np.array([f"{name}{place}" for place in range(size)], dtype=object) for name, size in SIZES.items()}
    return pd.DataFrame(
        {
            "pair_id": named["p"][pair],
            "group": named["g"][pair % SIZES["g"]],
            "rater": named["r"][vote],
            "choice": np.array(["a", "b"], dtype=object)[said.astype(int).ravel()],
        }
    )


@pytest.mark.parametrize("flips", [0.05, 0.15, 0.25])
@pytest.mark.parametrize("seed", [1, 2])
def test_planted_flips_are_recovered_within_two_points(flips: float, seed: int) -> None:
    found = flip_rate(doubly_labelled(flips, seed=seed)).flip_rate
    assert found.value == pytest.approx(flips, abs=0.02)
    assert found.interval is not None
    assert found.interval.low < flips < found.interval.high
    assert found.n == 1000


@pytest.mark.parametrize("flips", [0.05, 0.15, 0.25])
def test_planted_flips_are_recovered_in_ninety_five_of_a_hundred_seeds(flips: float) -> None:
    """At 4,000 pairs answered twice the standard error is 0.8 points at .25, and no estimator has less from two."""
    values, covered = [], 0
    for seed in range(100):
        found = flip_rate(doubly_labelled(flips, pairs=4000, seed=seed), repeats=100).flip_rate
        assert found.value is not None
        assert found.interval is not None
        assert found.n == 4000
        values.append(found.value)
        covered += found.interval.low <= flips <= found.interval.high
    assert sum(abs(value - flips) <= 0.02 for value in values) >= 95
    assert np.mean(values) == pytest.approx(flips, abs=0.003)
    # What theory says: the root of d (1 - d) / n, over the slope 2 (1 - 2 e) of d in e.
    differing = 2 * flips * (1 - flips)
    assert np.std(values) == pytest.approx((differing * (1 - differing) / 4000) ** 0.5 / (2 - 4 * flips), rel=0.2)
    assert covered >= 86


def test_the_flip_rate_is_the_root_of_twice_e_times_one_less_e() -> None:
    e = np.array([0.0, 0.05, 0.17, 0.3, 0.5])
    assert flips_of(2 * e * (1 - e)) == pytest.approx(e)
    # Four couples of five pairs agree: d = 0.2.
    votes = pd.DataFrame(
        [
            (f"p{pair}", f"g{pair}", f"r{side}", choice)
            for pair in range(10)
            for side, choice in enumerate("ab" if pair < 2 else "aa")
        ],
        columns=["pair_id", "group", "rater", "choice"],
    )
    found = flip_rate(votes)
    assert found.differing.value == pytest.approx(0.2)
    assert found.flip_rate.value == pytest.approx((1 - 0.6**0.5) / 2)


def test_more_than_half_differing_has_no_flip_rate_but_a_reason() -> None:
    votes = doubly_labelled(0.0, pairs=20)
    votes.loc[votes["rater"] == "r1", "choice"] = (
        votes.loc[votes["rater"] == "r0", "choice"].map({"a": "b", "b": "a"}).to_numpy()
    )
    found = flip_rate(votes)
    assert found.differing.value == 1.0
    assert found.flip_rate.value is None
    assert "tossed a coin" in found.flip_rate.too_few
    assert flip_rate(votes.iloc[:6]).flip_rate.too_few == "too few couples of decisive answers on one pair (3 of 10)"


def test_parts_have_their_own_flip_rates_and_one_part_says_nothing() -> None:
    votes = pd.concat(
        [
            doubly_labelled(0.0, pairs=100),
            doubly_labelled(0.3, pairs=400, seed=4).assign(pair_id=lambda f: "q" + f["pair_id"]),
        ]
    )
    hard = pd.Series({pair: "hard" if pair.startswith("q") else "easy" for pair in votes["pair_id"].unique()})
    same = pd.Series("en", index=hard.index)
    found = flip_rates(votes, {"category": hard, "language": same})
    assert [(one.by, one.name, one.flip_rate.n) for one in found] == [
        ("category", "hard", 400),
        ("category", "easy", 100),
    ]
    assert found[1].flip_rate.value == 0.0
    assert found[0].flip_rate.value == pytest.approx(0.3, abs=0.05)


def test_a_rater_who_rates_dense_high_and_prefers_accurate_is_named() -> None:
    rng = np.random.default_rng(2)
    n = 600
    dense, accurate, noise = rng.normal(size=(3, n))
    rated = dense + 0.3 * accurate + rng.normal(scale=0.5, size=n) > 0
    chosen = accurate + 0.3 * dense + rng.normal(scale=0.5, size=n) > 0
    apart = rated != chosen
    differences = pd.DataFrame({"different_words": dense, "rating: accuracy": accurate, "words": noise})[apart]
    groups = pd.Series([f"g{row // 3}" for row in range(n)])[apart]
    found = {one.name: one for one in drivers(differences, pd.Series(rated)[apart], groups, what="contradictions")}
    words, accuracy, length = (found[name] for name in ("different_words", "rating: accuracy", "words"))
    assert words.coefficient.value is not None
    assert accuracy.coefficient.value is not None
    assert words.coefficient.value > 0
    assert accuracy.coefficient.value < 0
    assert words.p is not None
    assert accuracy.p is not None
    assert max(words.p, accuracy.p) < 0.01
    assert length.p is not None
    assert length.p > 0.01


def test_drivers_without_cases_or_spread_say_why() -> None:
    rng = np.random.default_rng(0)
    x = pd.DataFrame({"one": rng.normal(size=200), "flat": 0.0})
    x["twice"] = 2 * x["one"]
    answer, groups = pd.Series(x["one"] + rng.normal(size=200) > 0), pd.Series(range(200))
    one, flat, twice = drivers(x, answer, groups, what="contradictions")
    assert one.coefficient.value is not None
    assert (
        flat.coefficient.too_few
        == twice.coefficient.too_few
        == "no coefficient: it does not vary, or follows from the others"
    )
    (few, *_) = drivers(x.iloc[:15], answer.iloc[:15], groups.iloc[:15], what="contradictions")
    assert few.coefficient.value is None
    assert few.coefficient.too_few.startswith("too few contradictions of the rarer direction")
    (certain, *_) = drivers(x[["one"]], pd.Series(x["one"] > 0), groups, what="contradictions")
    assert certain.coefficient.too_few == "no finite coefficient: the answer follows from the difference"


def test_drivers_are_those_of_a_logistic_regression_without_a_penalty() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 2)) * [1.0, 5.0]
    y = rng.random(400) < 1 / (1 + np.exp(-x @ [1.0, -0.1]))
    found = drivers(pd.DataFrame(x, columns=["a", "b"]), pd.Series(y), pd.Series(range(400)), what="cases")
    scaled = x / np.sqrt((x**2).mean(axis=0))
    expected = LogisticRegression(C=1e10, fit_intercept=False, tol=1e-10).fit(scaled, y).coef_[0]
    assert [one.coefficient.value for one in found] == pytest.approx(expected, abs=1e-4)
