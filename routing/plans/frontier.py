"""What each budget is expected to buy: agreement of labels with people, for the router, chance and the best signal."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from routing.models import Plan
from routing.plans.arranging import Ranking
from routing.plans.costing import MICROS_PER_USD
from routing.predicting.scoring import (
    Bools,
    Floats,
    Strings,
    auroc,
    fit_logistic,
    fit_platt,
    grouped_folds,
    logit,
    sigmoid,
)

WAYS = ("router", "random", "best_signal")
STEPS = 20
SAMPLES = 200
BAND = (0.025, 0.975)
FOLDS = 5
NOT_KNOWN = "the plan was drawn before frontiers were kept"


class FrontierRow(NamedTuple):
    """One budget and way of choosing.

    `asked` pairs are a `share` of all and cost `usd` as expected; `agreement` is the expected share of labels equal to
    people's consensus, with its 95 % band.
    """

    asked: int
    share: float
    usd: float
    way: str
    agreement: float
    low: float
    high: float


class StopHere(NamedTuple):
    """The budget after which the next dollar buys nothing, and why in words."""

    asked: int
    share: float
    usd: float
    agreement: float
    why: str


class Frontier(NamedTuple):
    """Budget against agreement. Without a calibrated predictor there are no rows, and `note` says why.

    `signal` is the best single signal. `stop_here` is None only where there are no rows.
    """

    rows: list[FrontierRow]
    stop_here: StopHere | None
    signal: str
    note: str

    def to_json(self) -> dict[str, Any]:
        """Return the frontier as JSON values."""
        stop = self.stop_here._asdict() if self.stop_here else None
        return {
            "rows": [row._asdict() for row in self.rows],
            "stop_here": stop,
            "signal": self.signal,
            "note": self.note,
        }


class Learned(NamedTuple):
    """What calibration rests on: the places of labelled rows among all, and for each whether the judge was wrong."""

    rows: npt.NDArray[np.intp]
    wrong: Bools
    groups: Strings
    weights: Floats


class Pool(NamedTuple):
    """The open pairs a budget is spent on, in their order among all rows.

    `rows` are their places among all rows, `ranking` the order in which the router takes them (places in `rows`),
    `counted` marks those whose judge's label may stand, `expected` are micro-dollars. `pairs` is the number of all
    pairs and `settled` that of pairs that are with people already and count as right; `audited` are drawn at random.
    """

    rows: npt.NDArray[np.intp]
    ranking: Ranking
    counted: Bools
    expected: Floats
    pairs: int
    settled: int
    audited: int


def frontier_of(plan: Plan) -> Frontier:
    """Return the frontier that was computed when a plan was drawn. No query."""
    stored = plan.figures.get("frontier")
    if stored is None:
        return Frontier([], None, "", NOT_KNOWN)
    stop = StopHere(**stored["stop_here"]) if stored["stop_here"] else None
    return Frontier([FrontierRow(**row) for row in stored["rows"]], stop, stored["signal"], stored["note"])


class Maps(NamedTuple):
    """Slopes and intercepts of the calibration, from samples of the labelled prompt groups; (samples,)."""

    slopes: Floats
    intercepts: Floats

    def apply(self, p: Floats, sample: int) -> Floats:
        """Return probabilities under one sample's calibration."""
        return sigmoid(self.slopes[sample] * logit(p) + self.intercepts[sample])


def resample_maps(p: Floats, learned: Learned, seed: int, samples: int = SAMPLES) -> Maps:
    """Fit the calibration of held-out probabilities again on samples of prompt groups drawn with replacement.

    `p` is (n,) of all rows; those of `learned` hold the answers of folds that left them out.
    """
    names, inverse = np.unique(learned.groups.astype(str), return_inverse=True)
    rng = np.random.default_rng([seed, 2])
    held_out = p[learned.rows]
    fitted = []
    for _ in range(samples):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))[inverse]
        weights = learned.weights * times
        drawn = times > 0
        fitted.append(fit_platt(held_out[drawn], learned.wrong[drawn], weights[drawn]))
    return Maps(np.array([slope for slope, _ in fitted]), np.array([intercept for _, intercept in fitted]))


