"""A number for a report with its n and its interval, or the words that say why there is none.

Pure. Intervals resample prompt groups, since pairs of one prompt depend on each other.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from annotation.models import Choice

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Below this a share moves by more than ten points with one label.
LEAST_LABELS = 10
# Resampling fewer groups than this says nothing about the spread between them.
LEAST_GROUPS = 5
REPEATS = 1000
LEVEL = 0.95
Z = 1.959963984540054
# The standard normal quantile of 80 %: the power at which an effect counts as detectable.
POWER_Z = 0.8416212335729143
DETECTABLE_WIDTHS = (Z + POWER_Z) / (2 * Z)
# Sides of a choice: "both bad" prefers neither response, as "tie" does.
SIDES = ("a", "b", "tie")
SIDE_OF = {Choice.A.value: "a", Choice.B.value: "b", Choice.TIE.value: "tie", Choice.BOTH_BAD.value: "tie"}
# With more groups they are first merged at random into this many, of equal size: the interval stays the same within
# its own error, and its cost no longer grows with the project.
MOST_GROUPS = 2000

# A coefficient that corrects for chance divides by the disagreement that chance would give, which is then none.
ONE_ANSWER = "everybody gave one answer"

Statistic = Callable[[pd.DataFrame], "pd.Series[float]"]


class Interval(NamedTuple):
    """Where 95 % of the resampled values lie."""

    low: float
    high: float


class Figure(NamedTuple):
    """A number for a report: `value` over `n` cases, or `too_few` saying what is missing (`value` is then None)."""

    value: float | None
    n: int
    interval: Interval | None = None
    too_few: str = ""

    @property
    def detectable(self) -> float | None:
        """The smallest true difference that a sample like this one shows in four of five cases (two-sided 5 %).

        1.96 + 0.84 standard errors, from the interval's width, so dependence within groups is counted in. None without
        an interval.
        """
        return None if self.interval is None else DETECTABLE_WIDTHS * (self.interval.high - self.interval.low)

    def as_dict(self) -> dict[str, Any]:
        """Return the figure as JSON values: value, n, low, high, detectable, too_few."""
        low, high = self.interval or (None, None)
        return {
            "value": self.value,
            "n": self.n,
            "low": low,
            "high": high,
            "detectable": self.detectable,
            "too_few": self.too_few,
        }


def too_few(n: int, wanted: int, what: str = "labels") -> Figure:
    """Return the figure that says there is too little data."""
    return Figure(None, n, too_few=f"too few {what} ({n} of {wanted})")


def cluster_bootstrap(
    frame: pd.DataFrame,
    groups: "pd.Series[Any]",
    statistic: Statistic,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Interval | None:
    """Return the 95 % percentile interval of a statistic, resampling whole groups with replacement.

    `frame` holds a row a case and numeric columns that add up; `groups` has the group of each row. `statistic` gets
    the column sums of every resample (a row a resample) and returns a value a row, NaN where it is not defined. Since
    only sums are needed, a resample is one row of a matrix product and texts or labels are never copied. None with
    fewer than five groups, or where most resamples leave the statistic undefined.
    """
    drawn = resample(frame.to_numpy(dtype=float), bundle(groups, seed), repeats=repeats, seed=seed).drawn
    if drawn is None:
        return None
    return interval_of(statistic(pd.DataFrame(drawn, columns=frame.columns)).to_numpy(dtype=float))


class Bundles(NamedTuple):
    """Which of `n` bundles each row belongs to: a prompt group, or several where there are more than 2,000.

    `n_groups` counts the groups before any were bundled.
    """

    places: "NDArray[np.int64]"
    n: int
    n_groups: int


class Resamples(NamedTuple):
    """Column sums of a table whose rows add up: of all rows (1 x columns), and of each resample of whole groups.

    `drawn` (repeats x columns) is None with fewer than five groups.
    """

    whole: "NDArray[np.float64]"
    drawn: "NDArray[np.float64] | None"

    def estimate(
        self, statistic: Callable[["NDArray[np.float64]"], "NDArray[np.float64]"], n: int, *, at_least: int, what: str
    ) -> Figure:
        """Return the value of a statistic of sums (a row in, a value out) with its interval, or why there is none."""
        if n < at_least:
            return too_few(n, at_least, what)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(statistic(self.whole)[0])
            if not np.isfinite(value):
                return Figure(None, n, too_few=ONE_ANSWER)
            interval = None if self.drawn is None else interval_of(statistic(self.drawn))
        return Figure(value, n, interval)


def bundle(groups: "pd.Series[Any]", seed: int = 0) -> Bundles:
    """Return the bundle of each row's group: whole groups, merged at random into equal bundles where there are many."""
    codes, names = pd.factorize(groups.to_numpy(), sort=True)
    if len(names) <= MOST_GROUPS:
        return Bundles(codes, len(names), len(names))
    merged = np.random.default_rng(seed).permutation(len(names)) % MOST_GROUPS
    return Bundles(merged[codes], MOST_GROUPS, len(names))


