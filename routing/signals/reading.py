"""The signals of a project's pairs about one judge: kept in the database, and made again when their sources changed."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pandas as pd
from django.db.models import Count, Max, Sum

from annotation.ids import id_text, spelled_ids
from annotation.models import Pair, Preference, Project
from annotation.sampling import Sample, in_sample
from judges.frames import judge_preference_frame, verdict_frame
from judges.models import JudgeKind, JudgeVersion, Verdict
from routing.models import TableKind
from routing.plans.trusting import find_version
from routing.signals import deriving, measuring
from routing.signals.deriving import build_signals, preferences_together
from routing.signals.extending import extra_signals, settings_key
from routing.signals.measuring import ABOUT, PairTexts, with_language
from routing.signals.tabling import load_table, store_table

ROWS_PER_FETCH = 2000
# What is kept beside the signals: the judge's answer itself.
CHOICE, PROB_A = "choice", "prob_a"


class Judged(NamedTuple):
    """A project's pairs seen by one judge; every frame has the index `pair_id` in import order.

    `versions` is one version, or several taken together: their probabilities are averaged before deciding. `choice`
    ('' without an answer that decides) and `prob_a` (NaN without) are the judge's preference. `measures` is what
    `routing.signals.measuring.measure_texts` says of each pair.
    """

    versions: tuple[JudgeVersion, ...]
    groups: pd.Series
    signals: pd.DataFrame
    choice: pd.Series
    prob_a: pd.Series
    measures: pd.DataFrame


def signal_frame(project: Project, judge: str) -> pd.DataFrame:
    """Return a row a pair (index `pair_id`, import order) and a column a signal about the judge of that name.

    `judge` is a name, with its protocol where one has several: "gpt-4 · pairwise three-way". Values are floats, NaN
    where not known; `routing.signals.wording.SIGNALS` describes the columns. Raises `RoutingError` for an unknown
    judge.
    """
    return read_judged(project, [find_version(project, judge)]).signals


def read_judged(project: Project, versions: Sequence[JudgeVersion]) -> Judged:
    """Return what the signals, plans and replays of a judge start from: one version, or several taken together.

    What was made before is read from its `SignalTable` as long as nothing it depends on changed; else it is made from
    the verdicts, and kept. Texts are measured once a pair.
    """
    measures = read_measures(project)
    ids = sorted(str(version.pk) for version in versions)
    key = key_of(versions)
    fingerprint = _fingerprint(project, measures)
    table = load_table(project, TableKind.SIGNALS, version=deriving.VERSION, key=key, fingerprint=fingerprint)
    if table is None:
        table = _derive(project, measures, ids)
        # Where something changed meanwhile, nobody can tell which of the two states was read.
        if _fingerprint(project, measures) == fingerprint:
            store_table(project, TableKind.SIGNALS, table, version=deriving.VERSION, key=key, fingerprint=fingerprint)
    # Parquet knows its own kind of text; the pairs are the same ones, in the same order.
    table = table.set_axis(measures.index)
    return Judged(
        versions=tuple(versions),
        groups=measures["group"],
        signals=table.drop(columns=[CHOICE, PROB_A]),
        choice=table[CHOICE].astype(object),
        prob_a=table[PROB_A],
        measures=measures,
    )


def key_of(versions: Sequence[JudgeVersion]) -> str:
    """Return the key of what is kept about versions taken together."""
    return _digest(*sorted(str(version.pk) for version in versions))


def read_measures(project: Project, *, keep: bool = True) -> pd.DataFrame:
    """Return the measures of a project's pairs (`measuring.measure_texts`); only new pairs' texts are read.

    Texts never change once they are stored, so a pair is measured once for each version of the measuring code. Two
    queries where nothing is new, and one for every 2,000 new pairs. Without `keep` nothing is written, for who reads in
    a transaction that may only read.
    """
    about = _about(project)
    kept = load_table(project, TableKind.MEASURES, version=measuring.VERSION)
    if kept is None:
        kept = pd.DataFrame(columns=list(measuring.MEASURES), index=about.index[:0])
    new = about.index.difference(kept.index, sort=False)
    measured = kept
    if len(new):
        rows = [(pair.pair_id, *measuring.measured(pair)) for pair in _texts(new)]
        frame = pd.DataFrame.from_records(rows, columns=["pair_id", *measuring.MEASURES]).set_index("pair_id")
        measured = pd.concat([kept, frame]) if len(kept) else frame
    measured = measured.reindex(about.index)
    if keep and (len(new) or len(kept) > len(about)):
        store_table(project, TableKind.MEASURES, measured, version=measuring.VERSION)
    return with_language(about.join(measured))


def read_similarity(project: Project, *, sample: Sample | None = None) -> "pd.Series[float]":
    """Return the `similarity` of each pair by its id: as kept, else from the texts, where none was measured yet.

    Nothing is written, so this may be called in a transaction that only reads; texts are read 2,000 pairs at a time.
    """
    pairs = Pair.objects.in_project(project).filter(in_sample(sample, "prompt")).values_list(id_text("id"))
    keys = pairs.iterator(chunk_size=ROWS_PER_FETCH)
    ids = pd.Index(spelled_ids(key for (key,) in keys), dtype=object)
    kept = load_table(
        project,
        TableKind.MEASURES,
        version=measuring.VERSION,
        columns=["similarity"],
        pair_ids=None if sample is None else list(ids),
    )
    known = pd.Series(float("nan"), index=ids) if kept is None else kept["similarity"].astype(float).reindex(ids)
    new = known.index[known.isna()]
    texts = _stored(new, "response_a__messages", "response_b__messages")
    # Both are in the order of ids.
    known[new] = np.fromiter((measuring.similarity(a, b) for _, a, b in texts), dtype=float, count=len(new))
    return known


def _derive(project: Project, measures: pd.DataFrame, ids: Sequence[str]) -> pd.DataFrame:
    """Return the signals about these versions with their answer beside them."""
    preferences = judge_preference_frame(project)
    learned = set(project.judges.filter(kind=JudgeKind.LEARNED).values_list("name", flat=True))
    signals = build_signals(measures, verdict_frame(project), preferences, ids, learned=learned)
    mine = preferences_together(preferences, ids).reindex(measures.index)
    prob_a = mine["prob_a"].astype(float)
    answer = pd.DataFrame({CHOICE: mine["choice"].fillna("").astype(object), PROB_A: prob_a}, index=measures.index)
    return pd.concat([signals, extra_signals(project, measures, prob_a), answer], axis=1)


def _about(project: Project) -> pd.DataFrame:
    """Return what the database says of each pair (`routing.signals.measuring.ABOUT`), in import order. One query."""
    rows = Pair.objects.in_project(project).values_list(
        id_text("id"),
        "prompt__group",
        "response_a__model",
        "response_b__model",
        id_text("response_a_id"),
        id_text("response_b_id"),
        "prompt__category",
        "prompt__language",
    )
    frame = pd.DataFrame.from_records(list(rows.iterator(chunk_size=ROWS_PER_FETCH)), columns=["pair_id", *ABOUT])
    for name in ("pair_id", "response_a_id", "response_b_id"):
        frame[name] = spelled_ids(frame[name])
    return frame.astype(object).set_index("pair_id")


def _texts(pair_ids: pd.Index) -> Iterator[PairTexts]:
    rows = _stored(pair_ids, "prompt__messages", "response_a__messages", "response_b__messages")
    for pair_id, prompt, response_a, response_b in rows:
        yield PairTexts(str(pair_id), "", prompt, "", response_a, response_b, "", "")


def _stored(pair_ids: pd.Index, *fields: str) -> Iterator[tuple[Any, ...]]:
    """Yield the id and these fields of each pair, in the order of ids; one query for every 2,000."""
    for start in range(0, len(pair_ids), ROWS_PER_FETCH):
        ids = [UUID(pair_id) for pair_id in pair_ids[start : start + ROWS_PER_FETCH]]
        yield from Pair.objects.filter(pk__in=ids).order_by("id").values_list("id", *fields)


def _fingerprint(project: Project, measures: pd.DataFrame) -> str:
    """Return a hash of all that the signals are made of.

    Pairs by their rows; verdicts and preferences of judges by counts and sums, since a verdict that was answered stays
    as it is and a changed preference is a new row. Three queries, and those of `settings_key`.
    """
    versions = JudgeVersion.objects.filter(judge__project=project).order_by("pk")
    known = list(versions.values_list("pk", "judge__name", "judge__kind", "rater_id"))
    verdicts = (
        Verdict.objects.answered()
        .filter(version__in=[row[0] for row in known])
        .values("version_id", "order", "choice")
        .annotate(
            n=Count("id"),
            last=Max("finished_at"),
            prob_a=Sum("prob_a"),
            score_a=Sum("score_a"),
            score_b=Sum("score_b"),
            mass=Sum("label_mass"),
        )
        .order_by("version_id", "order", "choice")
    )
    preferences = (
        Preference.objects.filter(rater__in=[row[3] for row in known], criterion__isnull=True)
        .values("rater_id", "choice", "is_current", "is_extra")
        .annotate(n=Count("id"), last=Max("created_at"), prob_a=Sum("prob_a"))
        .order_by("rater_id", "choice", "is_current", "is_extra")
    )
    pairs = pd.util.hash_pandas_object(measures[list(ABOUT)]).to_numpy().tobytes()
    rows = [*known, *(tuple(row.values()) for row in verdicts), *(tuple(row.values()) for row in preferences)]
    return _digest(
        hashlib.sha256(pairs).hexdigest(), measuring.VERSION, settings_key(project), *(_said(row) for row in rows)
    )


def _said(row: Sequence[Any]) -> str:
    # A database may add floats up in another order each time: the last digits are no change.
    return "|".join(f"{value:.12g}" if isinstance(value, float) else str(value) for value in row)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
