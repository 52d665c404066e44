"""Regressions of a mix's score: what they find, how they are compared, when they are not to be believed."""

import numpy as np
import pytest

from routing.predicting.scoring import Floats
from routing.studies.forecasting import compare_regressions, fit_regression, fit_ridge, spearman_within
from routing.studies.mixing import refusal_of


def mixes(n: int = 240, noise: float = 0.2) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(0)
    budgets = np.array([0.1, 0.25, 0.5])[np.arange(n) % 3]
    counts = rng.random((n, 20)) * budgets[:, None] * 100
    scores = 10 * budgets + 0.1 * counts[:, 0] - 0.05 * counts[:, 1] + noise * rng.normal(size=n)
    return counts, scores, budgets


def test_order_is_judged_among_mixes_of_the_same_budget() -> None:
    budgets = np.repeat([0.1, 0.5], 50)
    actual = budgets * 100 + np.tile(np.arange(50), 2)
    # A forecast that knows the budget alone is useless, one with its own level for each budget is perfect.
    assert spearman_within(budgets, actual, budgets) == 0.0
    assert spearman_within(np.tile(np.arange(50.0), 2), actual, budgets) == pytest.approx(1.0)
    assert spearman_within(-actual, actual, budgets) == pytest.approx(-1.0)


def test_equal_ranks_share_their_mean() -> None:
    a, b = np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0, 4.0])
    # scipy.stats.spearmanr gives the same.
    assert spearman_within(a, b, np.zeros(4)) == pytest.approx(0.9486832980505138)


def test_regressions_find_what_makes_a_score_and_are_compared_on_mixes_held_out() -> None:
    counts, scores, budgets = mixes()
    found = {forecast.name: forecast for forecast in compare_regressions(counts, scores, budgets, seed=0)}
    assert list(found) == ["constant", "linear", "quadratic", "lightgbm"]
    assert found["constant"].spearman == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert found["linear"].spearman["mean"] > 0.85
    assert found["linear"].spearman["low"] < found["linear"].spearman["mean"] < found["linear"].spearman["high"]
    assert found["linear"].rmse["mean"] < 0.5 * found["constant"].rmse["mean"]
    assert [forecast.chosen for forecast in found.values()].count(True) == 1
    assert refusal_of(next(forecast for forecast in found.values() if forecast.chosen)) == ""


def test_scores_without_a_reason_are_refused_with_the_figure() -> None:
    counts, scores, budgets = mixes()
    noise = 10 * budgets + np.random.default_rng(5).normal(size=len(scores))
    chosen = next(forecast for forecast in compare_regressions(counts, noise, budgets, seed=0) if forecast.chosen)
    # Over all budgets even this looks like a forecast: larger budgets score higher.
    assert chosen.spearman_overall > 0.6
    assert "The predictor cannot rank mixes here: Spearman" in refusal_of(chosen)


def test_products_are_found_by_the_quadratic_alone() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 6))
    y = x[:, 0] * x[:, 1]
    linear, quadratic = (fit_ridge(x[:200], y[:200], degree=degree)(x[200:]) for degree in (1, 2))
    assert np.corrcoef(quadratic, y[200:])[0, 1] > 0.95
    assert np.corrcoef(linear, y[200:])[0, 1] < 0.5


def test_a_linear_ridge_does_not_depend_on_a_columns_unit_and_bears_a_constant_one() -> None:
    counts, scores, _ = mixes()
    counts = np.column_stack([counts, np.full(len(counts), 7.0)])
    scaled = counts * np.r_[1000.0, np.ones(counts.shape[1] - 1)]
    first = fit_ridge(counts, scores, degree=1)(counts)
    assert np.allclose(first, fit_ridge(scaled, scores, degree=1)(scaled))
    assert np.corrcoef(first, scores)[0, 1] > 0.98


def test_the_same_seed_gives_the_same_forecast() -> None:
    counts, scores, budgets = mixes(120)
    for name in ("constant", "linear", "quadratic", "lightgbm"):
        first, again = (fit_regression(name, counts, scores, budgets, seed=4)(counts, budgets) for _ in range(2))
        assert np.array_equal(first, again)
