"""The dataset card: README.md, whose YAML head `datasets` reads and whose body a person reads.

Every number in it is a number of report.json, which lies beside it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from annotation.models import Project
from exports.disclosing import (
    LIMITATIONS,
    MAINTENANCE,
    USES,
    Disclosure,
    all_licences,
    demographics,
    licences_of,
    personal_data,
)
from exports.languages import languages_of
from exports.leaving_out import LEFT_OUT_IN_WORDS, LeftOut
from exports.licensing import shown_on_hub
from exports.profiles import PROFILES
from exports.profiles.columns import Column
from exports.reporting.telling import told
from exports.settings import UNKNOWN_LICENCE
from exports.writing import WrittenFile, hash_files

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
PERCENT = 100
TERMS_IN_WORDS = {"free": "others may train on its outputs", "restricted": "others may not train on its outputs"}
TITLES = {
    "noise": "Noise",
    "disagreement": "Disagreement",
    "data": "Data",
    "rationales": "Reasons",
}
Columns = Mapping[str, Sequence[Column]]


def write_card(
    path: Path, project: Project, columns: Columns, files: Sequence[WrittenFile], disclosure: Disclosure
) -> None:
    """Write README.md for the data files of an export; `columns` are those of each profile. One query."""
    head = card_head(project, columns, files, disclosure.report)
    body = card_body(project, columns, disclosure, hash_files(files))
    path.write_text(f"---\n{to_yaml(head)}---\n\n{body}", encoding="utf-8", newline="\n")


def card_head(
    project: Project, columns: Columns, files: Sequence[WrittenFile], report: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the YAML head: what `datasets` needs to load the folder, and what the Hub shows."""
    profiles = list(columns)
    first = report["counts"]["profiles"][profiles[0]]
    tables = [name for name in profiles if PROFILES[name].document_head is None]
    head: dict[str, Any] = {
        "pretty_name": one_line(project.title),
        **shown_on_hub(all_licences(report["counts"])),
        "language": languages_of(project),
        "size_categories": [next((name for limit, name in SIZES if first["rows"] < limit), "n>1M")],
        "task_categories": ["text-generation"],
        "tags": ["preference", "dpo", "rlhf", "human-feedback", "ai-feedback"],
        "annotations_creators": _annotations_creators(report, profiles),
        "configs": [
            {"config_name": name, "default": name == tables[0], "data_files": _data_files(name, files)}
            for name in tables
        ],
    }
    if not any(file.path.endswith(".parquet") for file in files):
        # JSON lines leave the type of a column of nulls open; Parquet says it in a tenth of the time.
        head["dataset_info"] = [
            {"config_name": name, "features": [column.feature() for column in columns[name]]} for name in tables
        ]
    return head


def _data_files(profile: str, files: Sequence[WrittenFile]) -> list[dict[str, Any]]:
    """Return the files of each split: Parquet where it was written, since it keeps the types."""
    mine = [file.path for file in files if file.path.startswith(f"{profile}/")]
    chosen = [path for path in mine if path.endswith(".parquet")] or mine
    splits = [
        (split, [path for path in chosen if path.startswith(f"{profile}/{split}")]) for split in ("train", "test")
    ]
    return [{"split": split, "path": paths} for split, paths in splits if paths]


def _annotations_creators(report: Mapping[str, Any], profiles: Sequence[str]) -> list[str]:
    sources = report["counts"]["profiles"][profiles[0]]["label_sources"]
    people = report["agreement"]["votes_by_origin"]
    by_people = {"human", "adjudicated"} & set(sources) and {"live", "recorded"} & set(people)
    machine = "ai" in sources or "simulated" in people
    return [*(["crowdsourced"] if by_people else []), *(["machine-generated"] if machine else [])]


