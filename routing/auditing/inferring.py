"""What a share is, from answers that were drawn with known odds. Arrays in, figures out.

A plan is a draw with known odds, and re-planning is a draw after another. Each draw gives every pair a term whose mean
over draws is the truth of that pair; terms of several draws are averaged, and sums of terms divided by sums of terms.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from routing.predicting.scoring import Bools, Floats, Strings

# Fewer answers do not tell how P(right) is to be corrected.
ANSWERS_TO_FIT = 30
# What a perfectly known P(right) is taken to be uncertain by, when draws are weighted against each other.
LEAST_VARIANCE = 0.01


class Drawn(NamedTuple):
    """One draw over n pairs, seen afterwards; every field is (n,).

    `pool` are the pairs it drew from, with `odds` to be counted (above 0) and `expected`, P(right) as it was believed
    before. `counted` are those drawn whose answer is used. `exact` are pairs outside the pool whose answer was due
    before: they count for what they are.
    """

    pool: Bools
    counted: Bools
    exact: Bools
    odds: Floats
    expected: Floats


class Terms(NamedTuple):
    """Each pair's part of "settled and right" and of "settled" (people agree on an answer); `covered` by some draw."""

    right: Floats
    settled: Floats
    covered: Bools


class Estimate(NamedTuple):
    """A share with its 95 % interval, from `n` answered pairs; without a value, `note` says what is missing."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    note: str = ""


def join_draws(draws: Sequence[Drawn], right: Floats, settled: Bools) -> Terms:
    """Return each pair's terms from one draw or several, one after another.

    `right` (n,) is 1, 0 or NaN and `settled` (n,) says whether people agree on an answer; both are read only where a
    draw counts a pair or knows it exactly. In one draw the term is augmented by its inverse odds (Robins, Rotnitzky &
    Zhao 1994): f + (y - f) / odds where counted, f where not, with f fitted to the answers (`_expectations`). What was
    drawn later depends on earlier answers, but given those each draw's terms are without bias, so their errors do not
    correlate, and draws are weighted by the inverse of the variance their odds announce.
    """
    n = len(right)
    y, k = np.where(settled, np.nan_to_num(right), 0.0), settled.astype(float)
    sums, weights = np.zeros((2, n)), np.zeros(n)
    for draw in draws:
        factor = np.where(draw.counted, 1 / np.where(draw.counted, draw.odds, 1.0), 0.0)
        share = float(factor @ k / factor.sum()) if draw.counted.any() else 1.0
        guess = share * _expectations(draw, y, settled)
        seen = draw.pool | draw.exact
        of_right = np.where(draw.pool, guess + factor * (y - guess), y)
        of_settled = np.where(draw.pool, share + factor * (k - share), k)
        believed = np.clip(draw.expected, 0.0, 1.0)
        spread = np.maximum(believed * (1 - believed), LEAST_VARIANCE) * (1 / np.maximum(draw.odds, 1e-9) - 1)
        weight = 1 / max(float(spread[draw.pool].sum()), LEAST_VARIANCE)
        sums += weight * np.where(seen, np.vstack([of_right, of_settled]), 0.0)
        weights += weight * seen
    covered = weights > 0
    terms = sums / np.where(covered, weights, 1.0)
    return Terms(terms[0], terms[1], covered)


def _expectations(draw: Drawn, y: Floats, settled: Bools) -> Floats:
    """Return P(right) of every pair as its answers correct it: a + b * expected, b = 1 on few answers.

    Fitted where it matters: with the weights that make the corrected sum least uncertain, (1 - odds) / odds squared.
    """
    known = draw.counted & settled
    odds = draw.odds[known]
    weights = (1 - odds) / odds**2
    total = float(weights.sum())
    if total <= 0:
        return draw.expected
    x, target = draw.expected[known], y[known]
    centre, mean = float(weights @ x / total), float(weights @ target / total)
    spread = float(weights @ (x - centre) ** 2)
    sure = (weights > 0).sum() >= ANSWERS_TO_FIT and spread > 1e-9 * total
    slope = float(weights @ ((x - centre) * (target - mean))) / spread if sure else 1.0
    return np.asarray(mean + slope * (draw.expected - centre))


def estimate_share(numerator: Floats, denominator: Floats, groups: Strings, *, answered: Bools, n: int) -> Estimate:
    """Return sum(numerator) / sum(denominator) and its 95 % interval.

    The standard error is that of a ratio (linearised), over prompt groups. The interval is Wilson's for as many answers
    as would give that error, by Student's t for the groups with an answer (`answered`): near 0 and 1 it stays inside,
    and a share of 1 seen on ten answers is not certain.
    """
    from scipy.stats import t

    whole = float(denominator.sum())
    names, inverse = np.unique(groups.astype(str), return_inverse=True)
    heard = len(np.unique(inverse[answered]))
    if heard < 2:
        return Estimate(None, None, None, n, f"too few labels (answers in {heard} of 2 prompt groups)")
    if whole <= 0:
        return Estimate(None, None, None, n, "too few labels (people's answers settle none of these pairs)")
    value = float(numerator.sum()) / whole
    of_groups = np.bincount(inverse, weights=numerator - value * denominator, minlength=len(names))
    error = float(np.sqrt(len(names) / (len(names) - 1) * (of_groups**2).sum())) / whole
    value = min(1.0, max(0.0, value))
    variance = value * (1 - value)
    worth = variance / error**2 if error > 0 and variance > 0 else float(heard)
    low, high = wilson(value, worth, float(t.ppf(0.975, heard - 1)))
    return Estimate(value, low, high, n)


def wilson(share: float, n: float, quantile: float) -> tuple[float, float]:
    """Return Wilson's interval of a share seen on n answers."""
    centre = (share + quantile**2 / (2 * n)) / (1 + quantile**2 / n)
    half = quantile / (1 + quantile**2 / n) * float(np.sqrt(share * (1 - share) / n + quantile**2 / (4 * n**2)))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def estimate_accuracy(
    expected: Floats, right: Floats, answered: Bools, odds: Floats, groups: Strings | None = None
) -> tuple[float, float, float]:
    """Return the share of n pairs on which a judge is right and its 95 % interval, from one draw's answers.

    `expected` is P(right) of every pair, `odds` those of being answered; `right` is read only where `answered`. Pairs
    without a prompt group of their own depend on each other: give the `groups`. The caller saw to it that pairs of at
    least two groups are answered.
    """
    n = len(expected)
    everything = np.ones(n, dtype=bool)
    terms = join_draws([Drawn(everything, answered, ~everything, odds, expected)], right, everything)
    of = np.arange(n).astype(object) if groups is None else groups
    found = estimate_share(terms.right, terms.settled, of, answered=answered, n=int(answered.sum()))
    if found.value is None or found.low is None or found.high is None:
        raise ValueError(found.note)
    return found.value, found.low, found.high
