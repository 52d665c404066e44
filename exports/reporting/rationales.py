"""Reasons: how many answers have one, whose they are, whether they argue for the label, and whether they cite truly."""

from collections import Counter
from typing import Any, NamedTuple

import pandas as pd

from annotation.agreeing import SIDE_OF, Figure, share
from annotation.models import Preference, Project, RaterKind
from annotation.models.pairs import joined_text
from exports.labelling import label_frame
from exports.quoting import cited_side, occurs, quotes_of
from exports.reporting.stating import stated
from judges.auditing.figures import mean_of
from judges.models import RULES, JudgeVersion

ROWS_PER_FETCH = 1000
COLUMNS = ("writer", "name", "group", "origin", "timing", "characters", "agrees")

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


def rationales_report(project: Project) -> dict[str, Any]:
    """Return what is known of reasons: of `people`, and of `judges` together and one by one.

    For each: how many answers have one, how many argue for the label, their length, when they were written, and whether
    the passages they mark (`spans_verbatim`) or quote (`quotes_verbatim`) stand there word for word. Rules give no
    reasons of their own and are left out. One walk over the answers with reasons.
    """
    seed = project.seed
    answers, cited = _read(project)
    rows = [
        {"writer": writer, **_about(answers[mask], cited[cited["writer"].isin(writers)], seed)}
        for writer, mask, writers in _writers(answers)
    ]
    return stated({"writers": rows, "simulated": int((answers["origin"] == "simulated").sum())}, SENTENCES)


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


def _read(project: Project) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a row an answer, and a row a cited passage. Three queries."""
    labels = label_frame(project)
    label_of = dict(zip(labels["pair_id"], labels["choice"].map(SIDE_OF), strict=True))
    versions = JudgeVersion.objects.filter(judge__project=project).select_related("judge")
    judges = {version.rater_id: version.judge.name for version in versions if version.judge.kind not in RULES}
    answers = Preference.objects.counted().filter(pair__project=project).order_by("id")
    rows: list[tuple[Any, ...]] = []
    fields = ("pair_id", "rater_id", "rater__kind", "rater__origin", "pair__prompt__group", "choice")
    for pair, rater, kind, origin, group, choice, timing, why in answers.values_list(
        *fields, "rationale_timing", "rationale"
    ).iterator(chunk_size=ROWS_PER_FETCH):
        if kind == RaterKind.JUDGE and rater not in judges:
            continue
        side, label = SIDE_OF.get(choice), label_of.get(str(pair))
        agrees = float(side == label) if side and isinstance(label, str) else float("nan")
        name = judges.get(rater, RaterKind.PERSON.value) if kind == RaterKind.JUDGE else RaterKind.PERSON.value
        rows.append((kind, name, group, origin, timing, len(why.strip()), agrees))
    frame = pd.DataFrame.from_records(rows, columns=list(COLUMNS))
    frame[list(COLUMNS[:5])] = frame[list(COLUMNS[:5])].astype(object)
    cited = pd.DataFrame(_citations(project, judges), columns=list(_Cited._fields))
    return frame, cited


def _citations(project: Project, judges: dict[Any, str]) -> list[_Cited]:
    explained = Preference.objects.counted().filter(pair__project=project).exclude(rationale="", rationale_spans=[])
    fields = (
        "rater_id",
        "rater__kind",
        "pair__prompt__group",
        "rationale",
        "rationale_spans",
        "pair__prompt__messages",
        "pair__prompt__context",
        "pair__response_a__messages",
        "pair__response_b__messages",
    )
    found = []
    for rater, kind, group, why, spans, prompt, context, *sides in (
        explained.order_by("id").values_list(*fields).iterator(chunk_size=ROWS_PER_FETCH)
    ):
        if kind == RaterKind.JUDGE and rater not in judges:
            continue
        writer = judges[rater] if kind == RaterKind.JUDGE else RaterKind.PERSON.value
        a, b = (joined_text(messages) for messages in sides)
        marked = [cited_side(span, a, b) for span in spans]
        found += [_Cited(writer, "span", there, group) for there in marked if there is not None]
        quotes = quotes_of(why)
        asked = joined_text(prompt) if quotes else ""
        found += [_Cited(writer, "quote", occurs(quote, a, b, asked, context), group) for quote in quotes]
    return found
