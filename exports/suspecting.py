"""Labels of people that several judges doubt together: Secrets of RLHF II reads noise from an ensemble's margins.

Pure. For a labelled pair, judge m's margin is its P(label) less its P(the other response), from -1 to 1. The mean over
judges is the strength s of the label, their spread its uncertainty u: s below 0 suspects a flip, s near 0 says that the
pair is ambiguous (Wang et al. 2024).
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing import Figure, share, too_few
from annotation.agreeing.figures import plain
from judges.auditing.figures import mean_of

LEAST_JUDGES = 2
# Within this of nought the judges do not know either.
AMBIGUOUS = 0.2
# A list longer than this is looked at by filter, not read.
MOST_LISTED = 20
WHAT = "pairs that people decided and two judges answered"


class Suspects(NamedTuple):
    """What the judges together make of people's labels.

    `strength` is the mean of s, `spread` of u; `suspected` the share of labels with s < 0, `ambiguous` with |s| < 0.2;
    `pairs` the most doubted ones: `pair_id`, `strength`, `spread`, `judges`.
    """

    judges: list[str]
    strength: Figure
    spread: Figure
    suspected: Figure
    ambiguous: Figure
    pairs: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Return the suspects as JSON values."""
        return plain(self)


def suspected_flips(labels: pd.DataFrame, margins: pd.DataFrame, *, seed: int = 0) -> Suspects:
    """Return what judges make of labels: `labels` has `pair_id`, `group`, `side` (a or b), `margins` a row an answer.

    `margins`: `pair_id`, `judge` and `margin`, P(a) less P(b). Several answers of one judge count as one, their mean.
    """
    voices = margins.groupby(["pair_id", "judge"], sort=True)["margin"].mean().reset_index()
    by_pair = voices.groupby("pair_id", sort=True)["margin"].agg(["mean", "std", "size"])
    by_pair = by_pair[by_pair["size"] >= LEAST_JUDGES]
    found = labels[labels["side"].isin(["a", "b"])].merge(by_pair, left_on="pair_id", right_index=True)
    judges = sorted(voices.loc[voices["pair_id"].isin(found["pair_id"]), "judge"].unique())
    if found.empty:
        none = too_few(0, 10, WHAT)
        return Suspects([], none, none, none, none, [])
    strength = found["mean"].where(found["side"] == "a", -found["mean"]).round(9)
    found = found.assign(strength=strength)
    doubted = found[strength < 0].sort_values(["strength", "name"], kind="stable").head(MOST_LISTED)
    return Suspects(
        judges=judges,
        strength=_mean(strength, found["group"], seed),
        spread=_mean(found["std"], found["group"], seed),
        suspected=share(strength < 0, found["group"], what=WHAT, seed=seed),
        ambiguous=share(strength.abs() < AMBIGUOUS, found["group"], what=WHAT, seed=seed),
        pairs=[
            {"pair": row["name"], "strength": row["strength"], "spread": row["std"], "judges": int(row["size"])}
            for row in doubted.to_dict("records")
        ],
    )


def _mean(values: "pd.Series[float]", groups: "pd.Series[Any]", seed: int) -> Figure:
    return mean_of(values.astype(float), groups, seed, at_least=10, what=WHAT)


def margin_of(prob_a: "pd.Series[float]", choice: "pd.Series[Any]") -> "pd.Series[float]":
    """Return P(a) less P(b) of each answer; certainty where the judge gave a choice alone."""
    plainly = choice.map({"a": 1.0, "b": -1.0, "tie": 0.0, "both_bad": 0.0}).astype(float)
    return pd.Series(np.where(prob_a.notna(), 2.0 * prob_a - 1.0, plainly), index=choice.index)
