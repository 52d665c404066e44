"""What goes with an answer: a small logistic regression whose errors respect prompt groups.

Pure. No intercept: swapping the two responses of a pair turns every difference and the answer round, so a model
without one says the same of both. Coefficients are for one standard deviation (root mean square) of a difference.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing.figures import LEAST_GROUPS, LEAST_LABELS, Figure, Interval, Z, plain, too_few

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ITERATIONS = 50
CONVERGED = 1e-9
# Each coefficient takes so many cases of the rarer answer (Peduzzi et al. 1996).
CASES_PER_COEFFICIENT = 10
# exp(15) to one: the answer follows from the difference, and no number is large enough.
ENDLESS = 15.0


class Driver(NamedTuple):
    """One difference's coefficient (log-odds for one standard deviation of it) and its two-sided p, None without."""

    name: str
    coefficient: Figure
    p: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the driver as JSON values."""
        return plain(self)


def drivers(
    differences: pd.DataFrame, answer: "pd.Series[Any]", groups: "pd.Series[Any]", *, what: str
) -> list[Driver]:
    """Return what each difference (a less b, a column each) does to the chance that `answer` is True.

    Rows with a missing value are left out, and so are columns without spread or that follow from the others. Intervals
    and p come from the sandwich over prompt groups (Liang & Zeger 1986). `what` names the cases in a figure's words.
    """
    known = differences.notna().all(axis=1) & answer.notna()
    x = differences[known].to_numpy(dtype=float)
    y = answer[known].to_numpy(dtype=bool).astype(float)
    codes = pd.factorize(groups[known], sort=True)[0]
    scale = np.sqrt((x**2).mean(axis=0)) if len(x) else np.zeros(x.shape[1])
    used = _independent(x / np.where(scale > 0, scale, 1.0), scale > 0)
    wanted = max(LEAST_LABELS, CASES_PER_COEFFICIENT * int(used.sum()))
    rarer = int(min(y.sum(), len(y) - y.sum()))
    n = len(y)
    if rarer < wanted or len(set(codes)) < LEAST_GROUPS:
        reason = f"{what} of the rarer direction" if rarer < wanted else f"prompt groups with {what}"
        none = too_few(rarer, wanted, reason) if rarer < wanted else too_few(len(set(codes)), LEAST_GROUPS, reason)
        return [Driver(str(name), none._replace(n=n), None) for name in differences.columns]
    beta, errors = _fitted(x[:, used] / scale[used], y, codes)
    found, place = [], 0
    for name, is_used in zip(differences.columns, used, strict=True):
        if not is_used:
            missing = Figure(None, n, too_few="no coefficient: it does not vary, or follows from the others")
            found.append(Driver(str(name), missing, None))
            continue
        value, error = float(beta[place]), float(errors[place])
        place += 1
        if not np.isfinite(error) or abs(value) > ENDLESS:
            endless = Figure(None, n, too_few="no finite coefficient: the answer follows from the difference")
            found.append(Driver(str(name), endless, None))
            continue
        interval = Interval(value - Z * error, value + Z * error)
        found.append(Driver(str(name), Figure(value, n, interval), _two_sided(value / error)))
    return found


def _two_sided(z: float) -> float:
    from scipy.special import ndtr

    return float(2.0 * ndtr(-abs(z)))


def _independent(x: "Array", varies: "NDArray[np.bool_]") -> "NDArray[np.bool_]":
    """Return which columns to use: each that is no sum of those before it."""
    used = np.zeros(x.shape[1], dtype=bool)
    for column in np.flatnonzero(varies):
        trial = used.copy()
        trial[column] = True
        if np.linalg.matrix_rank(x[:, trial], tol=1e-6 * np.sqrt(len(x))) == trial.sum():
            used = trial
    return used


def _fitted(x: "Array", y: "Array", codes: "NDArray[np.int64]") -> tuple["Array", "Array"]:
    """Return the maximum of the likelihood (Newton's steps, halved where they overshoot) and clustered errors."""

    def loss(beta: "Array") -> float:
        return float(np.sum(np.logaddexp(0.0, x @ beta) - y * (x @ beta)))

    beta = np.zeros(x.shape[1])
    now = loss(beta)
    information = np.eye(len(beta))
    for _ in range(ITERATIONS):
        chance = 1.0 / (1.0 + np.exp(-x @ beta))
        information = (x * (chance * (1.0 - chance))[:, None]).T @ x
        step = np.linalg.lstsq(information, x.T @ (y - chance), rcond=None)[0]
        while (then := loss(beta + step)) > now + CONVERGED and np.abs(step).max() > CONVERGED:
            step = step / 2.0
        beta, now = beta + step, then
        if np.abs(step).max() <= CONVERGED or np.abs(beta).max() > 2 * ENDLESS:
            break
    chance = 1.0 / (1.0 + np.exp(-x @ beta))
    scores = np.zeros((codes.max() + 1, len(beta)))
    np.add.at(scores, codes, x * (y - chance)[:, None])
    inverse = np.linalg.pinv(information)
    few = len(scores) / (len(scores) - 1)
    return beta, np.sqrt(np.diag(few * inverse @ (scores.T @ scores) @ inverse))
