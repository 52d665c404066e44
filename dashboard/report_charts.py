"""The charts of the page Reports: which rows each draws, and what its table says."""

from collections.abc import Iterator, Mapping
from typing import Any

from annotation.models import Project
from dashboard.chart_rows import Chart, Column
from dashboard.remembering import report

PEOPLE, JUDGES = "people", "judges"
# More rows make a chart that nobody reads; its numbers are in the table of the report.
MOST_ROWS = 24


def _rows(found: Iterator[tuple[str, str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return figures with a value as rows: `name`, `who`, `value`, `low`, `high`, `n`."""
    rows = [
        {
            "name": name,
            "who": who,
            "value": figure["value"],
            "low": figure["value"] if figure["low"] is None else figure["low"],
            "high": figure["value"] if figure["high"] is None else figure["high"],
            "n": figure["n"],
        }
        for name, who, figure in found
        if figure["value"] is not None
    ]
    return rows[:MOST_ROWS]


def _dots(
    name: str, title: str, note: str, rows: list[dict[str, Any]], *, axis: str, kind: str = "share", what: str = "Of"
) -> Chart | None:
    columns = (
        Column("name", what, "text"),
        Column("value", axis.capitalize(), kind),
        Column("low", "Low", kind),
        Column("high", "High", kind),
        Column("n", "n", "count"),
    )
    return Chart(name, title, note, columns, rows, {"axis": axis, "kind": kind}) if rows else None


def consistency(project: Project) -> Chart | None:
    """Return how often ratings and choices contradict each other where both decide, by whom."""
    found = report(project, "consistency")

    def figures() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        for row in found["people"]:
            yield f"one person, {row['criterion']}", PEOPLE, row["contradiction"]
        for row in found["between"]:
            yield f"two people, {row['criterion']}", PEOPLE, row["contradiction"]
        for row in found["judges"]:
            yield f"{row['judge']}: {row['rankings']} / {row['ratings']}", JUDGES, row["contradiction"]

    note = (
        "Of the cases where ratings and choice both take a side, the share where they take opposite ones, with 95 % "
        "intervals over prompts. “Two people” holds one person's ratings against another's choice: people differ, so "
        "only what lies below that is inconsistency."
    )
    return _dots("consistency", "Ratings against choices", note, _rows(figures()), axis="contradicting", what="Who")


def flips(project: Project) -> Chart | None:
    """Return the flip rate of one answer, over all pairs and part by part."""
    found = report(project, "noise")

    def figures() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        yield "all pairs", PEOPLE, found["votes"]["flip_rate"]
        for row in found["criteria"]:
            yield f"criterion: {row['criterion']}", PEOPLE, row["flip_rate"]
        for part in found["slices"]:
            yield f"{part['by']}: {part['name']}", PEOPLE, part["flip_rate"]

    note = (
        "The chance that one person's answer is flipped, from couples of answers on one pair that differ, with 95 % "
        "intervals over prompts; n counts couples."
    )
    return _dots("flips", "How often an answer is flipped", note, _rows(figures()), axis="flip rate", what="Pairs")


def leaderboard(project: Project) -> Chart | None:
    """Return each generator's score, where wins and ties connect them all."""
    found = report(project, "data")["leaderboard"]
    figures = ((one["model"], JUDGES, one["score"]) for one in found["standings"])
    note = (
        "Davidson's model of wins and ties on Elo's scale (mean 1000; 400 points are odds of ten to one), from the "
        "labels, with 95 % intervals over prompts; n counts labelled pairs."
    )
    return _dots("leaderboard", "Generators", note, _rows(figures), axis="points", kind="points", what="Model")


def followed(project: Project) -> Chart | None:
    """Return how often labels are what the people of each group said."""
    found = report(project, "disagreement")

    def figures() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        yield "everybody", PEOPLE, found["labels"]["mean"]
        for groups in found["groups"]:
            for group in groups["groups"]:
                yield f"{groups['by']}: {group['name']}", PEOPLE, group["followed"]

    note = (
        "Share of a group's answers that became the label, with 95 % intervals over prompts. Groups of fewer than "
        f"{found['least_in_group']} people are never shown."
    )
    return _dots("followed", "Whose answers labels follow", note, _rows(figures()), axis="answer is the label")


def reasons(project: Project) -> Chart | None:
    """Return how many reasons argue for the label, by writer."""
    found = report(project, "rationales")
    figures = (
        (one["writer"], PEOPLE if one["writer"] == PEOPLE else JUDGES, one["agrees_with_label"])
        for one in found["writers"]
    )
    note = "Share of reasons whose writer chose what became the label, with 95 % intervals over prompts."
    title = "Reasons that argue for the label"
    return _dots("reasons", title, note, _rows(figures), axis="argues for the label", what="Writer")


def likeness(project: Project) -> Chart | None:
    """Return how many pairs share how many of their words."""
    steps = report(project, "data")["similarity"]["steps"]
    rows = [{**step, "words": f"{100 * step['from']:.0f}-{100 * step['to']:.0f}"} for step in steps]
    columns = (Column("words", "Words in common, %", "text"), Column("pairs", "Pairs", "count"))
    note = "Pairs by the share of all their words that both responses have. Much alike teaches a trainer little."
    found = any(row["pairs"] for row in rows)
    return Chart("likeness", "Likeness of the two responses", note, columns, rows, {}) if found else None


CHARTS = {
    "consistency": consistency,
    "flips": flips,
    "leaderboard": leaderboard,
    "followed": followed,
    "reasons": reasons,
    "likeness": likeness,
}
