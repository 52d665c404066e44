"""Verdicts and judges' preferences as frames: what signals, cards and reports count."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import pandas as pd
from django.db.models import Q
from django.db.models.fields.json import KT

from annotation.models import Pair, Preference, Project
from judges.calibrating import calibrated
from judges.models import SECOND_PASSES, JudgeVersion, Order, Verdict
from judges.tagging import numbers_of

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
    "prob_tie",
    "label_mass",
    "samples",
    "from_cache",
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
    "prob_tie",
    "score_a",
    "score_b",
    "calibrated_prob_a",
)

# What is read of a verdict's row; of its texts only whether there is one.
_VERDICT_FIELDS = (
    "pair_id",
    "version_id",
    "order",
    "choice",
    "prob_a",
    "score_a",
    "score_b",
    "explained",
    "seconds",
    "cost_usd",
    "prob_tie",
    "label_mass",
    "samples",
    "from_cache",
)


def verdict_frame(project: Project, versions: Iterable[JudgeVersion] | None = None) -> pd.DataFrame:
    """Return the answered verdicts of a project's judges: a row a verdict, in the order of versions, pairs and orders.

    `pair_id`, `group` (of the prompt), `version_id`, `judge` (its name), `protocol`, `order` ('ab', 'ba', 'a' or 'b'
    for one response rated alone, '') and `choice` (empty for a rating) are strings; `prob_a`, `score_a`, `score_b`,
    `seconds`, `cost` (US dollars), `prob_tie` and `label_mass` are floats, NaN where not known; `samples` is a whole
    number; `has_rationale` and `from_cache` are booleans. Rows of the second passes, which give reasons or tags and no
    verdict, are left out. `versions` narrows the rows. Three queries.
    """
    known = _versions(project, versions)
    rows = (
        Verdict.objects.answered()
        .filter(version__in=list(known))
        .exclude(order__in=SECOND_PASSES)
        .order_by("version_id", "pair_id", "order")
        .annotate(explained=~Q(rationale=""), prob_tie=KT("distribution__tie"))
        .values_list(*_VERDICT_FIELDS)
    )
    frame = pd.DataFrame.from_records(list(rows.iterator(chunk_size=5000)), columns=list(_VERDICT_FIELDS))
    frame = frame.rename(columns={"explained": "has_rationale", "cost_usd": "cost"})
    floats = ["prob_a", "score_a", "score_b", "seconds", "cost", "prob_tie", "label_mass"]
    frame[floats] = frame[floats].astype(float)
    frame["has_rationale"] = frame["has_rationale"].astype(bool)
    frame["from_cache"] = frame["from_cache"].astype(bool)
    frame["samples"] = frame["samples"].astype(int)
    return _named(frame, project, known)[list(VERDICT_COLUMNS)]


def judge_preference_frame(project: Project, versions: Iterable[JudgeVersion] | None = None) -> pd.DataFrame:
    """Return the current preferences of a project's judges on whole pairs: a row a preference, by version and pair.

    Strings as in `verdict_frame`, and `rater_id`; `prob_a`, `prob_tie` and, of a rating judge, `score_a` and `score_b`
    are floats, NaN where not known, and so is `calibrated_prob_a`, which is `prob_a` under the version's map to
    people's answers (as it is, where it has none); `consistent` is True or False where both orders decided, else None.
    `versions` narrows the rows. Three queries.
    """
    known = _versions(project, versions)
    by_rater = {version.rater_id: key for key, version in known.items()}
    rows = (
        Preference.objects.counted()
        .filter(rater__in=list(by_rater))
        .order_by("rater_id", "pair_id")
        .values_list("pair_id", "rater_id", "choice", "prob_a", "meta")
    )
    told = ("consistent", "prob_tie", "score_a", "score_b")
    records = [
        (pair_id, by_rater[rater_id], rater_id, choice, prob_a, *(meta.get(name) for name in told))
        for pair_id, rater_id, choice, prob_a, meta in rows.iterator(chunk_size=5000)
    ]
    names = ["pair_id", "version_id", "rater_id", "choice", "prob_a", *told]
    frame = pd.DataFrame.from_records(records, columns=names)
    floats = ["prob_a", "prob_tie", "score_a", "score_b"]
    frame[floats] = frame[floats].astype(float)
    frame["consistent"] = frame["consistent"].astype(object)
    frame["calibrated_prob_a"] = _calibrated(frame, known)
    frame["rater_id"] = _as_text(frame["rater_id"])
    return _named(frame, project, known)[list(PREFERENCE_COLUMNS)]


def tag_frame(version: JudgeVersion) -> pd.DataFrame:
    """Return the tags that a version gave to its project's prompts: a row a pair (index `pair_id`), a column a tag.

    Numbers from 0 to 1 (`judges.tagging.numbers_of`); pairs whose prompt has no tags are left out. Two queries.
    """
    tagged = Verdict.objects.answered().filter(version=version, order=Order.TAGS)
    rows = tagged.order_by("pair_id").values_list("pair__prompt_id", "meta")
    numbers = {prompt_id: numbers_of(meta["tags"]) for prompt_id, meta in rows.iterator(chunk_size=5000)}
    pairs = Pair.objects.in_project(version.judge.project).filter(prompt__in=tagged.values("pair__prompt"))
    # A tag that was stored between the two queries is not in the first.
    found = [(str(pk), prompt) for pk, prompt in pairs.values_list("pk", "prompt_id") if prompt in numbers]
    index = pd.Index([pair_id for pair_id, _ in found], name="pair_id", dtype=object)
    return pd.DataFrame([numbers[prompt_id] for _, prompt_id in found], index=index, dtype=float)


def _calibrated(frame: pd.DataFrame, versions: Mapping[UUID, JudgeVersion]) -> "pd.Series[float]":
    """Return `prob_a` under each version's map."""
    mapped = frame["prob_a"].copy()
    for key, version in versions.items():
        if version.calibration:
            rows = frame.loc[frame["version_id"] == key, "prob_a"]
            mapped[rows.index] = rows.map({prob: calibrated(version, prob) for prob in rows.dropna().unique()})
    return mapped


def _versions(project: Project, versions: Iterable[JudgeVersion] | None) -> dict[UUID, JudgeVersion]:
    found = (
        JudgeVersion.objects.filter(judge__project=project).select_related("judge").order_by("judge__name", "number")
    )
    if versions is not None:
        found = found.filter(pk__in=[version.pk for version in versions])
    return {version.pk: version for version in found}


def _named(frame: pd.DataFrame, project: Project, versions: dict[UUID, JudgeVersion]) -> pd.DataFrame:
    """Add group, judge and protocol, and turn ids into strings."""
    # Who asks for no rows gets the columns alone, and no walk over the pairs.
    groups = dict(Pair.objects.filter(project=project).values_list("id", "prompt__group")) if len(frame) else {}
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
