"""Bootstrap over prompt groups for rankings: agreement at any budget, human share for a target, AUROC, calibration.

A sample is never built: a row drawn k times counts k times. Its copies stand next to each other in any ranking, so one
ordering per ranking serves all samples. Arrays in, figures out.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from routing.predicting.scoring import Bools, Floats, Strings, expected_calibration_error

RESAMPLES = 1000
CALIBRATION_BINS = 10
Ints = npt.NDArray[np.int64]


def draw_groups(groups: Strings, samples: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Yield, sample by sample, how often each row was drawn (n,): whole prompt groups, with replacement."""
    names, inverse = np.unique(groups.astype(str), return_inverse=True)
    for _ in range(samples):
        yield np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))[inverse]


def interval(value: float, resampled: Floats | Sequence[float]) -> dict[str, float]:
    """Return a figure with the 95 % percentile interval of its bootstrap."""
    known = np.asarray(resampled, dtype=float)
    # A sample of groups may hold no wrong pair at all; it says nothing about a ranking.
    low, high = np.quantile(known[~np.isnan(known)], [0.025, 0.975])
    return {"mean": float(value), "low": float(low), "high": float(high)}


def interval_above_zero(value: float, resampled: Floats | Sequence[float]) -> dict[str, float]:
    """Return a figure that cannot be negative, such as a mean distance, with its interval.

    Resampling adds noise, and noise adds distance: the samples are moved back so that their mean is the figure.
    """
    known = np.asarray(resampled, dtype=float)
    moved = np.maximum(known - known.mean() + value, 0.0)
    return interval(value, moved)


class Ranking:
    """Pairs in the order in which people would be asked about them, and whether the judge is wrong about each."""

    def __init__(self, scores: Floats, ties: Floats, wrong: Bools) -> None:
        self.order = np.lexsort((ties, -scores))
        self.wrong = wrong[self.order].astype(np.int64)

    def found(self, counts: Ints) -> tuple[Ints, Ints]:
        """Return the pairs asked and the wrong ones among them, after each row of the order."""
        drawn = counts[self.order]
        return np.cumsum(drawn), np.cumsum(drawn * self.wrong)

    def agreement(self, budgets: Floats, counts: Ints) -> Floats:
        """Return the share of labels that are right after people answered a share of the pairs, for each budget."""
        asked, found = self.found(counts)
        n, errors = asked[-1], found[-1]
        budget = np.minimum((budgets * n + 1e-9).astype(np.int64), n)
        row = np.searchsorted(asked, budget)
        # Of the row where the budget ends, only some copies are asked.
        spare = asked[row] - budget
        return np.asarray(1 - (errors - found[row] + spare * self.wrong[row]) / n)

    def needed(self, targets: Floats, counts: Ints) -> Floats:
        """Return the share of pairs that people must answer for each agreement."""
        asked, found = self.found(counts)
        fixed = must_fix(targets, int(asked[-1]), int(found[-1]))
        row = np.searchsorted(found, fixed)
        return np.asarray(np.where(fixed == 0, 0, asked[row] - (found[row] - fixed)) / asked[-1])


def must_fix(targets: Floats, n: int, errors: int) -> Ints:
    """Return how many of the wrong labels must be corrected for each agreement."""
    return np.maximum(0, errors - ((1 - targets) * n + 1e-9).astype(np.int64))


class Levels:
    """The distinct values of a score, for its AUROC in many samples."""

    def __init__(self, scores: Floats, wrong: Bools) -> None:
        values, self.level = np.unique(scores, return_inverse=True)
        self.n, self.wrong = len(values), wrong

    def auroc(self, counts: Ints) -> float:
        """Return P(a wrong pair scores above a right one), ties counting half; NaN without both kinds."""
        bad = np.bincount(self.level, weights=counts * self.wrong, minlength=self.n)
        good = np.bincount(self.level, weights=counts, minlength=self.n) - bad
        if not bad.any() or not good.any():
            return float("nan")
        return float(bad @ (np.cumsum(good) - 0.5 * good) / (bad.sum() * good.sum()))


class Calibration:
    """How often the judge was wrong where it was said to be so likely, over all repeats; `p` is (r, n)."""

    def __init__(self, p: Floats, wrong: Bools) -> None:
        n = p.shape[1]
        self.p, self.wrong = p, wrong
        self.ranked = np.argsort(p, axis=1, kind="stable")
        pooled = np.argsort(p, axis=None, kind="stable")
        self.parts = np.array_split(pooled, min(CALIBRATION_BINS, max(1, n // 10)))
        # How often each pair fell into each bin, over the repeats.
        self.members = np.array([np.bincount(part % n, minlength=n) for part in self.parts], dtype=float)

    def ece(self, repeat: int, counts: Ints) -> float:
        """Return the expected calibration error of one repeat in one sample."""
        ranked = self.ranked[repeat]
        rows = np.repeat(ranked, counts[ranked])
        return expected_calibration_error(self.p[repeat, rows], self.wrong[rows])

    def seen(self, counts: Ints) -> Floats:
        """Return how often the judge was wrong in each bin; NaN in one that the sample left empty."""
        weight = self.members @ counts
        with np.errstate(invalid="ignore"):
            return np.asarray((self.members @ (counts * self.wrong)) / weight)

    def curve(self, resampled: Floats) -> list[dict[str, Any]]:
        """Return the bins from low to high; `resampled` is `seen` of each sample (b, bins)."""
        seen = self.seen(np.ones(len(self.wrong), dtype=np.int64))
        rows = []
        for number, part in enumerate(self.parts):
            figure = interval(seen[number], resampled[:, number])
            said = float(self.p.ravel()[part].mean())
            n = int((self.members[number] > 0).sum())
            rows.append({"said": said, "seen": figure["mean"], "low": figure["low"], "high": figure["high"], "n": n})
        return rows