def card_body(project: Project, columns: Columns, disclosure: Disclosure, data_hash: str) -> str:
    """Return the Markdown below the head; `data_hash` is the hash over the data files, for the citation."""
    profiles, report = list(columns), disclosure.report
    sections = [
        _intro(project, report),
        *(_contents(name, report["counts"]["profiles"][name], report) for name in profiles),
        _collection(disclosure),
        _judges(report),
        _routing(report),
        _agreement(report),
        _consistency(report),
        *_reports(report),
        "## Limitations\n\n" + _listed(LIMITATIONS),
        "## Uses\n\n" + _listed(USES),
        "## Licences and terms\n\n" + _listed(_licences(report)),
        "## Personal data\n\n" + _listed([*personal_data(report), *demographics(report)]),
        f"## Maintenance\n\n{MAINTENANCE}",
        f"## Citation\n\n```bibtex\n{disclosure.citation(data_hash)}\n```",
        *(_columns(name, mine) for name, mine in columns.items()),
    ]
    return "\n\n".join(sections) + "\n"


def _intro(project: Project, report: Mapping[str, Any]) -> str:
    votes = report["agreement"]["votes_by_origin"]
    lines = [
        f"# {escape(project.title)}",
        "Preference pairs collected with Tiebreak: judges label pairs of responses, a router decides which of them "
        "people answer, and every row says where its label came from.",
    ]
    if simulated := votes.get("simulated"):
        total = sum(votes.values())
        lines.append(
            f"**{simulated / total:.0%} of the people's answers in this project ({simulated:,} of {total:,}) were "
            "given by simulated people, not by human beings.** They are marked `simulated` in `annotator_origins`."
        )
    if "sample" in report:
        lines.append(
            f"**Figures on this page: {report['sample']['sentence']}** Rows, labels and how many answers there are "
            "count the whole project."
        )
    lines.append("`report.json` holds every number of this page and more; `manifest.json` the hashes of all files.")
    return "\n\n".join(lines)


