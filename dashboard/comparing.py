"""Judges side by side: the rows of the comparison, what they are held against, and how versions differ."""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import pandas as pd

from annotation.aggregating import vote_frame
from annotation.agreeing import SIDE_OF
from annotation.models import Project
from annotation.models.pairs import content_hash
from dashboard.judge_forms import AGGREGATION_NAMES, RATIONALE_NAMES, RULE_NAMES, SCORING_NAMES, TITLES
from dashboard.remembering import data_version, remembered, report
from judges.auditing.replacing import alt_test
from judges.frames import judge_preference_frame
from judges.gating import gate_of
from judges.models import JudgeKind, JudgeVersion, Verdict
from judges.options import Options, read_options

# With fewer pairs in common two judges' agreement moves by more than ten points with one pair.
LEAST_IN_COMMON = 10
# More judges than this make a table nobody reads.
MOST_IN_MATRIX = 12
DECIDED = ("a", "b", "tie", "both_bad")


class Column(NamedTuple):
    """A column of the comparison: the card's field, its heading, what it says, and how it is written."""

    key: str
    title: str
    help: str
    kind: str


COLUMNS = (
    Column("preference_two_way", "Agrees with people", "where both take a side", "share"),
    Column("kappa", "κ", "agreement beyond chance, ties counted; 0 is chance, 1 is complete", "number"),
    Column("first_shown", "Picks first shown", "50 % is no bias", "share"),
    Column("flips", "Flips", "pairs whose side changes with the order", "share"),
    Column("longer_preferred", "Prefers longer", "of pairs with two lengths", "share"),
    Column("preference_ties", "Ties", "of its pairs", "share"),
    Column("failed", "Failed", "of its questions", "share"),
    Column("cost_per_1000", "1,000 pairs", "US dollars, over the pairs of known cost", "usd"),
    Column("seconds_p50", "Time a call", "median; 95 of 100 calls are faster than the second figure", "seconds"),
    Column("alt_test", "Stands in for a person", "alternative-annotator test", "test"),
)


class Reference(NamedTuple):
    """What judges are held against: a name, a note, and figures by the column's key."""

    name: str
    note: str
    figures: Mapping[str, Any]


class Matrix(NamedTuple):
    """How often each two judges agree on the pairs both decided: a row a judge, a cell (share or None, n)."""

    names: list[str]
    rows: list[tuple[str, list[tuple[float | None, int] | None]]]


