"""A search over mixes in the shape of its page: what it says in the end, its tables, and tags in words."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from dashboard.signal_names import signal_name
from dashboard.studies import nearest
from routing.models import Study
from routing.studies.mixing import BINS, CLUSTER, DOUBT, NOT_KNOWN, PAIRS_NEEDED
from routing.studies.replaying import ReplayJudge

WAYS = (("random", "Random pairs"), ("router", "The router's pairs"), ("recommended", "The mix found"))
PARTS = {**dict(zip(BINS, ("lowest third", "middle third", "highest third"), strict=True)), NOT_KNOWN: "not known"}
KINDS = {
    "clumps": "Whole groups of alike pairs",
    "doubts": "By doubt, with some chance",
    "leaning": "By doubt, leaning to some groups",
}
LEANS_SHOWN = 3
HEADLINE = 0.25


class ListedSearch(NamedTuple):
    """A row in the list of searches, with what it found once it is done."""

    study: Study
    spearman: dict[str, float] | None
    verdict: str


def judges_to_search(judges: Iterable[ReplayJudge]) -> tuple[list[ReplayJudge], list[ReplayJudge]]:
    """Return the judges with enough pairs, and those that lack some, each with its reason."""
    ready, short = [], []
    for judge in judges:
        if judge.pairs < PAIRS_NEEDED:
            reason = f"too few labels ({judge.pairs:,} of {PAIRS_NEEDED} pairs answered by both)"
            short.append(judge._replace(reason=reason))
        elif judge.reason:
            short.append(judge)
        else:
            ready.append(judge)
    return ready, short


def listed_searches(studies: Iterable[Study]) -> list[ListedSearch]:
    """Return the rows of the list."""
    rows = []
    for study in studies:
        if not study.result:
            rows.append(ListedSearch(study, None, ""))
            continue
        head = nearest(study.result["budgets"], HEADLINE)
        rows.append(ListedSearch(study, chosen_of(study.result)["spearman"], verdict_of(study.result, head)))
    return rows


def chosen_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the forecast that a search used."""
    chosen: dict[str, Any] = next(one for one in result["forecasts"] if one["chosen"])
    return chosen


def verdict_of(result: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Return `refused`, `better` (than the router's pairs, beyond noise), `worse`, or `same`."""
    if result["refusal"]:
        return "refused"
    lead = row["check"]["lead"]["router"]
    return "better" if lead["low"] > 0 else "worse" if lead["high"] < 0 else "same"


def search_tables(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a search's figures as the page's tables."""
    examples = result["clusters"]
    head = nearest(result["budgets"], HEADLINE)
    return {
        "chosen": chosen_of(result),
        "head": {**head, "verdict": verdict_of(result, head)},
        "budgets": [_budget(row, result) for row in result["budgets"]],
        "top": [
            {
                "budget": row["budget"],
                "rows": [
                    {**one, "words": KINDS[one["kind"]], "leans": in_words(one["leans"], examples)[:LEANS_SHOWN]}
                    for one in row["top"]
                ],
            }
            for row in result["budgets"]
            if "top" in row
        ],
    }


def _budget(row: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    lines = [
        {
            "name": name,
            "predicted": row["predicted"][way],
            "agreement": row["agreement"][way],
            "checked": row["check"]["accuracy"][way],
            "lead": row["check"]["lead"].get(way) if not result["refusal"] else None,
        }
        for way, name in WAYS
        if way in row["predicted"]
    ]
    return {**row, "lines": lines}


def in_words(leans: Iterable[Mapping[str, Any]], examples: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return tags with their names for a reader."""
    return [{**lean, "tag": tag_name(lean["tag"], examples)} for lean in leans]


def tag_name(tag: str, examples: Mapping[str, str]) -> str:
    """Return what a tag of `routing.studies.mixing.tags_of` is called; `examples` are prompts by cluster."""
    if tag.startswith(CLUSTER):
        return f"Prompts like “{' '.join(examples.get(tag, tag).split())}”"
    name, colon, part = tag.rpartition(": ")
    if not colon or part not in PARTS:
        return signal_name(tag)
    words = "Chance that the judge is wrong" if name == DOUBT else signal_name(name)
    return f"{words}: {PARTS[part]}"