def _contents(name: str, counts: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    splits = ", ".join(f"{n:,} {split}" for split, n in counts["splits"].items())
    settings = report["settings"]
    rows = [
        ("rows", f"{counts['rows']:,} ({splits}) of {report['counts']['pairs']:,} pairs"),
        ("labels by", _tally(counts["label_sources"])),
        ("rationales by", _tally(counts["rationale_sources"])),
        ("rationales that argue for another answer than the label, left out", f"{counts['opposing_rationales']:,}"),
        ("rows that repeat the content of another", f"{counts['repeated_content']:,}"),
        ("contents that occur with both answers", f"{counts['contradicting_content']:,}"),
    ]
    left_out = [
        (f"`{reason}`", LEFT_OUT_IN_WORDS[LeftOut(reason)], f"{n:,}") for reason, n in counts["left_out"].items()
    ]
    parts = [
        f"## Contents: `{name}`",
        f"For {PROFILES[name].title}. `schemas/{name}.json` is the JSON schema of its rows.",
        _table(("", ""), rows),
        f"Settings: {', '.join(f'{key} {json.dumps(value)}' for key, value in sorted(settings.items()))}. "
        "Pairs that share a prompt or nearly all of one, a prompt group, or a response of 40 characters or more are on "
        "the same side of the split.",
        "### Left out",
        _table(("reason", "meaning", "pairs"), left_out) if left_out else "No pair was left out.",
    ]
    return "\n\n".join(parts)


def _collection(disclosure: Disclosure) -> str:
    rows = [(origin, f"{n:,}", meaning) for origin, n, meaning in disclosure.origins()]
    parts = [
        "## How it was collected",
        _listed(disclosure._replace(criteria=[*map(escape, disclosure.criteria)]).protocol()),
        _table(("people's answers", "number", "meaning"), rows) if rows else "No person has answered yet.",
    ]
    if disclosure.guidelines.strip():
        quoted = "\n".join(f"> {line}".rstrip() for line in disclosure.guidelines.strip().splitlines())
        parts += ["Guidelines the people had:", quoted]
    return "\n\n".join(parts)


def _judges(report: Mapping[str, Any]) -> str:
    if not report["judges"]:
        return "## Judges\n\nNo judge has labelled pairs."
    rows = [
        (
            escape(judge["judge"]),
            str(judge["version"]),
            judge["kind"],
            escape(judge["protocol"]),
            f"`{judge['prompt_hash'][:16]}`" if judge["prompt_hash"] else "not known",
            _figure(judge["preference_two_way"])[0],
            _figure(judge["first_shown"])[0],
            "yes" if judge["trusted"] else escape("; ".join(judge["reasons"])),
        )
        for judge in report["judges"]
    ]
    head = (
        "judge",
        "version",
        "kind",
        "protocol",
        "hash of its prompt",
        "agrees with people where both decide",
        "picks the first shown",
        "may label alone",
    )
    return (
        f"## Judges\n\n{_table(head, rows)}\n\n`report.json` holds each judge's card and audit, with the interval of "
        "every number and the smallest effect that its sample could have shown."
    )


def _routing(report: Mapping[str, Any]) -> str:
    routing = report["routing"]
    if not routing["plans"]:
        return "## Routing\n\nNo plan was applied: nobody chose which pairs people answer."
    rows = [
        (
            plan["plan"],
            f"{plan['budget_kind']} {plan['budget_value']}",
            f"{plan['audit_share']:.0%}",
            plan["predictor_kind"],
            escape(plan["judge"]["name"]),
            _tally(plan["counts"]),
        )
        for plan in routing["plans"]
    ]
    head = ("plan", "budget", "audit slice", "predictor", "judge", "pairs")
    return (
        f"## Routing\n\n{_table(head, rows)}\n\nThe audit slice is drawn at random, so every pair of a plan has a "
        "`selection_prob`; the other pairs for people are those where the judge is most likely wrong."
    )


def _agreement(report: Mapping[str, Any]) -> str:
    agreement = report["agreement"]
    people = agreement["people"]
    rows = [
        ("people with each other, three ways", *_figure(people["three_way"])),
        ("people with each other, where both decide", *_figure(people["two_way"])),
        ("Krippendorff's alpha (nominal)", *_figure(people["alpha"], share=False)),
        ("Gwet's AC1", *_figure(people["ac1"], share=False)),
    ]
    for judge in agreement["judges"]:
        name = f"{escape(judge['judge'])} · {escape(judge['protocol'])} with people's consensus, three ways"
        rows.append((name, *_figure(judge["three_way"])))
    plan = agreement["plan_judge"]
    if "estimate" in plan:
        value = f"{plan['estimate']:.1%}", f"{plan['low']:.1%} to {plan['high']:.1%}", f"{plan['answers']:,}"
        rows.append((f"{escape(plan['judge'])} over all pairs of {plan['plan']}, weighted (AIPW)", *value))
    elif "judge" in plan:
        rows.append((f"{escape(plan['judge'])} over all pairs of {plan['plan']}", plan["note"], "", ""))
    return "## Agreement\n\n" + _table(("", "value", "95 % interval", "n"), rows)


def _consistency(report: Mapping[str, Any]) -> str:
    found = report["consistency"]
    named = [(f"people: {escape(one['criterion'])}", one) for one in found["people"]]
    named += [
        (f"{escape(one['judge'])}: {escape(one['rankings'])} / {escape(one['ratings'])}", one)
        for one in found["judges"]
    ]
    if not named:
        return "## Ratings against choices\n\nNobody gave both ratings and choices."
    rows = [
        (
            name,
            _figure(one["inconsistency"])[0],
            _figure(one["contradiction"])[0],
            _figure(one["chance_inconsistency"])[0],
            _figure(one["kappa"], share=False)[0],
            f"{one['n']:,}",
        )
        for name, one in named
    ]
    head = ("", "inconsistent", "contradicting, where both decide", "by chance", "kappa", "n")
    return "## Ratings against choices\n\n" + _table(head, rows)


def _reports(report: Mapping[str, Any]) -> list[str]:
    """Return a section of sentences for each report that has no table of its own."""
    sections = []
    for name, title in TITLES.items():
        if name in report:
            said, more = told(name, report[name])
            lines = [f"- {escape(one.of)}: {one.sentence}" if one.of else f"- {one.sentence}" for one in said]
            lines += [f"- {more:,} more such sentences are in `report.json`."] if more else []
            sections.append(f"## {title}\n\n" + "\n".join(lines))
    return sections


def _licences(report: Mapping[str, Any]) -> list[str]:
    """Return what is known of licences and of models' terms, with counts over the rows of the first profile."""
    settings, (first, counts) = report["settings"], next(iter(report["counts"]["profiles"].items()))
    stated = licences_of(report["counts"], first)
    said = [f"{n:,} rows: {escape(name)}." for name, n in stated.items() if name != UNKNOWN_LICENCE]
    if unknown := stated.get(UNKNOWN_LICENCE):
        said.append(f"{unknown:,} rows: not stated in `license`; to be settled with the owner of the texts.")
    if len(all_licences(report["counts"])) > 1:
        said.append("No one licence covers all rows: each row is under its own, and the whole under all of them.")
    if settings["licences_allowed"]:
        said.append(f"Only these were let in: {', '.join(map(escape, settings['licences_allowed']))}.")
    reasons = ("licence", "licence_unknown", "terms", "terms_unknown")
    said += [
        f"Left out: {counts['left_out'][name]:,} pairs as `{name}`." for name in reasons if name in counts["left_out"]
    ]
    terms = settings["generator_terms"]
    said += [f"The terms of {escape(model)}: {TERMS_IN_WORDS[told]}." for model, told in sorted(terms.items())]
    said.append(
        "`terms_chosen`, `terms_rejected` and their kin say what the export was told of the models that wrote the "
        "responses; `unknown` is no permission."
    )
    return said


def _columns(name: str, columns: Sequence[Column]) -> str:
    rows = [(f"`{column.name}`", column.kind.name, column.meaning.replace("|", "\\|")) for column in columns]
    return f"## Columns: `{name}`\n\n" + _table(("column", "type", "meaning"), rows)


def _figure(figure: Mapping[str, Any], *, share: bool = True) -> tuple[str, str, str]:
    """Return a figure's value, interval and n as text, or why it has none."""

    def text(value: float) -> str:
        return f"{PERCENT * value:.1f} %" if share else f"{value:.3f}"

    if figure["value"] is None:
        return figure["too_few"], "", f"{figure['n']:,}"
    interval = "" if figure["low"] is None else f"{text(figure['low'])} to {text(figure['high'])}"
    return text(figure["value"]), interval, f"{figure['n']:,}"


def _listed(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _tally(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items()) or "none"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def one_line(text: str) -> str:
    """Return a text without line ends and control characters."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def escape(text: str) -> str:
    """Return a text of somebody else's as one line of Markdown that means only itself."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|!" else sign for sign in one_line(text))


def to_yaml(value: Any, indent: int = 0) -> str:
    """Return lists, objects and scalars as block YAML. Scalars are written as JSON, which YAML reads alike."""
    pad = "  " * indent
    lines = []
    if isinstance(value, Mapping):
        for key, part in value.items():
            nested = isinstance(part, Mapping | list) and part
            lines.append(f"{pad}{key}:\n{to_yaml(part, indent + 1)}" if nested else f"{pad}{key}: {_scalar(part)}\n")
    else:
        for part in value:
            nested = isinstance(part, Mapping | list) and part
            # The dash stands in the indent of the first line below it.
            inner = to_yaml(part, indent + 1).removeprefix(f"{pad}  ") if nested else f"{_scalar(part)}\n"
            lines.append(f"{pad}- {inner}")
    return "".join(lines)


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
