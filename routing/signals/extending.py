"""Signals beyond the built-in ones, as a manager set them: likeness of meaning, tags of prompts, columns of the file.

Columns are keys of `Pair.meta`. The manager vouches for each: nothing a person said about the pair may be in them,
since a signal that knows the answer makes every figure about the router a lie.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from django.db.models import Count, Max

from annotation.models import Pair, Project
from judges.frames import tag_frame
from judges.models import JudgeVersion, Order, Verdict
from judges.running import writes
from routing.errors import RoutingError
from routing.models import ResponseEmbedding, SignalSettings
from routing.signals import likening
from routing.signals.likening import parse_embedder, read_likeness
from routing.signals.wording import COLUMN, TAG

# Goes up whenever the same settings and data would give other signals.
VERSION = "1"
# A text column may have so many values, and a value gets a signal where so many pairs have it.
MOST_VALUES = 12
LEAST_PAIRS = 20
# Longer values are texts, whatever their number.
LONGEST_VALUE = 80
# A project's meta may hold anything; so many keys are offered.
MOST_COLUMNS = 200
_MISSING = (None, "")
# Names of columns that usually hold what people said.
_OF_PEOPLE = re.compile(
    r"human|people|annot|rater|worker|crowd|vote|label|gold|preference|chosen|winner", re.IGNORECASE
)


class Column(NamedTuple):
    """A key of the pairs' meta: its kind (number, yes or no, words), and what it holds.

    `known` is the share of pairs that have a value. `low` and `high` bound a number; `values` count the words, most
    frequent first. `refused` says why it cannot be a signal, '' where it can.
    """

    name: str
    kind: str
    known: float
    low: float | None = None
    high: float | None = None
    values: tuple[tuple[str, int], ...] = ()
    refused: str = ""

    @property
    def speaks_of_people(self) -> bool:
        """Say whether its name sounds like something that people said."""
        return _OF_PEOPLE.search(self.name) is not None


def settings_of(project: Project) -> SignalSettings:
    """Return what a manager set, or the defaults (not stored). One query."""
    found = SignalSettings.objects.filter(project=project).select_related("tagger__judge").first()
    return found or SignalSettings(project=project)


def save_settings(
    project: Project, *, columns: Sequence[str], embedder: str, tagger: JudgeVersion | None
) -> SignalSettings:
    """Set which further signals a project's router uses. Plans that are drawn keep the signals they were drawn from.

    Raises `RoutingError` for a column that cannot be a signal, an embedder that is none or a tagger that cannot write,
    `judges.errors.JudgeError` for an address that must not be asked.
    """
    wanted = list(dict.fromkeys(columns))
    if wanted:
        known = {column.name: column for column in column_candidates(project)}
        for name in wanted:
            if name not in known:
                raise RoutingError(
                    f"No pair of {project} has a column {name!r}. Columns: {', '.join(known) or 'none'}."
                )
            if known[name].refused:
                raise RoutingError(f"The column {name!r} cannot be a signal: {known[name].refused}.")
    if tagger is not None and (tagger.judge.project_id != project.pk or not writes(tagger)):
        raise RoutingError(f"{tagger} cannot sort prompts: it is no model of this project that writes.")
    values = {"columns": wanted, "embedder": parse_embedder(embedder), "tagger": tagger}
    before = SignalSettings.objects.filter(project=project).values_list("embedder", flat=True).first()
    if before != values["embedder"]:
        # What went wrong at one endpoint says nothing about another.
        values["embedding_error"] = ""
    return SignalSettings.objects.update_or_create(project=project, defaults=values)[0]


def extra_signals(project: Project, measures: pd.DataFrame, prob_a: pd.Series) -> pd.DataFrame:
    """Return the further signals of a project's pairs: floats, index as `measures` (`pair_id`), NaN where unknown.

    Names are `cosine`, `tag NAME`, `column NAME` and `column NAME=VALUE`; those known for no pair are left out. They
    are the same for all judges. Texts are read of new pairs only.
    """
    settings = settings_of(project)
    pairs = measures.index
    parts = [read_likeness(project, settings.embedder, pairs)]
    if settings.tagger is not None:
        parts.append(tag_frame(settings.tagger).add_prefix(TAG).reindex(pairs))
    if settings.columns:
        parts.append(column_signals(_meta_of(project, settings.columns), settings.columns).reindex(pairs))
    frame = pd.concat(parts, axis=1).astype(float)
    return frame.loc[:, frame.notna().any()]


def settings_key(project: Project) -> str:
    """Return a hash that changes whenever `extra_signals` may return something else for the same pairs.

    At most three queries, all counts.
    """
    settings = settings_of(project)
    seen: list[Any] = [VERSION, likening.VERSION, settings.columns, settings.embedder, str(settings.tagger_id)]
    if settings.tagger_id is not None:
        tags = Verdict.objects.answered().filter(version=settings.tagger_id, order=Order.TAGS)
        seen.append(tags.aggregate(Count("id"), Max("finished_at")))
    if likening.endpoint_in(settings.embedder):
        stored = ResponseEmbedding.objects.filter(response__prompt__project=project, model=settings.embedder)
        seen.append(stored.count())
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def column_candidates(project: Project) -> list[Column]:
    """Return the columns that the project's pairs brought with them, by name, with those that cannot be signals.

    Reads every pair's meta.
    """
    metas = list(Pair.objects.in_project(project).values_list("meta", flat=True).iterator(chunk_size=5000))
    names = sorted({name for meta in metas for name in meta})[:MOST_COLUMNS]
    return [describe_column(name, (meta.get(name) for meta in metas), len(metas)) for name in names]


def describe_column(name: str, values: Iterable[Any], pairs: int) -> Column:
    """Return what a column holds and whether it can be a signal. Pure; `values` has one entry a pair."""
    given = [value for value in values if value not in _MISSING]
    known = len(given) / pairs if pairs else 0.0
    if not given:
        return Column(name, "", known, refused="it has no values")
    if any(isinstance(value, list | dict) for value in given):
        return Column(name, "", known, refused="its values are lists or objects")
    kind = _kind(given)
    if kind == "number":
        numbers = [_number(value) for value in given]
        if any(number is None for number in numbers):
            return Column(name, kind, known, refused="some of its numbers are not finite")
        found = [number for number in numbers if number is not None]
        column = Column(name, kind, known, low=min(found), high=max(found))
        whole = all(number == int(number) for number in found)
        if len(found) >= LEAST_PAIRS and whole and len(set(found)) == len(found):
            return column._replace(refused="every pair has another whole number, as an identifier has")
    else:
        counts = Counter(_word(value) for value in given)
        if len(counts) > MOST_VALUES or max(len(value) for value in counts) > LONGEST_VALUE:
            return Column(name, kind, known, refused=f"free text or an identifier: {len(counts):,} different values")
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        column = Column(name, kind, known, values=tuple(ordered))
        if kind == "words" and ordered[0][1] < LEAST_PAIRS:
            return column._replace(refused=f"too few pairs: no value is in {LEAST_PAIRS} of them")
    if len(given) < LEAST_PAIRS:
        return column._replace(refused=f"too few pairs ({len(given)} of {LEAST_PAIRS})")
    if column.low == column.high and len(column.values) < 2:
        return column._replace(refused="all its values are the same")
    return column


def column_signals(metas: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the signals of ticked columns: `column NAME`, or `column NAME=VALUE` (0 or 1) for words. Pure.

    `metas` has a row a pair and the columns by name, None where absent. A column that has become unusable since it was
    ticked (a file brought free text) gives no signal.
    """
    signals: dict[str, pd.Series] = {}
    for name in names:
        values = metas[name]
        column = describe_column(name, values, len(values))
        if column.refused:
            continue
        if column.kind == "number":
            signals[f"{COLUMN}{name}"] = values.map(_number).astype(float)
            continue
        words = values.map(lambda value: None if value in _MISSING else _word(value))
        if column.kind == "yes or no":
            signals[f"{COLUMN}{name}"] = words.map({"true": 1.0, "false": 0.0})
            continue
        for value, count in column.values:
            if count >= LEAST_PAIRS:
                signals[f"{COLUMN}{name}={value}"] = words.eq(value).astype(float).where(words.notna())
    return pd.DataFrame(signals, index=metas.index, dtype=float)


