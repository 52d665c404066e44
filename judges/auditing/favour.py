"""What a judge favours beyond people: longer responses, and responses of its own maker's models."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing import LEAST_GROUPS, LEAST_LABELS, Figure, Interval, Z, too_few
from judges.auditing.figures import half_for_ties, mean_of, share_of
from judges.auditing.reading import Ground

if TYPE_CHECKING:
    from numpy.typing import NDArray

ITERATIONS = 50
CONVERGED = 1e-10
ONE_LENGTH = "preferences for one of two lengths"
TWO_LENGTHS = "preferences between two lengths that people judged too"
OWN_AND_OTHER = "preferences between a response of its own family and another"


class LengthCoefficients(NamedTuple):
    """phi of P(a) = logistic(phi tanh((length_a - length_b) / spread)): 0 is no pull. `people` on the same pairs."""

    spread: float | None
    judge: Figure
    people: Figure


class SelfPreference(NamedTuple):
    """How a judge treats its own family; win rates count a tie half.

    `own_family_share` is the share of its pairs with exactly one response of its family against a known other one,
    `win_rate` its own family's in the judge over all of them, `people_win_rate` in people's votes and `gain` (DBG, the
    judge's less people's) over those that people judged too.
    """

    family: str
    own_family_share: Figure
    win_rate: Figure
    people_win_rate: Figure
    gain: Figure


def longer_preferred(labels: pd.DataFrame, seed: int) -> Figure:
    """Return the share for the longer response among decisive preferences between different lengths."""
    decided = labels[labels["side"].isin(["a", "b"]) & labels["longer"].isin(["a", "b"])]
    return share_of(decided["side"] == decided["longer"], decided, seed, ONE_LENGTH)


def longer_gain(labels: pd.DataFrame, ground: Ground) -> Figure:
    """Return the longer responses' win rate in the judge less that in people on the same pairs, ties half."""
    known = labels[labels["longer"].isin(["a", "b"])]
    return _gain(known, known["longer"], ground, TWO_LENGTHS)


def length_coefficients(labels: pd.DataFrame, ground: Ground) -> LengthCoefficients:
    """Return how strongly length moves the judge, and people, in one scale: that of all pairs of the project."""
    difference = ground.pairs["length_a"] - ground.pairs["length_b"]
    spread = float(np.sqrt((difference**2).mean())) if len(difference) else 0.0
    if not spread:
        missing = too_few(0, LEAST_LABELS, ONE_LENGTH)
        return LengthCoefficients(None, missing, missing)
    pull = pd.Series(np.tanh(labels["pair_id"].map(difference).astype(float) / spread), index=labels.index)
    for_a = half_for_ties(labels["side"], pd.Series("a", index=labels.index))
    people = labels["pair_id"].map(ground.people["prob_a"]).astype(float)
    return LengthCoefficients(
        spread, _coefficient(for_a, pull, labels["group"]), _coefficient(people, pull, labels["group"])
    )


def self_preference(labels: pd.DataFrame, family: str, ground: Ground) -> SelfPreference:
    """Return how a judge of a family treats answers of that family, beside people on the same pairs."""
    if not family:
        missing = Figure(None, 0, too_few="the family of its model is not known")
        return SelfPreference("", missing, missing, missing, missing)
    families = ground.pairs[["family_a", "family_b"]].reindex(labels["pair_id"])
    of_a, of_b = (pd.Series(families[name].to_numpy(), index=labels.index) for name in families)
    own: pd.Series[Any] = pd.Series(None, index=labels.index, dtype=object)
    own[(of_a == family) & (of_b != family) & (of_b != "")] = "a"
    own[(of_b == family) & (of_a != family) & (of_a != "")] = "b"
    rows = labels[own.notna()]
    wanted = own[own.notna()]
    judged = rows[rows["pair_id"].isin(ground.people.index) & rows["side"].notna()]
    return SelfPreference(
        family=family,
        own_family_share=share_of(own.notna(), labels, ground.seed, "preferences"),
        win_rate=mean_of(half_for_ties(rows["side"], wanted), rows["group"], ground.seed, what=OWN_AND_OTHER),
        people_win_rate=mean_of(
            _people_for(judged, wanted[judged.index], ground), judged["group"], ground.seed, what=OWN_AND_OTHER
        ),
        gain=_gain(rows, wanted, ground, OWN_AND_OTHER),
    )


def _gain(rows: pd.DataFrame, wanted: "pd.Series[Any]", ground: Ground, what: str) -> Figure:
    difference = half_for_ties(rows["side"], wanted) - _people_for(rows, wanted, ground)
    return mean_of(difference, rows["group"], ground.seed, what=what)


def _people_for(rows: pd.DataFrame, wanted: "pd.Series[Any]", ground: Ground) -> "pd.Series[float]":
    """Return people's vote share for the wanted side, NaN where nobody judged."""
    for_a = rows["pair_id"].map(ground.people["prob_a"]).astype(float)
    return for_a.where(wanted == "a", 1.0 - for_a)


def _coefficient(target: "pd.Series[float]", pull: "pd.Series[float]", groups: "pd.Series[Any]") -> Figure:
    """Return phi with a cluster-robust interval; `target` is 1 for a, 0 for b, and may lie between."""
    known = target.notna() & pull.notna() & (pull != 0.0)
    n = int(known.sum())
    codes = pd.factorize(groups[known])[0]
    if n < LEAST_LABELS or len(set(codes)) < LEAST_GROUPS:
        return too_few(n, LEAST_LABELS, ONE_LENGTH)
    x, y = np.asarray(pull[known], dtype=np.float64), np.asarray(target[known], dtype=np.float64)
    toward = np.where(x > 0, y, 1.0 - y)
    if toward.min() == 1.0 or toward.max() == 0.0:
        side = "longer" if toward.min() == 1.0 else "shorter"
        return Figure(None, n, too_few=f"no finite coefficient: every answer goes to the {side} response")
    phi = _fitted(x, y)
    chance = 1.0 / (1.0 + np.exp(-phi * x))
    information = float((x * x * chance * (1.0 - chance)).sum())
    scores = np.bincount(codes, weights=x * (y - chance))
    # The sandwich with the usual correction for few groups (Liang & Zeger 1986).
    error = float(np.sqrt((scores**2).sum() * len(scores) / (len(scores) - 1))) / information
    return Figure(phi, n, Interval(phi - Z * error, phi + Z * error))


def _fitted(x: "NDArray[np.float64]", y: "NDArray[np.float64]") -> float:
    """Return the maximum of the likelihood by Newton's steps, halved where they overshoot."""

    def loss(phi: float) -> float:
        return float(np.sum(np.logaddexp(0.0, phi * x) - y * phi * x))

    phi, now = 0.0, loss(0.0)
    for _ in range(ITERATIONS):
        chance = 1.0 / (1.0 + np.exp(-phi * x))
        step = float((x * (y - chance)).sum() / max((x * x * chance * (1.0 - chance)).sum(), CONVERGED))
        while (then := loss(phi + step)) > now and abs(step) > CONVERGED:
            step /= 2.0
        phi, now = phi + step, then
        if abs(step) <= CONVERGED:
            break
    return phi
