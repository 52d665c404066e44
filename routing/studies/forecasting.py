"""Forecasts of a mix's score from what the mix is made of, and how far such a forecast can be trusted.

Regressions are compared on mixes they did not see. What counts is how they order mixes of the *same* budget: that more
people's labels are better needs no regression, and would make any of them look good.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from routing.predicting.predictor import predict_values, train_regressor
from routing.predicting.scoring import Floats

FOLDS = 10
RESAMPLES = 500
# Below this rank correlation the best forecast is mostly luck, and nothing is recommended.
LEAST_SPEARMAN = 0.3
RIDGES = tuple(10.0**power for power in range(-4, 4))
# Simplest first: where two order mixes equally well, the first is taken.
REGRESSIONS = {
    "constant": "the mean of its budget",
    "linear": "ridge regression",
    "quadratic": "ridge regression with products",
    "lightgbm": "LightGBM",
}
Predict = Callable[[Floats], Floats]
# Takes features (m, k) and budgets (m,).
PredictMixes = Callable[[Floats, Floats], Floats]


class Forecast(NamedTuple):
    """How one regression did on mixes it had not seen (`predicted`, one a mix), and whether it is the one to use."""

    name: str
    spearman: dict[str, float]
    spearman_overall: float
    rmse: dict[str, float]
    predicted: Floats
    chosen: bool


def fit_regression(
    name: str, x: Floats, y: Floats, budgets: Floats, *, seed: int
) -> Callable[[Floats, Floats], Floats]:
    """Return `predict(x, budgets)` fitted on mixes: features `x` (m, k), scores `y` (m,), their budgets (m,)."""
    if name == "constant":
        return _fit_constant(y, budgets)
    if name == "lightgbm":
        model = train_regressor(x, y, seed=seed)
        return lambda new, _: predict_values(model, new)
    predict = fit_ridge(x, y, degree=1 if name == "linear" else 2)
    return lambda new, _: predict(new)


def fit_ridge(x: Floats, y: Floats, *, degree: int) -> Predict:
    """Return a ridge regression on the columns of `x` (m, k), and with degree 2 on all their squares and products.

    Columns are scaled to spread 1 and weigh 1 together. Products are never written out (4,000 of them for 90 columns):
    the kernel (1 + x·x')² holds them all. The penalty is the one with the least leave-one-out error.
    """
    mean, spread = x.mean(axis=0), x.std(axis=0)
    scale = np.where(spread > 1e-12, spread, np.inf) * np.sqrt(max(int((spread > 1e-12).sum()), 1))
    scaled, centre = (x - mean) / scale, float(y.mean())
    values, vectors = np.linalg.eigh(_kernel(scaled, scaled, degree))
    rotated = vectors.T @ (y - centre)
    errors = []
    for ridge in RIDGES:
        shrunk = values / (values + ridge * len(y))
        left = y - centre - vectors @ (shrunk * rotated)
        errors.append(float(np.mean((left / (1 - (vectors**2) @ shrunk)) ** 2)))
    ridge = RIDGES[int(np.argmin(errors))]
    dual = vectors @ (rotated / (values + ridge * len(y)))

    def predict(new: Floats) -> Floats:
        return np.asarray(centre + _kernel((new - mean) / scale, scaled, degree) @ dual)

    return predict


def compare_regressions(x: Floats, y: Floats, budgets: Floats, *, seed: int) -> list[Forecast]:
    """Return each of `REGRESSIONS` with its errors on mixes held out in ten folds; the best at ordering is chosen.

    `x` (m, k) features, `y` (m,) scores, `budgets` (m,). `spearman` is the rank correlation among mixes of the same
    budget, `spearman_overall` the plain one; intervals are over samples of mixes. The constant orders no mixes of one
    budget, and has 0. The same arguments give the same bits where the caller has one thread (`threadpool_limits`).
    """
    fold_of = np.random.default_rng([seed, 11]).permutation(len(y)) % FOLDS
    rng = np.random.default_rng([seed, 12])
    # How often each mix is in each sample.
    drawn = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), size=RESAMPLES).astype(float)
    found = {}
    for name in REGRESSIONS:
        predicted = np.zeros(len(y))
        for fold in range(FOLDS):
            out = fold_of == fold
            predict = fit_regression(name, x[~out], y[~out], budgets[~out], seed=seed)
            predicted[out] = predict(x[out], budgets[out])
        found[name] = predicted
    spearmans = {
        name: _with_ends(spearman_within(p, y, budgets), _correlations(drawn, *_ranks_within(p, y, budgets)))
        for name, p in found.items()
        if name != "constant"
    }
    spearmans["constant"] = {"mean": 0.0, "low": 0.0, "high": 0.0}
    best = max((name for name in REGRESSIONS if name != "constant"), key=lambda name: spearmans[name]["mean"])
    return [
        Forecast(
            name=name,
            spearman=spearmans[name],
            spearman_overall=spearman_within(p, y, np.zeros(len(y))),
            rmse=_with_ends(float(np.sqrt(np.mean((p - y) ** 2))), np.sqrt(drawn @ (p - y) ** 2 / len(y))),
            predicted=p,
            chosen=name == best,
        )
        for name, p in found.items()
    ]


def spearman_within(predicted: Floats, actual: Floats, budgets: Floats) -> float:
    """Return the rank correlation among mixes of the same budget, all budgets taken together; 0 without any order."""
    a, b = _ranks_within(predicted, actual, budgets)
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread > 0 else 0.0


def as_json(forecast: Forecast) -> dict[str, Any]:
    """Return what a page shows of a forecast; figures are floats."""
    kept = {key: value for key, value in forecast._asdict().items() if key != "predicted"}
    return {**kept, "words": REGRESSIONS[forecast.name]}


def _fit_constant(y: Floats, budgets: Floats) -> PredictMixes:
    means = {float(budget): float(y[budgets == budget].mean()) for budget in np.unique(budgets)}
    overall = float(y.mean())
    return lambda _, asked: np.array([means.get(float(budget), overall) for budget in asked])


def _kernel(left: Floats, right: Floats, degree: int) -> Floats:
    return np.asarray((1.0 + left @ right.T) ** degree)


def _ranks(values: Floats) -> Floats:
    """Return ranks from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts + 1) / 2)[inverse])


def _ranks_within(predicted: Floats, actual: Floats, budgets: Floats) -> tuple[Floats, Floats]:
    """Return both ranks of each mix among those of its budget, from the middle: a budget's level counts for nothing."""
    a, b = np.zeros(len(actual)), np.zeros(len(actual))
    for budget in np.unique(budgets):
        same = budgets == budget
        a[same] = _ranks(predicted[same]) - (same.sum() - 1) / 2
        b[same] = _ranks(actual[same]) - (same.sum() - 1) / 2
    return a, b


def _correlations(drawn: Floats, a: Floats, b: Floats) -> Floats:
    """Return the correlation of two ranks in samples of mixes; ranks are those among all mixes, not made anew."""
    n = drawn.sum(axis=1)
    mean_a, mean_b = drawn @ a / n, drawn @ b / n
    spread = (drawn @ a**2 / n - mean_a**2) * (drawn @ b**2 / n - mean_b**2)
    return np.asarray((drawn @ (a * b) / n - mean_a * mean_b) / np.sqrt(np.where(spread > 0, spread, np.inf)))


def _with_ends(value: float, resampled: Floats) -> dict[str, float]:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {"mean": value, "low": float(low), "high": float(high)}
