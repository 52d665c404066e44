"""How good a probability is, and the small regressions that make one. Arrays in, arrays out."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Strings = npt.NDArray[np.object_]

# A probability of 0 or 1 would make one mistake cost infinity.
CLIP = 1e-6
NEWTON_STEPS = 50
# Relative to the loss, which adds up over the rows: below it only rounding is left.
NEWTON_TOLERANCE = 1e-11


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def logit(p: Floats) -> Floats:
    """Return log(p / (1 - p)), with p kept within [1e-6, 1 - 1e-6]."""
    p = np.clip(p, CLIP, 1 - CLIP)
    return np.asarray(np.log(p / (1 - p)))


def fit_logistic(x: Floats, y: Floats, weights: Floats, penalty: Floats) -> Floats:
    """Return the coefficients (one a column) that maximise the weighted likelihood less `penalty * b**2 / 2`.

    `x` is (n, k) and holds its own column of ones where an intercept is wanted; `y` is in [0, 1]; `penalty` is (k,).
    Newton's method with halved steps: the loss is convex, so the result does not depend on a start or a seed.
    """

    def loss(b: Floats) -> float:
        z = x @ b
        return float(weights @ (np.logaddexp(0.0, z) - y * z) + 0.5 * penalty @ b**2)

    b = np.zeros(x.shape[1])
    current = loss(b)
    for _ in range(NEWTON_STEPS):
        p = sigmoid(x @ b)
        gradient = x.T @ (weights * (p - y)) + penalty * b
        hessian = (x * (weights * np.maximum(p * (1 - p), CLIP))[:, None]).T @ x + np.diag(penalty + 1e-9)
        step = np.linalg.solve(hessian, gradient)
        smallest = NEWTON_TOLERANCE * (1 + abs(current))
        while (after := loss(b - step)) > current + smallest and np.abs(step).max() > NEWTON_TOLERANCE:
            step = step / 2
        b = b - step
        if current - after < smallest:
            break
        current = after
    return b


def fit_platt(p: Floats, wrong: Bools, weights: Floats) -> tuple[float, float]:
    """Return slope and intercept that map logit(p) to a calibrated logit (Platt 1999, with his smoothed targets).

    A slope below 0 would turn the ranking round; it becomes 0, and every pair gets the base rate.
    """
    ones, zeros = wrong.sum(), (~wrong).sum()
    target = np.where(wrong, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    x = np.column_stack([logit(p), np.ones(len(p))])
    slope, intercept = fit_logistic(x, target, weights, np.zeros(2))
    if slope < 0:
        return 0.0, float(logit(np.array([np.average(target, weights=weights)]))[0])
    return float(slope), float(intercept)


def grouped_folds(groups: Strings, folds: int, rng: np.random.Generator) -> Iterator[Bools]:
    """Yield the mask of each fold's held-out rows; a group is never split, and folds are filled evenly.

    Groups are shuffled and then placed, largest first, into the fold with the fewest rows.
    """
    names, inverse, sizes = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    shuffled = rng.permutation(len(names))
    filled = np.zeros(min(folds, len(names)), dtype=int)
    fold_of = np.zeros(len(names), dtype=int)
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        fold_of[group] = int(np.argmin(filled))
        filled[fold_of[group]] += sizes[group]
    for fold in range(len(filled)):
        yield fold_of[inverse] == fold


def auroc(scores: Floats, wrong: Bools, weights: Floats | None = None) -> float:
    """Return P(a wrong pair scores above a right one), ties counting half; NaN without both kinds.

    The Mann-Whitney statistic, with each pair counted `weights` times.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    levels, inverse = np.unique(scores, return_inverse=True)
    bad = np.bincount(inverse, weights=weights * wrong, minlength=len(levels))
    good = np.bincount(inverse, weights=weights * ~wrong, minlength=len(levels))
    if bad.sum() == 0 or good.sum() == 0:
        return float("nan")
    below = np.cumsum(good) - good
    return float((bad @ (below + 0.5 * good)) / (bad.sum() * good.sum()))


def log_losses(p: Floats, wrong: Bools) -> Floats:
    """Return the log loss of each pair, in nats."""
    p = np.clip(p, CLIP, 1 - CLIP)
    return np.asarray(-np.log(np.where(wrong, p, 1 - p)))


def brier(p: Floats, wrong: Bools) -> float:
    """Return the mean squared distance between probability and outcome."""
    return float(np.mean((p - wrong) ** 2))


def expected_calibration_error(p: Floats, wrong: Bools, bins: int = 15) -> float:
    """Return the mean distance between stated and seen frequency over bins of equal mass (fewer on little data)."""
    order = np.argsort(p, kind="stable")
    parts = np.array_split(order, max(1, min(bins, len(p) // 10)))
    return float(sum(len(part) * abs(p[part].mean() - wrong[part].mean()) for part in parts) / len(p))