def newest(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of each judge's newest version."""
    latest: dict[str, int] = {}
    for row in rows:
        latest[row["judge"]] = max(latest.get(row["judge"], 0), row["version"])
    return [row for row in rows if row["version"] == latest[row["judge"]]]


def ordered(rows: Sequence[dict[str, Any]], key: str, *, falling: bool = False) -> list[dict[str, Any]]:
    """Return the rows by a column; those without a value come last either way. Unknown columns change nothing."""
    if key not in {column.key for column in COLUMNS}:
        return list(rows)
    known = [row for row in rows if _value(row, key) is not None]
    rest = [row for row in rows if _value(row, key) is None]
    return sorted(known, key=lambda row: float(_value(row, key) or 0.0), reverse=falling) + rest


def references(project: Project, rows: Sequence[dict[str, Any]]) -> list[Reference]:
    """Return people among themselves, and the length rule where it is no judge of the project itself."""
    people = report(project, "agreement")["people"]
    found = [
        Reference(
            "People among themselves",
            f"{people['n_pairs']:,} pairs that two or more people answered",
            {"preference_two_way": people["two_way"], "kappa": people["alpha"], "preference_ties": people["ties"]},
        )
    ]
    if all(row["kind"] != JudgeKind.LENGTH for row in rows):
        widest = max(rows, key=lambda row: int(row["length_rule"]["n"]), default=None)
        if widest is not None and widest["length_rule"]["n"]:
            note = f"the longer response, on the pairs of {widest['judge']}"
            found.append(Reference("Length rule", note, {"preference_two_way": widest["length_rule"]}))
    return found


def agreement_matrix(project: Project, rows: Sequence[dict[str, Any]]) -> Matrix | None:
    """Return how often the judges of these rows agree with each other; None for fewer than two that have answered."""
    wanted = [row for row in rows if row["n_pairs"]][:MOST_IN_MATRIX]
    if len(wanted) < 2:
        return None
    ids = [row["version_id"] for row in wanted]
    key = f"matrix:{data_version(project)}:{content_hash(ids)}"
    shares = remembered(key, lambda: _shares(project, ids))
    names = [f"{row['judge']} v{row['version']}" for row in wanted]
    cells = [
        (name, [None if one == other else shares[frozenset((one, other))] for other in ids])
        for name, one in zip(names, ids, strict=True)
    ]
    return Matrix(names, cells)


def with_tests(project: Project, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the 95th percentile of a call's seconds and the alternative-annotator test of each.

    The test allows what the judge's own thresholds allow. Kept for as long as the data are the same.
    """
    ids = [row["version_id"] for row in rows]
    key = f"tests:{data_version(project)}:{'-'.join(ids)}"
    found = remembered(key, lambda: _tests(project, ids))
    return [{**row, **found[row["version_id"]]} for row in rows]


# --- Versions -------------------------------------------------------------------------------------------------------

OPTION_NAMES = {
    "tie": "Tie offered",
    "criteria": "Criteria",
    "samples": "Calls an order",
    "scale": "Best score",
    "scoring": "Scores become one by",
    "aggregation": "Orders become one by",
    "tie_band": "Tie band",
    "rationale": "Reasons",
    "examples": "Worked examples",
    "rule": "Members decide by",
    "members": "Members",
    "weights": "Weights",
    "unsure_below": "Unsure below",
}
# How the form of a new judge calls the values of an option.
WORDS_OF: dict[str, dict[str, str]] = {
    "rationale": {value: title.lower() for value, title in RATIONALE_NAMES},
    "scoring": {value: title.lower() for value, title in SCORING_NAMES},
    "aggregation": {value: title.lower() for value, title in AGGREGATION_NAMES},
    "rule": {value: title.lower() for value, title in RULE_NAMES},
}
SAMPLING_NAMES = {
    "max_tokens": "Longest answer, tokens",
    "temperature": "Temperature",
    "top_p": "Top p",
    "seed": "Seed",
    "reasoning_effort": "Reasoning effort",
    "dtype": "Arithmetic",
}
PROTOCOL_NAMES = {
    "pairwise": "reason first",
    "letter": "verdict first",
    "rating": "rating",
    "decisions": "decisions",
    "reward": "reward score",
}


def facts_of(version: JudgeVersion) -> list[tuple[str, str]]:
    """Return what makes a version, as names and values for a person; prompt and prices are shown apart."""
    facts = [("Kind", TITLES.get(version.judge.kind, version.judge.get_kind_display()))]
    facts += [("Server", version.base_url)] if version.base_url else []
    facts += [("Model", version.model)] if version.model else []
    facts += [("Files", version.files_hash[:12])] if version.files_hash else []
    if version.protocol != version.judge.kind:
        facts.append(("Asked", PROTOCOL_NAMES.get(version.protocol, version.protocol)))
    facts += [(SAMPLING_NAMES.get(name, name), str(value)) for name, value in sorted(version.sampling.items())]
    members = _names_of(version)
    chosen = read_options(version.options)
    for name, value in chosen._asdict().items():
        if value != getattr(Options(), name):
            facts.append((OPTION_NAMES.get(name, name), _in_words(name, value, members)))
    return facts


def changes_between(before: JudgeVersion | None, after: JudgeVersion) -> list[str]:
    """Return what changed from one version to the next, a sentence part each; nothing for the first."""
    if before is None:
        return []
    old, new = dict(facts_of(before)), dict(facts_of(after))
    changes = [
        f"{name}: {old.get(name, 'default')} → {new.get(name, 'default')}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
    if before.prompt_template != after.prompt_template:
        changes.append("the instructions (guidelines, criteria or wording)")
    if before.fitted != after.fitted:
        changes.append("the labels it was fitted to")
    return changes or ["how prompts are laid out"]


def _names_of(version: JudgeVersion) -> dict[str, str]:
    ids = version.options.get("members", [])
    if not ids:
        return {}
    members = JudgeVersion.objects.filter(pk__in=ids).select_related("judge")
    return {str(member.pk): str(member) for member in members}


def _in_words(name: str, value: Any, members: Mapping[str, str]) -> str:
    if name == "members":
        return ", ".join(members.get(str(member), "a judge that is gone") for member in value)
    if name == "weights":
        return ", ".join(f"{members.get(str(key), key)} {weight:.2f}" for key, weight in value.items())
    if name == "examples":
        return f"{len(value)}"
    if name in WORDS_OF:
        return WORDS_OF[name].get(value, str(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return ", ".join(str(one) for one in value)
    return json.dumps(value) if isinstance(value, dict) else str(value)


# --- Parts ----------------------------------------------------------------------------------------------------------


def _value(row: Mapping[str, Any], key: str) -> float | None:
    found = row.get(key)
    if isinstance(found, Mapping):
        found = found.get("value", found.get("winning_rate"))
    return None if found is None else float(found)


def _tests(project: Project, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    versions = list(JudgeVersion.objects.filter(pk__in=ids).select_related("judge"))
    votes = vote_frame(project)
    answers = judge_preference_frame(project, versions)
    answers = answers.assign(side=answers["choice"].map(SIDE_OF))
    times = Verdict.objects.filter(version__in=versions, seconds__isnull=False, from_cache=False)
    frame = pd.DataFrame.from_records(list(times.values_list("version_id", "seconds")), columns=["version", "seconds"])
    slowest = frame.astype({"version": str, "seconds": float}).groupby("version")["seconds"].quantile(0.95).to_dict()
    return {
        str(version.pk): {
            "seconds_p95": slowest.get(str(version.pk)),
            "alt_test": alt_test(
                answers[answers["version_id"] == str(version.pk)], votes, gate_of(version.judge).alt_test_epsilon
            ).as_dict(),
        }
        for version in versions
    }


def _shares(project: Project, ids: Sequence[str]) -> dict[frozenset[str], tuple[float | None, int]]:
    versions = JudgeVersion.objects.filter(pk__in=ids)
    frame = judge_preference_frame(project, versions)
    choices = frame[frame["choice"].isin(DECIDED)].pivot(index="pair_id", columns="version_id", values="choice")
    choices = choices.reindex(columns=list(ids)).replace("both_bad", "tie")
    found: dict[frozenset[str], tuple[float | None, int]] = {}
    for one, other in combinations(ids, 2):
        both = choices[[one, other]].dropna()
        n = len(both)
        share = float((both[one] == both[other]).mean()) if n >= LEAST_IN_COMMON else None
        found[frozenset((one, other))] = (share, n)
    return found
