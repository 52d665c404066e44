"""The one human answer of a pair by counting votes: each alike, by strength, or by how far a person can be trusted.

Pure. A label by counting can be checked by hand; `annotation.aggregating.inferring` models the people instead.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special

from annotation.agreeing.counting import count_by_pair
from annotation.models import Choice

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

CONSENSUS_COLUMNS = ("choice", "n_votes", "agreement", "prob_a", "strength")
# What a vote may decide for; "cannot judge" says nothing about the pair.
DECIDING = (Choice.A.value, Choice.B.value, Choice.TIE.value, Choice.BOTH_BAD.value)
# What a vote weighs that does not say how strong it is, "neither" among them: the middle of 1 to 3.
MIDDLE_STRENGTH = 2.0
# Weights are sums of fractions; what differs by less is a shared first place.
EVEN = 1e-9


def consensus(votes: pd.DataFrame) -> pd.DataFrame:
    """Return one human answer a pair from a frame of votes (`pair_id`, `choice`, `strength` are read).

    The index is `pair_id`, sorted; pairs on which everybody answered "unsure" are not in it. Columns:

    - `choice`: the answer with strictly most votes among a, b, tie and both_bad; '' where the first place is shared.
    - `n_votes`: votes that decide, "unsure" left out.
    - `agreement`: share of the votes for `choice`; where it is empty, for one of those that share the first place.
    - `prob_a`: `(n_a + n_tie / 2 + n_both_bad / 2) / n_votes`, the chance that a random vote prefers a, an undecided
      vote counting half for each side.
    - `strength`: mean strength (1 to 3) of the votes for `choice`; NaN without one.
    """
    counts = vote_counts(votes)
    return _won_by(votes, counts, counts)


def weighted_consensus(votes: pd.DataFrame, weights: "pd.Series[float]") -> pd.DataFrame:
    """Return one human answer a pair as `consensus` does, where a vote counts its weight (aligned with `votes`).

    `n_votes` and `agreement` still count people: the share of them who gave the answer that won.
    """
    counts = vote_counts(votes)
    return _won_by(votes, counts, vote_counts(votes, weights).reindex(counts.index))


def vote_counts(votes: pd.DataFrame, weights: "pd.Series[float] | None" = None) -> pd.DataFrame:
    """Return how many votes each pair has for each of a, b, tie and both_bad, or what they weigh; pairs sorted."""
    weighed = None if weights is None else weights.to_numpy(dtype=float)
    return count_by_pair(votes["pair_id"], votes["choice"], DECIDING, weighed)


def strength_weights(votes: pd.DataFrame) -> "pd.Series[float]":
    """Return what each vote weighs by its strength: 1 to 3, and 2 without one."""
    return votes["strength"].fillna(MIDDLE_STRENGTH).astype(float)


def trust_weights(votes: pd.DataFrame, *, smoothing: float = 1.0) -> "pd.Series[float]":
    """Return, by `rater_id`, the share of a person's votes that are the plurality of their pairs.

    The weights of "Wawa" in crowd-kit (worker agreement with aggregate); `smoothing` adds as many votes of an average
    person, so that somebody with one answer is not trusted for it. Contested pairs say nothing and are left out.
    """
    winners = consensus(votes)["choice"]
    deciding = votes[votes["choice"].isin(DECIDING)]
    theirs = deciding["pair_id"].map(winners)
    known = deciding[theirs != ""]
    hits = (known["choice"] == theirs[theirs != ""]).astype(float).groupby(known["rater_id"])
    n, right = hits.size(), hits.sum()
    average = right.sum() / n.sum() if n.sum() else 0.0
    weights: pd.Series[float] = (right + smoothing * average) / (n + smoothing)
    return weights.reindex(sorted(deciding["rater_id"].unique()), fill_value=average)


def p_plurality(n_choice: "ArrayLike", n_votes: "ArrayLike") -> Any:
    """Return P(more than half of all raters would give this answer), seen `n_choice` of `n_votes` giving it.

    The share of raters has a uniform prior, so this is P(Beta(v + 1, n - v + 1) > 1/2), which for whole votes equals
    P(Binomial(n + 1, 1/2) <= v): 0.75 for one vote of one, 0.94 for three of three, 0.69 for two of three.
    """
    v, n = np.asarray(n_choice, dtype=float), np.asarray(n_votes, dtype=float)
    return special.betainc(n - v + 1.0, v + 1.0, 0.5)


def _won_by(votes: pd.DataFrame, counts: pd.DataFrame, weighed: pd.DataFrame) -> pd.DataFrame:
    """Return the consensus of counted votes whose winner the weighed ones name."""
    if counts.empty:
        return _empty_consensus()
    total, all_weight = counts.sum(axis=1), weighed.sum(axis=1)
    shared = weighed.ge(weighed.max(axis=1) - EVEN, axis=0).sum(axis=1) > 1
    choice = weighed.idxmax(axis=1).mask(shared, "")
    result = pd.DataFrame(
        {
            "choice": choice.astype(object),
            "n_votes": total.astype(int),
            "agreement": votes_for(counts, weighed.idxmax(axis=1)) / total,
            "prob_a": (weighed["a"] + 0.5 * weighed["tie"] + 0.5 * weighed["both_bad"]) / all_weight,
            "strength": mean_strength(votes, choice),
        },
        columns=list(CONSENSUS_COLUMNS),
    )
    return result.rename_axis(columns=None)


def votes_for(counts: pd.DataFrame, choice: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return how many votes each pair has for one of the choices, named a pair."""
    places = counts.columns.get_indexer(pd.Index(choice))
    return pd.Series(counts.to_numpy()[np.arange(len(counts)), places], index=counts.index)


def mean_strength(votes: pd.DataFrame, choice: "pd.Series[Any]") -> "pd.Series[float]":
    """Return the mean strength of the votes for each pair's choice; NaN without one."""
    for_winner = votes[votes["choice"].isin(DECIDING) & (votes["choice"] == votes["pair_id"].map(choice))]
    return for_winner.groupby("pair_id")["strength"].mean().reindex(choice.index).astype(float)


def _empty_consensus() -> pd.DataFrame:
    kinds = {"choice": object, "n_votes": int, "agreement": float, "prob_a": float, "strength": float}
    columns = {name: pd.Series(dtype=kind) for name, kind in kinds.items()}
    return pd.DataFrame(columns, index=pd.Index([], name="pair_id", dtype=object))
