"""When a difference between then and now is more than chance. Arrays and frames in, named results out."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing import wilson
from routing.predicting.scoring import Bools, Floats, Strings, auroc, fit_logistic, grouped_folds

ANSWERS_NEEDED = 30
# Odds of an error twice (or half) as high as predicted are what the running sum looks for.
ODDS_RATIO = 2.0
# Where the sum passes log(100), chance alone gets there in at most 1 % of checks, in either direction.
SCORE_LIMIT = math.log(100)
# Older answers say little about now, and a small error of the fit would add up over thousands of them.
ANSWERS_REMEMBERED = 400
Z_LIMIT = 2.33
ANSWERS_A_POINT = 20
MOST_POINTS = 12

PAIRS_NEEDED = 50
BINS = 10
PSI_LIMIT = 0.1
FALSE_DISCOVERY = 0.01
# What a small model reads to tell old pairs from new: more would only cost time.
PAIRS_TOLD_APART = 4000
FOLDS = 5
RIDGE = 1.0


class Point(NamedTuple):
    """Audited answers in the order in which they came: the last one's number, what was predicted and what was seen."""

    last: int
    n: int
    expected: float
    observed: float
    low: float
    high: float


class Calibration(NamedTuple):
    """How often the judge was wrong in audited answers, against what was predicted before anybody answered.

    `expected` and `observed` are means over all `n`, `low` and `high` the 95 % interval of `observed`, `z` their
    difference in standard errors. `score` is the running sum that `SCORE_LIMIT` bounds; it is highest over the last
    `stretch` answers, of which `stretch_observed` were wrong where `stretch_expected` was predicted and `stretch_z` is
    the difference. `note` says what is missing where there are too few answers; nothing else then means anything.
    """

    n: int
    expected: float = 0.0
    observed: float = 0.0
    low: float = 0.0
    high: float = 0.0
    z: float = 0.0
    score: float = 0.0
    stretch: int = 0
    stretch_expected: float = 0.0
    stretch_observed: float = 0.0
    stretch_z: float = 0.0
    points: tuple[Point, ...] = ()
    note: str = ""

    @property
    def alarm(self) -> bool:
        """Say whether judge and prediction part by more than chance and the fit's own error explain."""
        return not self.note and self.score > SCORE_LIMIT and abs(self.stretch_z) > Z_LIMIT

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {**self._asdict(), "points": [point._asdict() for point in self.points], "alarm": self.alarm}


class Moved(NamedTuple):
    """How far one quantity moved: its mean before and since, and two measures of how the spread of values changed.

    `psi` is the population stability index over tenths of the values before (0.1 is some, 0.25 much); `ks` the largest
    distance between the cumulative shares; `p` how often chance alone does that, raised for the number of quantities
    that were looked at (Benjamini & Hochberg 1995). Unknown values are a tenth of their own; the means leave them out.
    """

    name: str
    before: float | None
    since: float | None
    psi: float
    ks: float
    p: float

    @property
    def moved(self) -> bool:
        """Say whether the move is large enough to matter and too large for chance."""
        return self.psi >= PSI_LIMIT and self.p < FALSE_DISCOVERY

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {**self._asdict(), "moved": self.moved}


def compare_answers(p_wrong: Floats, wrong: Bools, groups: Strings, *, labels: int) -> Calibration:
    """Compare predictions (n,) with what audited answers (n,) said, oldest first.

    A cumulative sum (CUSUM) of log likelihood ratios for odds `ODDS_RATIO` times as high, and one for as much lower
    (Steiner et al. 2000): log(R) * wrong - log(1 - p + R * p). Under the predictions the ratio of any stretch that
    ends now has mean 1, so the largest exceeds 100 in at most 1 % of checks (Ville's inequality), whatever p is. That
    takes p for exact; the fit learned its mean from `labels` pairs, so the stretch's difference must also pass
    `Z_LIMIT` standard errors with the error of that mean counted in, and with pairs of one prompt group as they are.
    """
    n = len(wrong)
    if n < ANSWERS_NEEDED:
        return Calibration(n, note=f"too few labels ({n} of {ANSWERS_NEEDED} audited answers)")
    p = np.clip(p_wrong, 1e-4, 1 - 1e-4)
    recent = slice(-ANSWERS_REMEMBERED, None)
    sums = {
        ratio: np.cumsum(_log_ratios(p[recent], wrong[recent], ratio)[::-1]) for ratio in (ODDS_RATIO, 1 / ODDS_RATIO)
    }
    highest = max(sums.values(), key=lambda steps: float(steps.max()))
    stretch = int(np.argmax(highest)) + 1 if highest.max() > 0 else n
    low, high = wilson(float(wrong.sum()), n)
    return Calibration(
        n=n,
        expected=float(p.mean()),
        observed=float(wrong.mean()),
        low=low,
        high=high,
        z=_z(p, wrong, groups, labels),
        score=max(0.0, float(highest.max())),
        stretch=stretch,
        stretch_expected=float(p[-stretch:].mean()),
        stretch_observed=float(wrong[-stretch:].mean()),
        stretch_z=_z(p[-stretch:], wrong[-stretch:], groups[-stretch:], labels),
        points=tuple(_points(p, wrong)),
    )


def _log_ratios(p: Floats, wrong: Bools, ratio: float) -> Floats:
    return np.asarray(np.log(ratio) * wrong - np.log(1 - p + ratio * p))