def _meta_of(project: Project, names: Sequence[str]) -> pd.DataFrame:
    rows = Pair.objects.in_project(project).values_list("id", "meta").iterator(chunk_size=5000)
    found: Mapping[str, list[Any]] = {str(pk): [meta.get(name) for name in names] for pk, meta in rows}
    index = pd.Index(list(found), name="pair_id", dtype=object)
    frame = pd.DataFrame(index=index)
    for place, name in enumerate(names):
        # One by one and as objects: pandas would turn absent whole numbers into NaN and mixed ones into text.
        frame[name] = pd.Series([values[place] for values in found.values()], index=index, dtype=object)
    return frame


def _kind(given: Sequence[Any]) -> str:
    if all(
        isinstance(value, bool) or (isinstance(value, str) and _word(value) in {"true", "false"}) for value in given
    ):
        return "yes or no"
    if all(not isinstance(value, bool) and _is_number(value) for value in given):
        return "number"
    return "words"


def _is_number(value: Any) -> bool:
    if isinstance(value, int | float):
        return True
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _number(value: Any) -> float | None:
    """Return a number, also from a file that knows only texts; None for what is none or not finite."""
    if value in _MISSING:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _word(value: Any) -> str:
    text = str(value).strip()
    return text.lower() if text.lower() in {"true", "false"} else text
