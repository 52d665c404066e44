"""Repeats: how often a judge that is asked the same again, in the same order, says the same. Flips below are noise."""

from collections.abc import Mapping

import pandas as pd

from annotation.agreeing import LEAST_LABELS, Figure
from judges.auditing.figures import mean_of, share_of
from judges.reading import PRIOR

SAMPLED = "verdicts of several samples"
REPEATED = "verdicts that another version with the same prompt repeats"


def sample_stability(calls: pd.DataFrame, seed: int) -> Figure:
    """Return how often two samples of one call's answer agree, from `samples`, `distribution` and `prob_from`.

    Of k samples of which k_c said c, two drawn at random agree with probability sum_c k_c (k_c - 1) / (k (k - 1)).
    """
    sampled = calls[(calls["samples"] > 1) & (calls["prob_from"] == "samples")]
    agreeing = [
        _agreeing(distribution, samples, rating=order in {"a", "b"})
        for distribution, samples, order in zip(
            sampled["distribution"], sampled["samples"], sampled["order"], strict=True
        )
    ]
    values = pd.Series(agreeing, index=sampled.index, dtype=float)
    return mean_of(values, sampled["group"], seed, at_least=LEAST_LABELS, what=SAMPLED)


def repeat_stability(calls: pd.DataFrame, repeats: pd.DataFrame, seed: int) -> Figure:
    """Return the share of verdicts with the same side as another version's on the same pair in the same order.

    `repeats` are the verdicts of versions that were asked with the same prompt, of the same model.
    """
    joined = calls.merge(repeats[["pair_id", "order", "side"]], on=["pair_id", "order"], suffixes=("", "_again"))
    known = joined[joined["side"].notna() & joined["side_again"].notna()]
    return share_of(known["side"] == known["side_again"], known, seed, REPEATED)


def _agreeing(distribution: Mapping[str, float], samples: int, *, rating: bool) -> float:
    """Return the chance that two of the samples agree; the prior that a choice's shares hold is taken out first."""
    offered = [share for share in distribution.values() if share > 0.0]
    prior = 0.0 if rating else PRIOR
    counts = [round(share * (samples + prior * len(offered)) - prior) for share in offered]
    total = sum(counts)
    return sum(k * (k - 1) for k in counts) / (total * (total - 1)) if total > 1 else float("nan")
