"""The charts a project has data for, each with the rows under it: what the image draws and what its table says."""

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pandas as pd

from annotation.models import Project
from dashboard import charts
from dashboard.charts import WIDTHS, Theme
from dashboard.remembering import audit, judge_rows, remembered
from dashboard.summarising import answers_by_day
from judges.models import JudgeVersion
from routing.models import Plan, PlanState, RouteSource


class Column(NamedTuple):
    """A column of a chart's table; `kind` is 'text', 'count' or 'share'."""

    key: str
    title: str
    kind: str


class Chart(NamedTuple):
    """A chart with data: `key` changes with what it draws, so an image can be kept for ever."""

    name: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: list[dict[str, Any]]
    extra: dict[str, Any]

    @property
    def key(self) -> str:
        """Return a hash of everything that is drawn."""
        drawn = json.dumps([self.name, self.rows, self.extra], sort_keys=True)
        return hashlib.sha256(drawn.encode()).hexdigest()[:16]

    def table(self) -> list[list[tuple[Any, str]]]:
        """Return the rows as cells of value and kind, in the order of the columns."""
        return [[(row[column.key], column.kind) for column in self.columns] for row in self.rows]


def offered(project: Project, names: Iterable[str]) -> list[Chart]:
    """Return those of the named charts that have something to draw."""
    return [chart for name in names if (chart := CHARTS[name](project)) is not None]


def svg(chart: Chart, *, theme: Theme, width: str) -> str:
    """Return a chart as SVG, drawn once for each content, theme and width ('wide' or 'narrow')."""
    key = f"chart:{chart.key}:{theme}:{width}"
    return remembered(key, lambda: charts.draw(_drawn(chart, theme, WIDTHS[width]), theme=theme))


def _drawn(chart: Chart, theme: Theme, width: int) -> Any:
    frame = pd.DataFrame(chart.rows)
    if chart.name == "answers":
        return charts.answers_chart(frame, theme=theme, width=width)
    if chart.name == "judges":
        return charts.judges_chart(frame, theme=theme, width=width)
    if chart.name == "reliability":
        return charts.reliability_chart(frame, theme=theme, width=width)
    if chart.name == "coverage":
        return charts.coverage_chart(frame, theme=theme, width=width)
    return charts.frontier_chart(frame, planned=chart.extra["planned"], theme=theme, width=width)


def answers(project: Project) -> Chart | None:
    """Return people's answers by day, if anybody answered here in the last 30 days."""
    rows = answers_by_day(project)
    columns = (Column("day", "Day", "text"), Column("origin", "Who", "text"), Column("answers", "Answers", "count"))
    note = "Answers of people given here in the last 30 days, by day (UTC)."
    return Chart("answers", "People's answers by day", note, columns, rows, {}) if rows else None


def frontier(project: Project) -> Chart | None:
    """Return the frontier of the plan applied last, or drawn last where none is applied."""
    plans = Plan.objects.filter(project=project)
    plan = plans.filter(state=PlanState.APPLIED).order_by("-applied_at").first() or plans.first()
    return frontier_of(plan) if plan is not None else None


