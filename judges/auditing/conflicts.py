"""Where a judge's scores and its comparisons of the same two responses conflict, before and after each remedy.

Definitions of TrustJudge (Wang et al. 2025): scores S and a comparison C conflict where S_a > S_b and C is not a, where
S_a < S_b and C is not b, or where S_a = S_b and C is not a tie. CR is the share of such pairs. The first remedy reads
a score from its whole distribution, the second compares by the likelihoods of both orders together.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing import SIDE_OF, Figure, sides_of_ratings
from judges.auditing.figures import share_of
from judges.averaging import VerdictValues, score_of, settle

SCORINGS = ("mode", "expectation", "sharpened")


class Conflict(NamedTuple):
    """CR of one way to read scores against one way to compare; `against` names the version on the other side.

    `sampled`: from the frequencies of repeated answers, where the server gives no probabilities.
    """

    against: str
    scores: str
    comparison: str
    conflict: Figure
    sampled: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the conflict as JSON values."""
        return {**self._asdict(), "conflict": self.conflict.as_dict()}


def score_sides(verdicts: pd.DataFrame) -> dict[str, "pd.Series[Any]"]:
    """Return the side that scores imply, by pair, for each way to read them; ways without data are left out.

    Verdicts score both responses together (`score_a` and `score_b`) or one alone (`order` a or b, `distribution`).
    """
    means = verdicts.groupby("pair_id")[["score_a", "score_b"]].mean()
    found = {"stated": sides_of_ratings(means["score_a"], means["score_b"]).dropna()}
    alone = verdicts[verdicts["order"].isin(["a", "b"])]
    alone = alone[alone["distribution"].map(bool).astype(bool)]
    for scoring in SCORINGS:
        scores = alone.assign(score=[score_of(one, scoring) for one in alone["distribution"]])
        table = scores.pivot_table(index="pair_id", columns="order", values="score").reindex(columns=["a", "b"])
        # Sums of the same probabilities in another order are the same score.
        table = table.astype(float).round(9)
        found[scoring] = sides_of_ratings(table["a"], table["b"]).dropna()
    return {name: sides for name, sides in found.items() if len(sides)}


def comparison_sides(calls: pd.DataFrame, tie_band: float) -> dict[str, "pd.Series[Any]"]:
    """Return the side of each pair that was asked in both orders, for each way to bring them together.

    `orders`: the answer both gave, else a tie, which is TrustJudge's baseline. `mean` and `likelihood`: as
    `judges.averaging.settle` does.
    """
    asked = calls[calls["order"].isin(["ab", "ba"]) & calls["choice"].map(SIDE_OF).notna()]
    asked = asked[asked.groupby("pair_id")["order"].transform("nunique") == len(("ab", "ba"))]
    if asked.empty:
        return {}
    found: dict[str, list[str]] = {"orders": [], "mean": [], "likelihood": []}
    pairs = []
    fields = asked[["pair_id", "order", "choice", "prob_a", "distribution"]].sort_values(["pair_id", "order"])
    for pair_id, (first, second) in _two_by_two(fields):
        pairs.append(pair_id)
        same = SIDE_OF[first.choice] == SIDE_OF[second.choice]
        found["orders"].append(SIDE_OF[first.choice] if same else "tie")
        for aggregation in ("mean", "likelihood"):
            settled = settle([first, second], tie_band=tie_band, aggregation=aggregation)
            found[aggregation].append(SIDE_OF[settled.choice])
    return {name: pd.Series(sides, index=pairs, dtype=object) for name, sides in found.items()}


def conflicts(
    scores: Mapping[str, "pd.Series[Any]"],
    comparisons: Mapping[str, "pd.Series[Any]"],
    groups: "pd.Series[Any]",
    seed: int,
    *,
    against: str = "",
    sampled: bool = False,
) -> list[Conflict]:
    """Return CR for every way to read scores and every way to compare, on the pairs that have both."""
    found = []
    for scoring, scored in scores.items():
        for comparing, compared in comparisons.items():
            both = pd.DataFrame({"score": scored, "comparison": compared}).dropna()
            both["group"] = groups.reindex(both.index)
            figure = share_of(both["score"] != both["comparison"], both, seed, "pairs scored and compared")
            found.append(Conflict(against, scoring, comparing, figure, sampled))
    return found


def _two_by_two(rows: pd.DataFrame) -> Iterator[tuple[str, tuple[VerdictValues, VerdictValues]]]:
    """Yield each pair with its two verdicts; `rows` are sorted, two a pair."""
    values = [
        (pair_id, VerdictValues(order, choice, None if np.isnan(prob_a) else prob_a, distribution))
        for pair_id, order, choice, prob_a, distribution in rows.itertuples(index=False)
    ]
    for (pair_id, first), (_, second) in zip(values[::2], values[1::2], strict=True):
        yield pair_id, (first, second)
