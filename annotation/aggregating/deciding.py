"""One human answer a pair, by the method its project chose.

Pure but for `annotation.models.Method`: frames in, a frame out. What a method has to learn of the people first is a
`Learned`, which can be kept.
"""

from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from annotation.aggregating.comparing import Comparers, infer_comparers, preferences_of
from annotation.aggregating.inferring import Crowd, Shape, infer_crowd, truths_of
from annotation.aggregating.voting import (
    CONSENSUS_COLUMNS,
    DECIDING,
    EVEN,
    consensus,
    mean_strength,
    p_plurality,
    strength_weights,
    trust_weights,
    vote_counts,
    votes_for,
    weighted_consensus,
)
from annotation.models import Method

DECIDED_COLUMNS = (*CONSENSUS_COLUMNS, "p_correct", "is_contested", "suspected_flip")
COUNTED = (Method.PLURALITY, Method.STRENGTH)
MODELLED = (Method.DAWID_SKENE, Method.ONE_COIN, Method.MACE)
# What an optimiser ends on differs in later digits by what else was on its table; a label must not.
DIGITS = 6
# An answer that is less likely than all others together is none.
LEAST_SURE = 0.5


class Learned(NamedTuple):
    """What a method has learned of the people, as JSON values; empty where it needs nothing or nobody has answered."""

    method: Method
    parameters: dict[str, Any]


def needs_contenders(method: Method) -> bool:
    """Say whether a method compares responses across the pairs of a prompt."""
    return method == Method.BRADLEY_TERRY


def learn(method: Method, votes: pd.DataFrame, contenders: pd.DataFrame | None = None) -> Learned:
    """Return what a method learns from all votes of a project; noisy Bradley-Terry reads `contenders` too."""
    found: Crowd | Comparers | None = None
    if method == Method.WEIGHTED:
        return Learned(method, {"weights": trust_weights(votes).to_dict()})
    if method in MODELLED:
        found = infer_crowd(votes, cast(Shape, method.value))
    elif needs_contenders(method) and contenders is not None:
        found = infer_comparers(votes, contenders)
    return Learned(method, found.as_json() if found else {})


def decide(votes: pd.DataFrame, learned: Learned, contenders: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one human answer a pair. The index is `pair_id`, sorted; pairs that nobody decided are not in it.

    The columns of `consensus`, where `choice` is '' if no answer is likelier than not (a method that models people) or
    the first place is shared (a method that counts), `agreement` is always the share of people who gave the answer and
    `prob_a` the chance that a is preferred, "neither" counting half: the share of votes, of weights, or the model's.
    And:

    - `p_correct`: the chance that the answer is right. By counting: that more than half of all raters would give it.
    - `is_contested`: no answer has strictly most votes, whatever the method made of it.
    - `suspected_flip`: the answer is not the one that most people gave, or that one is likelier wrong than right.
    """
    method = learned.method
    plain = consensus(votes)
    if plain.empty:
        return _empty_decided(plain)
    if not learned.parameters or method in COUNTED:
        found = weighted_consensus(votes, strength_weights(votes)) if method == Method.STRENGTH else plain
        found = found.assign(p_correct=_by_counting(found, votes, method))
    elif method == Method.WEIGHTED:
        weights = pd.Series(learned.parameters["weights"], dtype=float)
        of_votes = votes["rater_id"].map(weights).fillna(weights.mean() if len(weights) else 1.0)
        # Somebody who never agreed with anybody still counts a little, or their pairs would have no answer.
        of_votes = of_votes.clip(lower=1e-3)
        found = weighted_consensus(votes, of_votes)
        found = found.assign(p_correct=_by_counting(found, votes, method, of_votes))
    elif method in MODELLED:
        found = _by_model(votes, truths_of(votes, Crowd.from_json(learned.parameters)), plain)
    elif contenders is None:
        raise ValueError(f"{method.value} compares responses across pairs: it needs what the pairs compare")
    else:
        found = _by_comparing(votes, contenders, Comparers.from_json(learned.parameters), plain)
    return _marked(found, plain)


def _by_counting(
    found: pd.DataFrame, votes: pd.DataFrame, method: Method, weights: "pd.Series[float] | None" = None
) -> "pd.Series[float]":
    """Return P(most raters would give the answer), with the votes for it in the measure of the method's weights."""
    if method == Method.STRENGTH:
        weights = strength_weights(votes)
    weighed = vote_counts(votes) if weights is None else vote_counts(votes, weights)
    weighed = weighed.reindex(found.index)
    n = found["n_votes"].to_numpy(dtype=float)
    won = np.minimum((weighed.max(axis=1) / weighed.sum(axis=1)).to_numpy(dtype=float) * n, n)
    return pd.Series(p_plurality(won, n), index=found.index, dtype=float).where(found["choice"] != "")


def _by_model(votes: pd.DataFrame, truths: pd.DataFrame, plain: pd.DataFrame) -> pd.DataFrame:
    truths = truths.reindex(plain.index).fillna(1.0 / len(DECIDING))
    best = truths.idxmax(axis=1)
    sure = truths.max(axis=1)
    prob_a = truths["a"] + 0.5 * truths["tie"] + 0.5 * truths["both_bad"]
    return _answered(votes, best.where(sure > LEAST_SURE + EVEN, ""), best, sure, prob_a)


def _by_comparing(
    votes: pd.DataFrame, contenders: pd.DataFrame, comparers: Comparers, plain: pd.DataFrame
) -> pd.DataFrame:
    found = preferences_of(votes, contenders, comparers).reindex(plain.index)
    sides = found[["p_a", "p_b", "p_tie"]].set_axis(["a", "b", "tie"], axis=1)
    sure = sides.max(axis=1)
    counts = vote_counts(votes)
    # The model knows one "neither"; which of the two it was, the votes say.
    said = np.where(counts["both_bad"] > counts["tie"], "both_bad", "tie").astype(object)
    neither: pd.Series[Any] = pd.Series(said, index=counts.index)
    side = sides.idxmax(axis=1)
    best = side.where(side != "tie", neither.reindex(plain.index))
    return _answered(votes, best.where(sure > LEAST_SURE + EVEN, ""), best, sure, found["a"] + 0.5 * found["tie"])


def _answered(
    votes: pd.DataFrame,
    choice: "pd.Series[Any]",
    best: "pd.Series[Any]",
    sure: "pd.Series[float]",
    prob_a: "pd.Series[float]",
) -> pd.DataFrame:
    counts = vote_counts(votes).reindex(choice.index)
    total = counts.sum(axis=1)
    return pd.DataFrame(
        {
            "choice": choice.astype(object),
            "n_votes": total.astype(int),
            "agreement": votes_for(counts, best) / total,
            "prob_a": prob_a.clip(0.0, 1.0).round(DIGITS),
            "strength": mean_strength(votes, choice),
            "p_correct": sure.clip(0.0, 1.0).round(DIGITS).where(choice != ""),
        }
    )


def _marked(found: pd.DataFrame, plain: pd.DataFrame) -> pd.DataFrame:
    won = plain["choice"].reindex(found.index)
    decided = (found["choice"] != "") & (won != "")
    doubtful = (won != found["choice"]) | (found["p_correct"] < LEAST_SURE)
    return found.assign(is_contested=won == "", suspected_flip=decided & doubtful)[list(DECIDED_COLUMNS)]


def _empty_decided(plain: pd.DataFrame) -> pd.DataFrame:
    return plain.assign(
        p_correct=pd.Series(dtype=float), is_contested=pd.Series(dtype=bool), suspected_flip=pd.Series(dtype=bool)
    )