def resample(rows: "NDArray[np.float64]", bundles: Bundles, *, repeats: int = REPEATS, seed: int = 0) -> Resamples:
    """Return the sums of all rows and of `repeats` resamples of their bundles, drawn with replacement from `seed`."""
    sums = summed(rows, bundles)
    drawn = None if bundles.n < LEAST_GROUPS else _weights(bundles.n, repeats, seed) @ sums
    return Resamples(sums.sum(axis=0, keepdims=True), drawn)


def summed(rows: "NDArray[np.float64]", bundles: Bundles) -> "NDArray[np.float64]":
    """Return the sums of the rows of each bundle: bundles x columns."""
    ones = np.ones(len(rows))
    places = sparse.csr_array((ones, (bundles.places, np.arange(len(rows)))), shape=(bundles.n, len(rows)))
    return np.asarray(places @ rows)


def interval_of(values: "NDArray[np.floating[Any]]") -> Interval | None:
    """Return where 95 % of the resampled values lie; None where most of them are not defined."""
    known = values[np.isfinite(values)]
    if len(known) < len(values) / 2:
        return None
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(known, [tail, 1.0 - tail])
    return Interval(float(low), float(high))


@lru_cache(maxsize=4)
def _weights(n_groups: int, repeats: int, seed: int) -> "NDArray[np.float64]":
    """Return how often each resample holds each group (repeats x groups). Kept: a card asks for the same ones often."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_groups, np.full(n_groups, 1.0 / n_groups), size=repeats).astype(float)


def wilson(successes: float, n: int) -> Interval:
    """Return the Wilson score interval (95 %) of a share of n > 0 independent cases (Wilson 1927)."""
    share, z2 = successes / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * float(np.sqrt(share * (1 - share) / n + z2 / (4 * n * n)))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def share(
    hits: "pd.Series[Any]",
    groups: "pd.Series[Any]",
    *,
    at_least: int = LEAST_LABELS,
    what: str = "labels",
    repeats: int = REPEATS,
    seed: int = 0,
) -> Figure:
    """Return the share of true cases among those that are not NaN, with its interval.

    The interval is the wider, on each side, of the cluster bootstrap and Wilson's: resampling sees no spread where
    all cases are alike, and Wilson sees no clusters.
    """
    known = hits.notna()
    n = int(known.sum())
    if n < at_least:
        return too_few(n, at_least, what)
    parts = pd.DataFrame({"hits": hits[known].astype(float), "cases": 1.0})
    total = float(parts["hits"].sum())
    interval = cluster_bootstrap(
        parts, groups[known], lambda sums: sums["hits"] / sums["cases"], repeats=repeats, seed=seed
    )
    return Figure(total / n, n, wider(interval, wilson(total, n)))


def wider(first: Interval | None, second: Interval) -> Interval:
    """Return the interval from the lower low to the higher high."""
    return second if first is None else Interval(min(first.low, second.low), max(first.high, second.high))


def plain(result: Any) -> dict[str, Any]:
    """Return a named tuple that holds figures as JSON values."""
    return {name: value.as_dict() if isinstance(value, Figure) else value for name, value in result._asdict().items()}
