"""Pairs that both a judge and people answered: what predictors learn from and replays run on."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from annotation.aggregating import consensus, vote_frame
from annotation.models import Origin, Preference, Project
from routing.models import PlanState, Route, RouteSource
from routing.scoring import Bools, Floats
from routing.signals import Judged
from routing.trusting import judged_right

# One pair drawn with odds of 1 in 100 must not outweigh all others.
WEIGHT_LIMIT = 20.0


class Labelled(NamedTuple):
    """Which of a judge's pairs can be learned from.

    `rows` marks them among all pairs; `wrong` and `weights` (inverse selection probability) are theirs alone.
    `contested` counts judged pairs whose people share the first place, `unanswered` those without an answer.
    """

    rows: Bools
    wrong: Bools
    weights: Floats
    contested: int
    unanswered: int


def label_pairs(project: Project, judged: Judged) -> Labelled:
    """Compare a judge's preferences with people's consensus, live and recorded together. Three queries."""
    votes = vote_frame(project)
    people = consensus(votes)["choice"].reindex(judged.choice.index)
    right = judged_right(judged.choice, people)
    rows = right.notna().to_numpy()
    has_label = (judged.choice != "").to_numpy()
    recorded = set(votes.loc[votes["origin"] == Origin.RECORDED, "pair_id"])
    odds = _odds_asked(project)
    weights = [_weight(pair, recorded, odds) for pair in judged.choice.index[rows]]
    return Labelled(
        rows=rows,
        wrong=(right[rows] == 0.0).to_numpy(),
        weights=np.array(weights, dtype=float),
        contested=int((has_label & people.eq("").to_numpy()).sum()),
        unanswered=int((has_label & people.isna().to_numpy()).sum()),
    )


def pair_weights(project: Project) -> dict[str, float]:
    """Return how much people's answer on a pair counts where that is not 1: the inverse of its odds of being asked.

    Pairs with recorded answers were not drawn here, and count once. Two queries.
    """
    recorded = set(
        Preference.objects.counted()
        .of_people()
        .filter(pair__project=project, rater__origin=Origin.RECORDED)
        .values_list("pair_id", flat=True)
    )
    odds = _odds_asked(project)
    names = {str(pair_id) for pair_id in recorded}
    return {pair: weight for pair in odds if (weight := _weight(pair, names, odds)) != 1.0}


def _weight(pair: str, recorded: set[str], odds: dict[str, float]) -> float:
    return 1.0 if pair in recorded else min(1 / odds.get(pair, 1.0), WEIGHT_LIMIT)


def _odds_asked(project: Project) -> dict[str, float]:
    """Return for each pair that applied plans sent to people the odds it had; the first plan that did so counts."""
    asked = (
        Route.objects.filter(plan__project=project, plan__state=PlanState.APPLIED)
        .exclude(source=RouteSource.AI)
        .order_by("-plan__applied_at")
        .values_list("pair_id", "selection_prob")
    )
    return {str(pair_id): odds for pair_id, odds in asked.iterator() if odds > 0}


def signals_known(judged: Judged, rows: Bools) -> pd.DataFrame:
    """Return the signals of some rows without the columns that say nothing there: all unknown, or all the same."""
    frame = judged.signals.loc[rows]
    return frame.loc[:, frame.nunique(dropna=False) > 1]
