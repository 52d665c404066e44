"""Verdicts and judges' preferences as frames: what signals, cards and reports count."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pandas as pd
from django.db.models import FloatField, Q
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from annotation.ids import id_text, spelled_ids
from annotation.models import Pair, Preference, Project
from annotation.sampling import Sample, in_sample
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

# What is read of a verdict's row and as what it is held; of its texts only whether there is one.
_VERDICT_FIELDS: dict[str, type] = {
    "pair_id": UUID,
    "version_id": UUID,
    "order": str,
    "choice": str,
    "prob_a": float,
    "score_a": float,
    "score_b": float,
    "has_rationale": bool,
    "seconds": float,
    "cost": float,
    "prob_tie": float,
    "label_mass": float,
    "samples": int,
    "from_cache": bool,
}
_PREFERENCE_FIELDS: dict[str, type] = {
    "pair_id": UUID,
    "rater_id": UUID,
    "choice": str,
    "prob_a": float,
    "consistent": object,
    "prob_tie": float,
    "score_a": float,
    "score_b": float,
}
# Rows are held as columns of numbers and shared texts; as Python's objects they take several times more.
ROWS_PER_PIECE = 20_000


def verdict_frame(
    project: Project, versions: Iterable[JudgeVersion] | None = None, *, sample: Sample | None = None
) -> pd.DataFrame:
    """Return the answered verdicts of a project's judges: a row a verdict, in the order of versions, pairs and orders.

    `pair_id`, `group` (of the prompt), `version_id`, `judge` (its name), `protocol`, `order` ('ab', 'ba', 'a' or 'b'
    for one response rated alone, '') and `choice` (empty for a rating) are strings; `prob_a`, `score_a`, `score_b`,
    `seconds`, `cost` (US dollars), `prob_tie` and `label_mass` are floats, NaN where not known; `samples` is a whole
    number; `has_rationale` and `from_cache` are booleans. Rows of the second passes, which give reasons or tags and no
    verdict, are left out. `versions` and `sample` narrow the rows. Three queries.
    """
    known = _versions(project, versions)
    rows = (
        Verdict.objects.answered()
        .filter(in_sample(sample, "pair__prompt"), version__in=list(known))
        .exclude(order__in=SECOND_PASSES)
        .order_by("version_id", "pair_id", "order")
        .annotate(explained=~Q(rationale=""))
        .values_list(
            id_text("pair_id"),
            id_text("version_id"),
            "order",
            "choice",
            "prob_a",
            "score_a",
            "score_b",
            "explained",
            "seconds",
            Cast("cost_usd", FloatField()),
            KT("distribution__tie"),
            "label_mass",
            "samples",
            "from_cache",
        )
    )
    frame = _framed(rows.iterator(chunk_size=5000), _VERDICT_FIELDS)
    return _named(frame, project, known, sample)[list(VERDICT_COLUMNS)]


def judge_preference_frame(
    project: Project, versions: Iterable[JudgeVersion] | None = None, *, sample: Sample | None = None
) -> pd.DataFrame:
    """Return the current preferences of a project's judges on whole pairs: a row a preference, by version and pair.

    Strings as in `verdict_frame`, and `rater_id`; `prob_a`, `prob_tie` and, of a rating judge, `score_a` and `score_b`
    are floats, NaN where not known, and so is `calibrated_prob_a`, which is `prob_a` under the version's map to
    people's answers (as it is, where it has none); `consistent` is True or False where both orders decided, else None.
    `versions` and `sample` narrow the rows. Three queries.
    """
    known = _versions(project, versions)
    by_rater = {str(version.rater_id): str(key) for key, version in known.items()}
    rows = (
        Preference.objects.counted()
        .filter(in_sample(sample, "pair__prompt"), rater__in=[version.rater_id for version in known.values()])
        .order_by("rater_id", "pair_id")
        .values_list(id_text("pair_id"), id_text("rater_id"), "choice", "prob_a", "meta")
    )
    told = ("consistent", "prob_tie", "score_a", "score_b")
    records = ((*row, *(meta.get(name) for name in told)) for *row, meta in rows.iterator(chunk_size=5000))
    frame = _framed(records, _PREFERENCE_FIELDS)
    frame["version_id"] = frame["rater_id"].map(by_rater).astype(object)
    frame["calibrated_prob_a"] = _calibrated(frame, known)
    return _named(frame, project, known, sample)[list(PREFERENCE_COLUMNS)]


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
            rows = frame.loc[frame["version_id"] == str(key), "prob_a"]
            mapped[rows.index] = rows.map({prob: calibrated(version, prob) for prob in rows.dropna().unique()})
    return mapped


def _versions(project: Project, versions: Iterable[JudgeVersion] | None) -> dict[UUID, JudgeVersion]:
    found = (
        JudgeVersion.objects.filter(judge__project=project).select_related("judge").order_by("judge__name", "number")
    )
    if versions is not None:
        found = found.filter(pk__in=[version.pk for version in versions])
    return {version.pk: version for version in found}


def _framed(rows: Iterable[tuple[Any, ...]], kinds: Mapping[str, type]) -> pd.DataFrame:
    """Return rows as a frame with a column for each of `kinds`, filled a piece at a time.

    Ids are spelled as Python spells them, and each text is held once however often it occurs.
    """
    texts: dict[str, str] = {}
    pieces = []
    waiting = iter(rows)
    while piece := list(islice(waiting, ROWS_PER_PIECE)):
        columns = zip(kinds.values(), zip(*piece, strict=True), strict=True)
        pieces.append([_column(kind, values, texts) for kind, values in columns])
    frame = {}
    for place, (name, kind) in enumerate(kinds.items()):
        none_yet: npt.NDArray[Any] = np.array([], dtype=_dtype(kind))
        values = np.concatenate([none_yet, *(piece[place] for piece in pieces)])
        # Texts are of pandas' own kind of text, but for ids.
        frame[name] = pd.Series(values, dtype=None if kind is str else values.dtype)
    return pd.DataFrame(frame)


def _column(kind: type, values: tuple[Any, ...], texts: dict[str, str]) -> npt.NDArray[Any]:
    written = spelled_ids(values) if kind is UUID else values
    if kind in (str, UUID):
        written = [texts.setdefault(one, one) for one in written]
    return np.array(written, dtype=_dtype(kind))


def _dtype(kind: type) -> type:
    return object if kind in (str, UUID) else kind


def _named(
    frame: pd.DataFrame, project: Project, versions: dict[UUID, JudgeVersion], sample: Sample | None
) -> pd.DataFrame:
    """Add group, judge and protocol."""
    pairs = Pair.objects.filter(in_sample(sample, "prompt"), project=project)
    # Who asks for no rows gets the columns alone, and no walk over the pairs.
    found = pairs.values_list(id_text("id"), "prompt__group") if len(frame) else ()
    pair_ids, groups = zip(*found, strict=True) if found else ((), ())
    by_version = {str(key): version for key, version in versions.items()}
    frame["group"] = _mapped(frame["pair_id"], dict(zip(spelled_ids(pair_ids), groups, strict=True)))
    frame["judge"] = _mapped(frame["version_id"], {key: version.judge.name for key, version in by_version.items()})
    frame["protocol"] = _mapped(frame["version_id"], {key: version.protocol for key, version in by_version.items()})
    return frame


def _mapped(keys: "pd.Series[Any]", names: Mapping[str, str]) -> "pd.Series[Any]":
    return keys.map(names).astype(object)
