"""Ratings set against choices: what one person, or one judge, said in two ways about the same two responses."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing import sides_of_ratings
from annotation.criteria import OVERALL
from annotation.models import Basis, Choice, Preference, Project, RaterKind, Rating
from judges.models import Verdict

CONTRAST_COLUMNS = ("group", "rating_side", "ranking")
UNDECIDED = Choice.TIE.value


class JudgeContrast(NamedTuple):
    """A judge that gave scores under one protocol and choices under another, pair by pair."""

    judge: str
    ratings: str
    rankings: str
    frame: pd.DataFrame


def contrast_people(project: Project) -> pd.DataFrame:
    """Return a row for every person, pair and criterion with two ratings and a choice.

    Columns: `criterion` ("overall" for the choice on the whole pair), `group` (of the prompt), `rating_side` (a, b, or
    tie where the ratings are equal) and `ranking` (the choice). Ratings given with the pair go before ratings given to
    the responses alone. What follows from ratings or orders is no choice of its own and is left out. Two queries.
    """
    scores = _ratings_of_people(project)
    choices = (
        Preference.objects.current()
        .of_people()
        .filter(pair__project=project, is_extra=False, basis=Basis.CHOICE)
        .order_by("pair_id", "rater_id", "criterion__name")
        .values_list(
            "rater_id",
            "pair_id",
            "criterion__name",
            "choice",
            "pair__response_a_id",
            "pair__response_b_id",
            "pair__prompt__group",
        )
    )
    rows = []
    for rater, pair, named, choice, response_a, response_b, group in choices.iterator():
        criterion = named or OVERALL
        a, b = (
            scores.get((rater, response, criterion, pair), scores.get((rater, response, criterion, None), np.nan))
            for response in (response_a, response_b)
        )
        rows.append((criterion, group, a, b, choice))
    return _contrast(rows, ["criterion", "group", "a", "b", "ranking"])


def contrast_judges(project: Project) -> list[JudgeContrast]:
    """Return every judge that both scored and ranked, a contrast for each two protocols. One query.

    A version whose verdicts carry scores is a rating protocol, one without is a ranking protocol. Where a judge ranked
    in both orders and the answers differ, the ranking is a tie, as in Peering Through Preferences; scores of both
    orders are averaged.
    """
    rows = (
        Verdict.objects.answered()
        .filter(version__judge__project=project)
        .order_by("version__judge__name", "version__number", "pair_id", "order")
        .values_list(
            "version__judge__name",
            "version__number",
            "version__protocol",
            "pair_id",
            "pair__prompt__group",
            "choice",
            "score_a",
            "score_b",
        )
    )
    columns = ["judge", "number", "protocol", "pair_id", "group", "choice", "score_a", "score_b"]
    verdicts = pd.DataFrame.from_records(list(rows.iterator()), columns=columns)
    verdicts[["score_a", "score_b"]] = verdicts[["score_a", "score_b"]].astype(float)
    contrasts = []
    for judge, mine in verdicts.groupby("judge", sort=True):
        versions = [
            (f"{protocol} (version {number})", of_version)
            for (number, protocol), of_version in mine.groupby(["number", "protocol"], sort=True)
        ]
        ratings = [(name, _scores(of)) for name, of in versions if _has_scores(of)]
        rankings = [(name, _rankings(of)) for name, of in versions if not _has_scores(of)]
        for rated_by, scores in ratings:
            for ranked_by, ranking in rankings:
                joined = scores.join(ranking, how="inner")
                frame = _contrast(joined.itertuples(index=False), list(joined.columns))
                if len(frame):
                    contrasts.append(JudgeContrast(str(judge), rated_by, ranked_by, frame))
    return contrasts


def _ratings_of_people(project: Project) -> dict[tuple[Any, ...], float]:
    ratings = Rating.objects.filter(rater__project=project, rater__kind=RaterKind.PERSON)
    fields = ratings.values_list("rater_id", "response_id", "criterion__name", "pair_id", "value")
    return {tuple(key): value for *key, value in fields.iterator()}


def _has_scores(verdicts: pd.DataFrame) -> bool:
    return bool((verdicts["score_a"].notna() & verdicts["score_b"].notna()).any())


def _scores(verdicts: pd.DataFrame) -> pd.DataFrame:
    known = verdicts.dropna(subset=["score_a", "score_b"])
    return known.groupby("pair_id").agg(group=("group", "first"), a=("score_a", "mean"), b=("score_b", "mean"))


def _rankings(verdicts: pd.DataFrame) -> pd.DataFrame:
    known = verdicts[verdicts["choice"] != Choice.UNSURE].groupby("pair_id")["choice"]
    return known.first().where(known.nunique() == 1, UNDECIDED).to_frame("ranking")


def _contrast(rows: Iterable[Any], columns: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame.from_records(list(rows), columns=columns)
    frame["rating_side"] = sides_of_ratings(frame.pop("a").astype(float), frame.pop("b").astype(float))
    frame = frame[frame["rating_side"].notna() & (frame["ranking"] != Choice.UNSURE)]
    return frame.reset_index(drop=True)
