"""What a report says first, in sentences, and every figure of it as a row: for pages and an export's card."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from exports.reporting.stating import SENTENCE, is_figure

# What tells one entry of a list from the next, in the order in which it is said.
NAMES = (
    "criterion",
    "judge",
    "protocol",
    "version",
    "writer",
    "model",
    "labels",
    "by",
    "name",
    "type",
    "person",
    "plan",
    "gap",
    "against",
    "scores",
    "comparison",
    "ratings",
    "rankings",
    "period",
)
# Numbers and steps say nothing without their name.
NUMBERED = ("type", "version", "gap")
# A list of sentences longer than this is not read; the rows below have them all.
MOST_TOLD = 8
MOST_REASONS = 3
NOTHING_YET = "No figure: nothing that this report counts is there yet."
# Lists whose entries need to be told from those of another.
LISTS = {"people": "each alone", "between": "one against another"}

# The figures of each report that are told first, by their path; `*` stands for every entry of a list.
TOLD = {
    "agreement": ("people.three_way", "people.two_way", "people.alpha", "people.ac1", "judges.*.two_way"),
    "noise": ("votes.flip_rate", "labels.human_labels", "labels.ai_labels", "ensemble.suspected", "ensemble.ambiguous"),
    "consistency": (
        "people.*.inconsistency",
        "people.*.contradiction",
        "between.*.contradiction",
        "judges.*.inconsistency",
        "judges.*.contradiction",
        "retest.three_way",
        "transitivity.consensus.violated_3",
        "transitivity.within_people.violated_3",
    ),
    "judges": ("judges.*.preference_two_way", "judges.*.first_shown", "judges.*.flips"),
    "routing": ("agreement.judge", "agreement.labels", "agreement.naive", "gain.gain", "gain", "agreement"),
    "disagreement": (
        "test",
        "types.*.within",
        "types.*.with_others",
        "labels.mean",
        "labels.lowest_fifth",
        "labels.gini",
        "groups.*.worst_followed",
    ),
    "data": (
        "length_bias.*.longer_chosen",
        "similarity.alike",
        "provenance.ai_only",
        "provenance.simulated",
        "provenance.model_stated",
        "coverage.covered",
    ),
    "rationales": ("writers.*.with_one", "writers.*.agrees_with_label", "writers.*.quotes_verbatim"),
}


class Told(NamedTuple):
    """One figure: of what it is, its report's value, and its sentence."""

    of: str
    figure: Mapping[str, Any]
    sentence: str


def told(name: str, report: Mapping[str, Any]) -> tuple[list[Told], int]:
    """Return the first sentences of a report and how many more there are; figures without a value come last."""
    found = [one for path in TOLD[name] for one in _at(report, path.split("."), "")]
    known = [one for one in found if one.figure.get("value", 0) is not None]
    missing = [one for one in found if one.figure.get("value", 0) is None]
    if known:
        return known[:MOST_TOLD], max(0, len(known) - MOST_TOLD)
    # Nothing has a value: each reason once.
    reasons = list({one.sentence: one for one in missing}.values())[:MOST_REASONS]
    return reasons or [Told("", {}, NOTHING_YET)], 0


def rows_of(report: Mapping[str, Any]) -> list[Told]:
    """Return every figure of a report as a row, named by where it stands."""
    return list(_walk(report, ""))


def _at(value: Any, path: list[str], of: str) -> Iterator[Told]:
    if not path:
        if isinstance(value, Mapping) and value.get(SENTENCE):
            yield Told(of, value if is_figure(value) else {}, value[SENTENCE])
        return
    name, rest = path[0], path[1:]
    if name == "*" and isinstance(value, list):
        for entry in value:
            yield from _at(entry, rest, _joined(of, entry_name(entry)))
    elif isinstance(value, Mapping) and name in value and rest[:1] == ["*"] and name in LISTS:
        yield from _at(value[name], rest, _joined(of, LISTS[name]))
    elif isinstance(value, Mapping) and name in value:
        yield from _at(value[name], rest, of)


def _walk(value: Any, of: str) -> Iterator[Told]:
    if is_figure(value):
        yield Told(of, value, value.get(SENTENCE, ""))
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _walk(part, _joined(of, name.replace("_", " ")))
    elif isinstance(value, list):
        for entry in value:
            yield from _walk(entry, _joined(of, entry_name(entry)))


def entry_name(entry: Any) -> str:
    """Return what tells an entry of a list from the others."""
    if not isinstance(entry, Mapping):
        return ""
    said = [name for name in NAMES if _names(entry, name)]
    return " ".join(f"{name} {entry[name]}" if name in NUMBERED else str(entry[name]) for name in said)


def _names(entry: Mapping[str, Any], name: str) -> bool:
    return isinstance(entry.get(name), str | int) and entry[name] != ""


def _joined(of: str, name: str) -> str:
    return f"{of}, {name}" if of and name else of or name
