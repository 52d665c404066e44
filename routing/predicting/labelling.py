"""Pairs that both a judge and people answered: what predictors learn from and replays run on."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import numpy as np
import pandas as pd
from django.db.models import Min

from annotation.aggregating import consensus, vote_frame
from annotation.models import Origin, Preference, Project
from routing.models import PlanState, Route, RouteSource
from routing.plans.trusting import judged_right
from routing.predicting.predictor import Kinds
from routing.predicting.scoring import Bools, Floats
from routing.signals.reading import Judged

# One pair drawn with odds of 1 in 100 must not outweigh all others.
WEIGHT_LIMIT = 20.0


class Labelled(NamedTuple):
    """Which of a judge's pairs can be learned from.

    `rows` marks them among all pairs; `wrong`, `weights` (inverse selection probability) and `kinds` are theirs alone.
    `kinds` is 0 where the judge is right, 1 where it picks a side and people none, 2 where people pick the other side,
    3 where it picks none and people do.
    `contested` counts judged pairs whose people share the first place, `unanswered` those without an answer.
    """

    rows: Bools
    wrong: Bools
    weights: Floats
    contested: int
    unanswered: int
    kinds: Kinds


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
        kinds=_kinds(judged.choice[rows], people[rows]),
    )


def _kinds(judge: pd.Series, people: pd.Series) -> Kinds:
    a, b = (choices.replace({"both_bad": "tie"}).to_numpy(dtype=object) for choices in (judge, people))
    differs = a != b
    return np.select([differs & (b == "tie"), differs & (a != "tie"), differs], [1, 2, 3], default=0).astype(np.int64)


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
    """Return for each pair that applied plans sent to people the odds it had under the plan it was answered under.

    That is the last plan applied before its first answer here. A pair that was answered before any of them, or not yet,
    has the odds of the last.
    """
    asked = Route.objects.filter(
        plan__project=project,
        plan__state=PlanState.APPLIED,
        source__in=[RouteSource.PEOPLE, RouteSource.AUDIT],
        selection_prob__gt=0,
    )
    routes: dict[UUID, list[tuple[datetime, float]]] = {}
    fields = asked.order_by("plan__applied_at").values_list("pair_id", "plan__applied_at", "selection_prob")
    for pair_id, applied_at, odds in fields.iterator():
        if applied_at is not None:
            routes.setdefault(pair_id, []).append((applied_at, odds))
    answered = _first_answers(project) if any(len(found) > 1 for found in routes.values()) else {}
    found_odds = {}
    for pair_id, found in routes.items():
        before = [odds for applied_at, odds in found if pair_id in answered and applied_at <= answered[pair_id]]
        found_odds[str(pair_id)] = before[-1] if before else found[-1][1]
    return found_odds


def _first_answers(project: Project) -> dict[UUID, datetime]:
    answers = Preference.objects.counted().of_people().filter(pair__project=project)
    here = answers.filter(rater__origin__in=[Origin.LIVE, Origin.SIMULATED])
    return dict(here.order_by().values_list("pair_id").annotate(first=Min("created_at")))


def signals_known(judged: Judged, rows: Bools) -> pd.DataFrame:
    """Return the signals of some rows without the columns that say nothing there: all unknown, or all the same."""
    frame = judged.signals.loc[rows]
    return frame.loc[:, frame.nunique(dropna=False) > 1]