def frontier_of(plan: Plan) -> Chart | None:
    """Return what a plan's predictor expects of every share of people, if it is calibrated; one query."""
    if not plan.figures["predictor"]["calibrated"]:
        return None
    routes = list(plan.routes.exclude(p_wrong=None).order_by("pair_id").values_list("p_wrong", "source"))
    if not routes:
        return None
    frame = charts.frontier_rows([float(p_wrong or 0.0) for p_wrong, _ in routes])
    asked = sum(source != RouteSource.AI for _, source in routes)
    rows = [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
    columns = (
        Column("share", "Share of pairs people answer", "share"),
        Column("way", "Chosen by", "text"),
        Column("agreement", "Expected agreement", "share"),
    )
    note = (
        "What the plan's predictor expects: the share of labels equal to people's consensus if people answered this"
        " share of its pairs, the most doubtful first or at random. An expectation, not a measurement."
    )
    return Chart("frontier", "Budget against agreement", note, columns, rows, {"planned": asked / len(routes)})


def judges(project: Project) -> Chart | None:
    """Return every judge's agreement with people where there are enough labels."""
    rows = [
        {
            "judge": f"{row['judge']} v{row['version']}",
            "value": figure["value"],
            "low": figure["low"] if figure["low"] is not None else figure["value"],
            "high": figure["high"] if figure["high"] is not None else figure["value"],
            "n": figure["n"],
        }
        for row in judge_rows(project)
        if (figure := row["preference_two_way"])["value"] is not None
    ]
    columns = (
        Column("judge", "Judge", "text"),
        Column("value", "Agreement", "share"),
        Column("low", "Low", "share"),
        Column("high", "High", "share"),
        Column("n", "Pairs", "count"),
    )
    note = (
        "Share of the pairs where judge and people both take a side and take the same, with a 95 % interval; the"
        " dashed line is a coin. Where the router chose the pairs, these are the doubtful ones."
    )
    ordered = sorted(rows, key=lambda row: -float(row["value"]))
    return Chart("judges", "Judges against people", note, columns, ordered, {}) if rows else None


def of_version(version: JudgeVersion) -> list[Chart]:
    """Return the charts of one judge version that have something to draw."""
    return [chart for name in OF_VERSION if (chart := OF_VERSION[name](version)) is not None]


def reliability(version: JudgeVersion) -> Chart | None:
    """Return how often a judge was right where it was so sure, with its map too where one was fitted."""
    found = audit(version)["calibration"]
    rows = [
        {"which": which, "said": one["confidence"], **_with_ends(one["right"])}
        for which, curve in (("as stated", found["curve"]), ("calibrated", found["curve_after"]))
        for one in curve
        if one["right"]["value"] is not None
    ]
    columns = (
        Column("which", "Probabilities", "text"),
        Column("said", "Said", "share"),
        Column("value", "Was right", "share"),
        Column("low", "Low", "share"),
        Column("high", "High", "share"),
        Column("n", "Pairs", "count"),
    )
    note = (
        "Of the pairs where the judge was this sure, the share where people agree with it, with a 95 % interval. On the"
        " dashed line, stated and true probability are the same; below it, the judge is too sure."
    )
    title = "How sure it says it is, and how often it is right"
    return Chart("reliability", title, note, columns, rows, {}) if rows else None


def coverage(version: JudgeVersion) -> Chart | None:
    """Return a judge's agreement with people on the share of pairs it is surest of."""
    points = audit(version)["coverage"]["points"]
    rows = [
        {"coverage": one["coverage"], "least": one["confidence"], **_with_ends(one["right"])}
        for one in points
        if one["right"]["value"] is not None
    ]
    columns = (
        Column("coverage", "Surest share of pairs", "share"),
        Column("least", "At least this sure", "share"),
        Column("value", "Agreement", "share"),
        Column("low", "Low", "share"),
        Column("high", "High", "share"),
        Column("n", "Pairs", "count"),
    )
    note = (
        "Agreement with people if the judge labels only the pairs it is surest of, from the left; at 100 % it labels"
        " all of them. Doubtful pairs go to people, so read where the line bends."
    )
    return (
        Chart("coverage", "How far down its answers can be taken", note, columns, rows, {}) if len(rows) > 1 else None
    )


def _with_ends(figure: dict[str, Any]) -> dict[str, Any]:
    """Return value, low, high and n of a figure; without an interval its ends are the value."""
    value = figure["value"]
    ends = {end: value if figure[end] is None else figure[end] for end in ("low", "high")}
    return {"value": value, **ends, "n": figure["n"]}


OF_VERSION: dict[str, Callable[[JudgeVersion], Chart | None]] = {
    "reliability": reliability,
    "coverage": coverage,
}
CHARTS: dict[str, Callable[[Project], Chart | None]] = {"answers": answers, "frontier": frontier, "judges": judges}