def draw_frontier(
    p: Floats,
    maps: Maps,
    pool: Pool,
    learned: Learned,
    signals: pd.DataFrame,
    *,
    people_err: float,
    worth: float,
    seed: int,
) -> Frontier:
    """Return the frontier of calibrated `p` (n,), NaN where the judge has no label.

    An audit slice is part of every budget. The expectation takes the share of the slice that falls inside the router's
    reach for its mean. `people_err` is P(people's own answer is not that of further people), `worth` what a corrected
    label is worth in micro-dollars (infinite where nobody said).
    """
    name, by_signal = best_signal(signals, learned, seed)
    by_signal = np.where(np.isnan(p), np.nan, by_signal)
    signal_maps = resample_maps(by_signal, learned, seed)
    one = by_signal[pool.rows]
    # Known before all others, as flagged pairs are for the router; then by gain for a dollar.
    usable = ~np.isnan(one) & pool.counted
    order = np.argsort(-np.where(usable, one / np.maximum(pool.expected, 1.0), -np.inf), kind="stable")
    signal_pool = pool._replace(ranking=np.concatenate([_forced(pool), order[usable[order]]]))
    asked = np.unique(np.rint(np.linspace(0, len(pool.rows), STEPS + 1)).astype(int))
    curves = {
        "router": _Curve(p, maps, pool, asked),
        "random": _Curve(p, maps, pool._replace(audited=len(pool.rows)), asked),
        "best_signal": _Curve(_to_mean(by_signal, p, pool), signal_maps, signal_pool, asked),
    }
    rows = [
        FrontierRow(int(k), k / pool.pairs, float(curve.usd[at]), way, *(float(end) for end in curve.ends(at)))
        for way, curve in curves.items()
        for at, k in enumerate(asked)
    ]
    return Frontier(rows, stop_here(p, maps, pool, people_err=people_err, worth=worth), name, "")


class _Curve:
    """Expected agreement and money at each number of pairs asked."""

    def __init__(self, p: Floats, maps: Maps, pool: Pool, asked: npt.NDArray[np.int_]) -> None:
        self.mean = agreement_at(p[pool.rows], pool, asked)
        drawn = [agreement_at(maps.apply(p[pool.rows], sample), pool, asked) for sample in range(len(maps.slopes))]
        self.low, self.high = np.quantile(np.array(drawn), BAND, axis=0)
        self.usd = spread_sum(pool.expected, pool, asked) / MICROS_PER_USD

    def ends(self, at: int) -> tuple[float, float, float]:
        """Return mean, low and high; the band is never drawn beside its own line."""
        mean = self.mean[at]
        return mean, min(self.low[at], mean), max(self.high[at], mean)


def agreement_at(p: Floats, pool: Pool, asked: npt.NDArray[np.int_]) -> Floats:
    """Return the expected share of labels equal to people's, over pairs whose judge's label may stand."""
    wrong = np.where(pool.counted, np.nan_to_num(p), 0.0)
    labelled = pool.settled + int(pool.counted.sum())
    return np.asarray(1 - (wrong.sum() - spread_sum(wrong, pool, asked)) / max(1, labelled))


def spread_sum(values: Floats, pool: Pool, asked: npt.NDArray[np.int_]) -> Floats:
    """Return the expected sum of `values` over the pairs asked: those at random, then the ranking down to its reach."""
    n = max(1, len(pool.rows))
    audited = np.minimum(pool.audited, asked)
    share = audited / n
    left = np.maximum(1 - share, 1e-12)
    reach = np.where(share < 1, np.minimum((asked - audited) / left, len(pool.ranking)), 0.0)
    sums = np.concatenate([[0.0], np.cumsum(values[pool.ranking])])
    return np.asarray(share * values.sum() + (1 - share) * np.interp(reach, np.arange(len(sums)), sums))


