"""The signals of a project's pairs about one judge, read from the database."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from annotation.models import Pair, Project
from judges.frames import judge_preference_frame, verdict_frame
from judges.models import JudgeVersion
from routing.deriving import build_signals, preferences_together
from routing.measuring import PairTexts, measure_texts
from routing.trusting import find_version

ROWS_PER_FETCH = 2000


class Judged(NamedTuple):
    """A project's pairs seen by one judge; every frame has the index `pair_id` in import order.

    `versions` is one version, or several taken together: their probabilities are averaged before deciding. `choice`
    ('' without an answer that decides) and `prob_a` (NaN without) are the judge's preference.
    """

    versions: tuple[JudgeVersion, ...]
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
    return read_judged(project, [find_version(project, judge)]).signals


def read_judged(project: Project, versions: Sequence[JudgeVersion]) -> Judged:
    """Return what the signals, plans and replays of a judge start from: one version, or several taken together."""
    measures = measure_texts(_texts(project))
    preferences = judge_preference_frame(project)
    ids = [str(version.pk) for version in versions]
    mine = preferences_together(preferences, ids).reindex(measures.index)
    return Judged(
        versions=tuple(versions),
        groups=measures["group"],
        signals=build_signals(measures, verdict_frame(project), preferences, ids),
        choice=mine["choice"].fillna("").astype(object),
        prob_a=mine["prob_a"].astype(float),
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
        "response_a_id",
        "response_b_id",
        "prompt__category",
    )
    for row in rows.iterator(chunk_size=ROWS_PER_FETCH):
        texts, (response_a_id, response_b_id, category) = row[1:8], row[8:]
        yield PairTexts(str(row[0]), *texts, str(response_a_id), str(response_b_id), category)
