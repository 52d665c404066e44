"""Verdicts and judges' preferences as frames: what signals, cards and reports count."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import pandas as pd

from annotation.models import Pair, Preference, Project
from judges.models import JudgeVersion, Verdict

VERDICT_COLUMNS = (
    "pair_id",
    "group",
    "version_id",
    "judge",
    "protocol",
    "order",
    "choice",
    "prob_a",
    "score_a",
    "score_b",
    "has_rationale",
    "seconds",
    "cost",
)
PREFERENCE_COLUMNS = (
    "pair_id",
    "group",
    "version_id",
    "rater_id",
    "judge",
    "protocol",
    "choice",
    "prob_a",
    "consistent",
)


def verdict_frame(project: Project, versions: Iterable[JudgeVersion] | None = None) -> pd.DataFrame:
    """Return the answered verdicts of a project's judges: a row a verdict, in the order of versions, pairs and orders.

    `pair_id`, `group` (of the prompt), `version_id`, `judge` (its name), `protocol`, `order` ('ab', 'ba', '') and
    `choice` are strings; `prob_a`, `score_a`, `score_b`, `seconds` and `cost` (US dollars) are floats, NaN where not
    known; `has_rationale` is a boolean. `versions` narrows the rows. Three queries.
    """
    known = _versions(project, versions)
    rows = (
        Verdict.objects.answered()
        .filter(version__in=list(known))
        .order_by("version_id", "pair_id", "order")
        .values_list(
            "pair_id",
            "version_id",
            "order",
            "choice",
            "prob_a",
            "score_a",
            "score_b",
            "rationale",
            "seconds",
            "cost_usd",
        )
    )
    names = ["pair_id", "version_id", "order", "choice", "prob_a", "score_a", "score_b", "has_rationale"]
    # The texts of reasons are dropped row by row: only whether there is one is asked.
    records = ((*row[:7], bool(row[7]), *row[8:]) for row in rows.iterator(chunk_size=5000))
    frame = pd.DataFrame.from_records(list(records), columns=[*names, "seconds", "cost"])
    floats = ["prob_a", "score_a", "score_b", "seconds", "cost"]
    frame[floats] = frame[floats].astype(float)
    frame["has_rationale"] = frame["has_rationale"].astype(bool)
    return _named(frame, project, known)[list(VERDICT_COLUMNS)]


def judge_preference_frame(project: Project, versions: Iterable[JudgeVersion] | None = None) -> pd.DataFrame:
    """Return the current preferences of a project's judges on whole pairs: a row a preference, by version and pair.

    Strings as in `verdict_frame`, and `rater_id`; `prob_a` is a float, NaN where not known; `consistent` is True or
    False where both orders decided, else None. `versions` narrows the rows. Three queries.
    """
    known = _versions(project, versions)
    by_rater = {version.rater_id: key for key, version in known.items()}
    rows = (
        Preference.objects.counted()
        .filter(rater__in=list(by_rater))
        .order_by("rater_id", "pair_id")
        .values_list("pair_id", "rater_id", "choice", "prob_a", "meta")
    )
    records = [
        (pair_id, by_rater[rater_id], rater_id, choice, prob_a, meta.get("consistent"))
        for pair_id, rater_id, choice, prob_a, meta in rows.iterator(chunk_size=5000)
    ]
    names = ["pair_id", "version_id", "rater_id", "choice", "prob_a", "consistent"]
    frame = pd.DataFrame.from_records(records, columns=names)
    frame["prob_a"] = frame["prob_a"].astype(float)
    frame["consistent"] = frame["consistent"].astype(object)
    frame["rater_id"] = _as_text(frame["rater_id"])
    return _named(frame, project, known)[list(PREFERENCE_COLUMNS)]


def _versions(project: Project, versions: Iterable[JudgeVersion] | None) -> dict[UUID, JudgeVersion]:
    found = (
        JudgeVersion.objects.filter(judge__project=project).select_related("judge").order_by("judge__name", "number")
    )
    if versions is not None:
        found = found.filter(pk__in=[version.pk for version in versions])
    return {version.pk: version for version in found}


def _named(frame: pd.DataFrame, project: Project, versions: dict[UUID, JudgeVersion]) -> pd.DataFrame:
    """Add group, judge and protocol, and turn ids into strings."""
    groups = dict(Pair.objects.filter(project=project).values_list("id", "prompt__group"))
    frame["group"] = _mapped(frame["pair_id"], groups)
    frame["judge"] = _mapped(frame["version_id"], {key: version.judge.name for key, version in versions.items()})
    frame["protocol"] = _mapped(frame["version_id"], {key: version.protocol for key, version in versions.items()})
    frame["pair_id"], frame["version_id"] = _as_text(frame["pair_id"]), _as_text(frame["version_id"])
    return frame


def _mapped(keys: "pd.Series[Any]", names: dict[UUID, str]) -> "pd.Series[Any]":
    return keys.map(names).astype(object)


def _as_text(keys: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return ids as strings, each made once however often it occurs."""
    return keys.map({key: str(key) for key in keys.unique()}).astype(object)