def _z(p: Floats, wrong: Bools, groups: Strings, labels: int) -> float:
    """Return observed less predicted errors in standard errors: of the answers, by prompt group, and of the fit."""
    rest = wrong - p
    by_group = np.bincount(np.unique(groups.astype(str), return_inverse=True)[1], weights=rest)
    sampling = max(float((p * (1 - p)).sum()), float((by_group**2).sum()))
    mean = float(p.mean())
    fitting = len(p) ** 2 * mean * (1 - mean) / max(labels, 1)
    return float(rest.sum() / math.sqrt(sampling + fitting))


def _points(p: Floats, wrong: Bools) -> list[Point]:
    n = len(p)
    parts = np.array_split(np.arange(n), min(MOST_POINTS, max(1, n // ANSWERS_A_POINT)))
    points = []
    for rows in parts:
        low, high = wilson(float(wrong[rows].sum()), len(rows))
        seen = float(wrong[rows].mean())
        points.append(Point(int(rows[-1]) + 1, len(rows), float(p[rows].mean()), seen, low, high))
    return points


def compare_frames(before: pd.DataFrame, since: pd.DataFrame, groups: tuple[Strings, Strings]) -> list[Moved]:
    """Return how each column moved, the largest index first. `groups` are the prompt groups of both frames' rows.

    Kolmogorov-Smirnov with as many cases as there are prompt groups, since the pairs of one prompt share much: too
    cautious rather than too quick. Columns that are constant in both frames are left out.
    """
    from scipy.special import kolmogorov

    cases = [len(set(of)) for of in groups]
    scale = math.sqrt(cases[0] * cases[1] / max(1, sum(cases)))
    rows = []
    for name in before.columns:
        old, new = (frame[name].to_numpy(dtype=float) for frame in (before, since))
        if len(np.unique(np.concatenate([old, new]))) < 2:
            continue
        distance = _largest_distance(old, new)
        rows.append(
            (str(name), _mean(old), _mean(new), _stability(old, new), distance, float(kolmogorov(scale * distance)))
        )
    adjusted = _adjusted([row[-1] for row in rows])
    moved = [Moved(*row[:-1], p) for row, p in zip(rows, adjusted, strict=True)]
    return sorted(moved, key=lambda one: (-one.psi, one.name))


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _filled(values: Floats, least: float) -> Floats:
    """Return the values with the unknown ones below all others."""
    return np.where(np.isnan(values), least - 1.0, values)


def _least(old: Floats, new: Floats) -> float:
    known = np.concatenate([old, new])
    return float(np.nanmin(known)) if not np.isnan(known).all() else 0.0


def _largest_distance(old: Floats, new: Floats) -> float:
    least = _least(old, new)
    old, new = np.sort(_filled(old, least)), np.sort(_filled(new, least))
    at = np.concatenate([old, new])
    shares = [np.searchsorted(values, at, side="right") / len(values) for values in (old, new)]
    return float(np.abs(shares[0] - shares[1]).max())


def _stability(old: Floats, new: Floats) -> float:
    """Return the population stability index; half a pair is added to each bin, so that an empty one is not infinite."""
    known = old[~np.isnan(old)]
    # Values that stand for a tenth or more of the pairs are edges twice; a bin then holds that value alone.
    inner = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:])) if len(known) else np.array([0.0])
    shares = []
    for values in (old, new):
        unknown = np.isnan(values)
        known_counts = np.bincount(np.searchsorted(inner, values[~unknown], side="left"), minlength=len(inner) + 1)
        counts = np.append(known_counts, unknown.sum()) + 0.5
        shares.append(counts / counts.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def _adjusted(p_values: Sequence[float]) -> list[float]:
    """Return p-values raised for their number: rejecting those below q keeps false discoveries below q."""
    n = len(p_values)
    order = np.argsort(p_values, kind="stable")[::-1]
    least, adjusted = 1.0, [1.0] * n
    for place, row in enumerate(order):
        least = min(least, p_values[row] * n / (n - place))
        adjusted[row] = float(least)
    return adjusted


def tell_apart(before: pd.DataFrame, since: pd.DataFrame, groups: tuple[Strings, Strings], seed: int) -> float:
    """Return how well a small model tells new pairs from old ones (AUROC on held-out groups; 0.5 is not at all)."""
    frame = pd.concat([before, since], ignore_index=True)
    new = np.repeat([False, True], [len(before), len(since)])
    names = np.concatenate(groups)
    rng = np.random.default_rng(seed)
    if len(frame) > PAIRS_TOLD_APART:
        # As many of both, so that a handful of new pairs is not lost among the old ones.
        half = PAIRS_TOLD_APART // 2
        kept = [rng.permutation(np.flatnonzero(mask))[:half] for mask in (~new, new)]
        rows = np.sort(np.concatenate(kept))
        frame, new, names = frame.iloc[rows], new[rows], names[rows]
    ranks = (frame.rank(pct=True) - 0.5).fillna(0.0).to_numpy(dtype=float)
    unknown = frame.isna().to_numpy(dtype=float)
    x = np.column_stack([ranks, unknown, np.ones(len(frame))])
    penalty = np.append(np.full(x.shape[1] - 1, RIDGE), 0.0)
    scores = np.zeros(len(frame))
    for held in grouped_folds(names, FOLDS, rng):
        if held.all():
            return 0.5
        weights = np.ones(int((~held).sum()))
        scores[held] = x[held] @ fit_logistic(x[~held], new[~held].astype(float), weights, penalty)
    return auroc(scores, new)