def stop_here(p: Floats, maps: Maps, pool: Pool, *, people_err: float, worth: float) -> StopHere:
    """Return the budget after which another pair is not worth asking about.

    A pair is worth it where the judge is wrong more often than people's own answer would be, and a corrected label
    costs no more than it is worth.
    """
    wrong = np.where(pool.counted, np.nan_to_num(p[pool.rows]), 0.0)
    doubtful = wrong > people_err
    paying = doubtful & (pool.expected <= worth * wrong) if np.isfinite(worth) else doubtful
    reach = int(paying.sum()) + len(_forced(pool))
    n = len(pool.rows)
    audited = min(pool.audited, n)
    asked = min(n, audited + round(reach * (1 - audited / n))) if n else 0
    at = np.array([asked])
    found = float(spread_sum(pool.expected, pool, at)[0]) / MICROS_PER_USD
    if reach and reach >= len(pool.ranking):
        why = "Every pair on which a judge's label would stand is worth asking people about."
    elif np.isfinite(worth) and (doubtful & ~paying).any():
        why = f"Beyond it, one more corrected label costs more than the ${worth / MICROS_PER_USD:,.2f} it is worth."
    else:
        why = (
            f"Beyond it, the judge is wrong no more often ({people_err:.1%}) than people would contradict their own "
            "answer if asked again: asking corrects nothing."
        )
    return StopHere(asked, asked / pool.pairs, found, float(agreement_at(p[pool.rows], pool, at)[0]), why)


def best_signal(signals: pd.DataFrame, learned: Learned, seed: int) -> tuple[str, Floats]:
    """Return the one signal that tells wrong from right best, and P(wrong) of every row from it alone.

    The signal and its direction are chosen with hindsight, which makes it harder to beat; its probabilities come from
    a logistic fit that left the row's prompt group out.
    """
    values = signals.to_numpy(dtype=float)
    merits = [_merit(values[learned.rows, column], learned) for column in range(values.shape[1])]
    best = int(np.argmax(merits))
    column = values[:, best]
    known = ~np.isnan(column)
    middle, spread = float(np.nanmean(column)), float(np.nanstd(column)) or 1.0
    x = np.column_stack([np.where(known, (column - middle) / spread, 0.0), ~known, np.ones(len(column))])
    penalty = np.array([1.0, 1.0, 0.0])

    def fitted(rows: Bools) -> Floats:
        picked = learned.rows[rows]
        return fit_logistic(x[picked], learned.wrong[rows].astype(float), learned.weights[rows], penalty)

    p = sigmoid(x @ fitted(np.ones(len(learned.rows), dtype=bool)))
    for held_out in grouped_folds(learned.groups, FOLDS, np.random.default_rng([seed, 3])):
        p[learned.rows[held_out]] = sigmoid(x[learned.rows[held_out]] @ fitted(~held_out))
    return str(signals.columns[best]), np.asarray(p)


def _merit(column: Floats, learned: Learned) -> float:
    """Return how far a signal's AUROC lies from a coin's; unknown values stand in the middle."""
    known = ~np.isnan(column)
    if not known.any():
        return 0.0
    filled = np.where(known, column, np.median(column[known]))
    return abs(auroc(filled, learned.wrong, learned.weights) - 0.5)


def _forced(pool: Pool) -> Ranking:
    """Return the rows at the head of the ranking whose judge's label may not stand: they go first whatever chooses."""
    return pool.ranking[~pool.counted[pool.ranking]]


def _to_mean(by_signal: Floats, p: Floats, pool: Pool) -> Floats:
    """Return the signal's probabilities with the pool's mean of `p`, so that all ways start from one agreement."""
    mine, other = p[pool.rows][pool.counted], by_signal[pool.rows][pool.counted]
    mean, found = np.nanmean(mine) if len(mine) else 0.0, np.nanmean(other) if len(other) else 0.0
    return np.clip(by_signal * (mean / found if found > 0 else 1.0), 0.0, 1.0)
