"""Reasons: how many answers have one, whose they are, whether they argue for the label, and whether they cite truly."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import pandas as pd
from django.db.models import Q, QuerySet

from annotation.aggregating.framing import read_frame
from annotation.agreeing import SIDE_OF, Figure, share
from annotation.ids import id_text, spelled_ids
from annotation.models import Origin, Preference, Project, RaterKind
from annotation.models.pairs import joined_text
from annotation.sampling import Sample, in_sample
from exports.labelling import label_frame
from exports.quoting import cited_side, occurs, quotes_of
from exports.reporting.stating import stated
from judges.auditing.figures import mean_of
from judges.models import RULES, JudgeVersion

ROWS_PER_FETCH = 1000

SENTENCES = {
    "with_one": "A reason comes with {share} of {n} answers.",
    "agrees_with_label": "The reason's writer chose what became the label in {share} of {n} reasons on labelled pairs.",
    "characters": "A reason has {amount} characters on average, over {n} reasons.",
    "spans_verbatim": "Of {n} marked passages, {share} stand word for word in the response they name.",
    "quotes_verbatim": "Of {n} quoted passages in reasons, {share} stand word for word in a response or the prompt.",
}


class _Cited(NamedTuple):
    """Whether a cited passage stands in its text, and the prompt group it is of."""

    writer: str
    kind: str
    there: bool
    group: str


class _Citing(NamedTuple):
    """A reason that cites: the answer's key, and the passages that it marks and quotes."""

    key: UUID
    writer: str
    spans: list[dict[str, Any]]
    quotes: list[str]


def rationales_report(project: Project, *, sample: Sample | None = None) -> dict[str, Any]:
    """Return what is known of reasons: of `people`, and of `judges` together and one by one.

    For each: how many answers have one, how many argue for the label, their length, when they were written, and whether
    the passages they mark (`spans_verbatim`) or quote (`quotes_verbatim`) stand there word for word. Rules give no
    reasons of their own and are left out. One walk over the answers, and one over the texts that reasons cite.
    """
    seed = project.seed
    versions = JudgeVersion.objects.filter(judge__project=project).exclude(judge__kind__in=RULES)
    judges = {str(rater): name for rater, name in versions.values_list("rater_id", "judge__name")}
    given = Preference.objects.counted().filter(pair__project=project)
    given = given.filter(Q(rater__kind=RaterKind.PERSON) | Q(rater__in=judges))
    simulated = given.filter(rater__origin=Origin.SIMULATED).count()
    given = given.filter(in_sample(sample, "pair__prompt"))
    answers, cited = _answers(given, label_frame(project, sample=sample), judges), _citations(given, judges)
    rows = [
        {"writer": writer, **_about(answers[mask], cited[cited["writer"].isin(writers)], seed)}
        for writer, mask, writers in _writers(answers)
    ]
    return stated({"writers": rows, "simulated": simulated}, SENTENCES)


def _writers(answers: pd.DataFrame) -> list[tuple[str, "pd.Series[bool]", list[str]]]:
    of_people = answers["writer"] == RaterKind.PERSON
    found = [("people", of_people, [RaterKind.PERSON.value])]
    names = sorted(answers.loc[~of_people, "name"].unique())
    if names:
        found.append(("all judges", ~of_people, names))
    return found + [(name, (~of_people) & (answers["name"] == name), [name]) for name in names if len(names) > 1]


def _about(answers: pd.DataFrame, cited: pd.DataFrame, seed: int) -> dict[str, Any]:
    has = answers["characters"] > 0
    reasons = answers[has]
    spans, quotes = cited[cited["kind"] == "span"], cited[cited["kind"] == "quote"]
    found: dict[str, Figure] = {
        "with_one": share(has, answers["group"], what="answers", seed=seed),
        "agrees_with_label": share(reasons["agrees"], reasons["group"], what="reasons on labelled pairs", seed=seed),
        "characters": mean_of(reasons["characters"].astype(float), reasons["group"], seed, what="reasons"),
        "spans_verbatim": share(spans["there"].astype(float), spans["group"], what="marked passages", seed=seed),
        "quotes_verbatim": share(quotes["there"].astype(float), quotes["group"], what="quoted passages", seed=seed),
    }
    return {
        **{name: figure.as_dict() for name, figure in found.items()},
        "origins": dict(sorted(Counter(reasons["origin"]).items())),
        "timing": dict(sorted(Counter(reasons["timing"].replace("", "not known")).items())),
    }


def _answers(given: QuerySet[Preference], labels: pd.DataFrame, judges: Mapping[str, str]) -> pd.DataFrame:
    """Return a row an answer. One query."""
    label_of = dict(zip(labels["pair_id"], labels["choice"].map(SIDE_OF), strict=True))
    fields = ("rater__kind", "rater__origin", "pair__prompt__group", "choice", "rationale_timing", "rationale")
    found = given.order_by("id").values_list(id_text("pair_id"), id_text("rater_id"), *fields)
    frame = read_frame(
        _measured(found.iterator(chunk_size=ROWS_PER_FETCH)),
        ["pair_id", "rater_id", "writer", "origin", "group", "choice", "timing", "characters"],
        ids=("pair_id", "rater_id"),
        numbers=("characters",),
    )
    side, label = frame.pop("choice").map(SIDE_OF), frame.pop("pair_id").map(label_of)
    frame["agrees"] = (side == label).astype(float).where(side.notna() & label.notna())
    names = [judges.get(rater, RaterKind.PERSON.value) for rater in frame.pop("rater_id")]
    frame["name"] = pd.Series(names, dtype=object)
    return frame


def _measured(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield rows with the length of the reason, their last value, in its place."""
    for *row, why in rows:
        yield *row, len(why.strip())


def _citations(given: QuerySet[Preference], judges: Mapping[str, str]) -> pd.DataFrame:
    """Return a row a cited passage. One query for the reasons, and one for every 1,000 of them that cite something."""
    explained = given.exclude(rationale="", rationale_spans=[]).order_by("id")
    fields = ("id", "rater__kind", id_text("rater_id"), "rationale_spans", "rationale")
    citing = _citing(explained.values_list(*fields).iterator(chunk_size=ROWS_PER_FETCH), judges)
    texts = given.values_list(
        "id",
        "pair__prompt__group",
        "pair__prompt__messages",
        "pair__prompt__context",
        "pair__response_a__messages",
        "pair__response_b__messages",
    )
    found: list[_Cited] = []
    while batch := {reason.key: reason for reason in islice(citing, ROWS_PER_FETCH)}:
        for key, group, prompt, context, *sides in texts.filter(id__in=batch).order_by("id"):
            reason = batch[key]
            a, b = (joined_text(messages) for messages in sides)
            marked = [cited_side(span, a, b) for span in reason.spans]
            found += [_Cited(reason.writer, "span", there, group) for there in marked if there is not None]
            asked = joined_text(prompt)
            found += [
                _Cited(reason.writer, "quote", occurs(quote, a, b, asked, context), group) for quote in reason.quotes
            ]
    return pd.DataFrame(found, columns=list(_Cited._fields))


def _citing(rows: Iterable[tuple[Any, ...]], judges: Mapping[str, str]) -> Iterator[_Citing]:
    """Yield the reasons that mark or quote a passage."""
    for key, kind, rater, spans, why in rows:
        quotes = quotes_of(why)
        if spans or quotes:
            writer = judges[spelled_ids([rater])[0]] if kind == RaterKind.JUDGE else RaterKind.PERSON.value
            yield _Citing(key, writer, spans, quotes)
