"""The signals of a project's pairs about one judge, read from the database."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from annotation.models import Pair, Project
from judges.frames import judge_preference_frame, verdict_frame
from judges.models import JudgeVersion
from routing.deriving import build_signals
from routing.measuring import PairTexts, measure_texts
from routing.trusting import find_version

ROWS_PER_FETCH = 2000


class Judged(NamedTuple):
    """A project's pairs seen by one judge version; every frame has the index `pair_id` in import order.

    `choice` ('' without an answer that decides) and `prob_a` (NaN without) are the judge's preference.
    """

    version: JudgeVersion
    groups: pd.Series
    signals: pd.DataFrame
    choice: pd.Series
    prob_a: pd.Series


def signal_frame(project: Project, judge: str) -> pd.DataFrame:
    """Return a row a pair (index `pair_id`, import order) and a column a signal about the judge of that name.

    `judge` is a name, with its protocol where one has several: "gpt-4 · pairwise three-way". Values are floats, NaN
    where not known; `routing.deriving.SIGNALS` describes the columns. Three queries and one walk over the texts. Raises
    `RoutingError` for an unknown judge.
    """
    return read_judged(project, find_version(project, judge)).signals


def read_judged(project: Project, version: JudgeVersion) -> Judged:
    """Return what the signals, plans and replays of one judge version start from."""
    measures = measure_texts(_texts(project))
    preferences = judge_preference_frame(project)
    signals = build_signals(measures, verdict_frame(project), preferences, str(version.pk))
    mine = preferences[preferences["version_id"] == str(version.pk)].drop_duplicates("pair_id").set_index("pair_id")
    return Judged(
        version=version,
        groups=measures["group"],
        signals=signals,
        choice=mine["choice"].replace({"unsure": ""}).reindex(measures.index).fillna("").astype(object),
        prob_a=mine["prob_a"].astype(float).reindex(measures.index),
    )


def _texts(project: Project) -> Iterator[PairTexts]:
    rows = Pair.objects.in_project(project).values_list(
        "id",
        "prompt__group",
        "prompt__messages",
        "prompt__language",
        "response_a__messages",
        "response_b__messages",
        "response_a__model",
        "response_b__model",
    )
    for pair_id, *rest in rows.iterator(chunk_size=ROWS_PER_FETCH):
        yield PairTexts(str(pair_id), *rest)
