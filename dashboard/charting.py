"""The charts a project has data for, each with the rows under it: what the image draws and what its table says."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pandas as pd

from annotation.models import Project
from dashboard import charts, report_charts, surveying
from dashboard.chart_rows import Chart, Column
from dashboard.charts import WIDTHS, Theme
from dashboard.matching import COEFFICIENTS
from dashboard.remembering import audit, judge_rows, remembered, report
from dashboard.signal_names import signal_name
from dashboard.summarising import answers_by_day
from dashboard.watching import drift_points, fit_points, judge_periods
from judges.models import JudgeVersion
from routing.auditing.inferring import Estimate
from routing.models import Plan, PlanState, Study
from routing.plans.frontier import frontier_of as frontier_from


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
    if chart.name == "drift":
        return charts.drift_chart(frame, theme=theme, width=width)
    if chart.name == "ways":
        return charts.ways_chart(frame, planned=chart.extra["planned"], theme=theme, width=width)
    if chart.name == "fits":
        return charts.fits_chart(frame, theme=theme, width=width)
    if chart.name == "parts":
        return charts.parts_chart(frame, overall=chart.extra["overall"], theme=theme, width=width)
    if chart.name == "rounds":
        return charts.rounds_chart(frame, theme=theme, width=width)
    if chart.name == "replay":
        return charts.replay_chart(frame, theme=theme, width=width)
    if chart.name == "coefficients":
        return charts.coefficients_chart(frame, theme=theme, width=width)
    if chart.name == "agreement_time":
        return charts.agreement_time_chart(frame, theme=theme, width=width)
    if chart.name == "weeks":
        return charts.weeks_chart(frame, theme=theme, width=width)
    if chart.name == "doubt":
        return charts.doubt_chart(frame, theme=theme, width=width)
    if chart.name in report_charts.CHARTS and chart.name != "likeness":
        return charts.dots_chart(frame, **chart.extra, theme=theme, width=width)
    if chart.name == "likeness":
        return charts.likeness_chart(frame, theme=theme, width=width)
    if chart.name == "mixes":
        return charts.mixes_chart(frame, theme=theme, width=width)
    if chart.name == "mix_budgets":
        return charts.mix_budgets_chart(frame, theme=theme, width=width)
    planned, stop = chart.extra["planned"], chart.extra["stop"]
    return charts.frontier_chart(frame, planned=planned, stop=stop, theme=theme, width=width)


def answers(project: Project) -> Chart | None:
    """Return people's answers by day, if anybody answered here in the last 30 days."""
    rows = answers_by_day(project)
    columns = (Column("day", "Day", "text"), Column("origin", "Who", "text"), Column("answers", "Answers", "count"))
    note = "Answers of people given here in the last 30 days, by day (UTC)."
    return Chart("answers", "People's answers by day", note, columns, rows, {}) if rows else None


WHO_COSTS = {"people_usd": "People", "models_usd": "Models", "fees_usd": "Platform fees"}


def weeks(project: Project) -> Chart | None:
    """Return what each week came to, for people, models and platforms, if anything was spent."""
    rows = [
        {"week": week["week"], "who": who, "usd": float(week[key])}
        for week in report(project, "spending")["weeks"]
        for key, who in WHO_COSTS.items()
        if Decimal(week[key])
    ]
    columns = (Column("week", "Week from", "text"), Column("who", "For", "text"), Column("usd", "US dollars", "usd"))
    note = "What people earned, what models cost and what platforms took, by week (from Monday, UTC)."
    return Chart("weeks", "Spent by week", note, columns, rows, {}) if rows else None


def frontier(project: Project) -> Chart | None:
    """Return the frontier of the plan applied last, or drawn last where none is applied."""
    plans = Plan.objects.filter(project=project).defer("predictor")
    plan = plans.filter(state=PlanState.APPLIED).order_by("-applied_at").first()
    plan = plan or plans.filter(state__in=[PlanState.DRAFT, PlanState.APPLYING]).first()
    return frontier_of(plan) if plan is not None else None


def frontier_of(plan: Plan) -> Chart | None:
    """Return what a plan's predictor expects of every budget, if it is calibrated. No query."""
    found = frontier_from(plan)
    if not found.rows or found.stop_here is None:
        return None
    names = {
        "router": "router",
        "random": "at random",
        "best_signal": "best single signal",
    }
    rows = [{**row._asdict(), "way": names[row.way]} for row in found.rows]
    columns = (
        Column("share", "Share of pairs", "share"),
        Column("asked", "Pairs asked", "count"),
        Column("usd", "Expected cost", "usd"),
        Column("way", "Chosen by", "text"),
        Column("agreement", "Expected agreement", "share"),
        Column("low", "Low", "share"),
        Column("high", "High", "share"),
    )
    note = (
        "Expected share of labels equal to people's consensus, if people answered this share of the pairs. The shade is"
        " the 95 % band of the router's line, from drawing the labelled prompt groups again. The best single signal,"
        f" “{signal_name(found.signal)}”, was picked with hindsight. An expectation, not a measurement."
    )
    counts = plan.figures["counts"]
    planned = (counts["people"] + counts["audit"]) / plan.figures["pairs"]
    extra = {"planned": planned, "stop": found.stop_here.share}
    return Chart("frontier", "Budget against agreement", note, columns, rows, extra)


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


def parts(project: Project) -> Chart | None:
    """Return the judge's agreement with people in each part of the pairs, where there are enough answers for some."""
    found = surveying.surveyed(project).report
    rows = [
        {"by": part.by, "name": part.name, "pairs": part.pairs, **_ends_of(part.judge), "labels": part.labels.value}
        for part in (found.slices if found else [])
    ]
    if found is None or all(row["value"] is None for row in rows):
        return None
    columns = (
        Column("by", "Parted by", "text"),
        Column("name", "Part", "text"),
        Column("value", "Judge agrees", "share"),
        Column("low", "Low", "share"),
        Column("high", "High", "share"),
        Column("labels", "Labels agree", "share"),
        Column("n", "Answered", "count"),
        Column("pairs", "Pairs", "count"),
    )
    note = (
        "How often the judge's label is people's, part by part, with 95 % intervals over prompts; in brackets the"
        " answered pairs it rests on. The dashed line is the whole. “Labels agree” in the table counts people's answers"
        f" as well, where there are any. A part with fewer than {surveying.LEAST_IN_PART} such answers has no figure."
    )
    extra = {"overall": found.judge.value}
    return Chart("parts", "Where the judge can be trusted", note, columns, rows, extra)


def rounds(project: Project) -> Chart | None:
    """Return how often the judge was wrong on the pairs the router chose and on those drawn at random, by round."""
    found = surveying.surveyed(project).comparison
    summed = found.cumulated[-1:] if len(found.rounds) > 1 else []
    rows = [
        {"round": one.name, "way": way, **_ends_of(figure)}
        for one in [*found.rounds, *summed]
        for way, figure in (("router", one.router), ("random", one.random))
    ]
    if all(row["value"] is None for row in rows):
        return None
    columns = (
        Column("round", "Round", "text"),
        Column("way", "Chosen by", "text"),
        Column("value", "Judge was wrong", "share"),
        Column("low", "Low", "share"),
        Column("high", "High", "share"),
        Column("n", "Answered", "count"),
    )
    note = (
        "Of the pairs that people answered, the share on which the judge's label was wrong: pairs the router chose"
        " against pairs drawn at random in the same round, with 95 % intervals over prompts. The further apart, the"
        " more each answer buys. While a round is under way, its most doubtful pairs are answered first."
    )
    return Chart("rounds", "Wrong labels found, round by round", note, columns, rows, {})


def _ends_of(figure: Estimate) -> dict[str, Any]:
    return {"value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n}


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


def of_study(study: Study) -> list[Chart]:
    """Return the charts of a finished study that have something to draw."""
    return [chart for name in OF_STUDY if (chart := OF_STUDY[name](study)) is not None]


WAYS_OF_REPLAY = {"oracle": "perfect", "learned": "router", "best_signal": "best signal", "random": "random"}


def replay_of(study: Study) -> Chart | None:
    """Return a replay's agreement against the share of pairs that people answer."""
    if "curves" not in study.result:
        return None
    rows = [
        {"share": share, "way": name, "agreement": one["mean"], "low": one["low"], "high": one["high"]}
        for way, name in WAYS_OF_REPLAY.items()
        for share, one in zip(study.result["grid"], study.result["curves"][way], strict=True)
    ]
    columns = (
        Column("share", "Share of pairs people answer", "share"),
        Column("way", "Chosen by", "text"),
        Column("agreement", "Labels equal to people's", "share"),
        Column("low", "Low", "share"),
        Column("high", "High", "share"),
    )
    note = (
        "Measured on pairs whose answer is known: people's answer for the share chosen, the judge's for the rest. The"
        " router never saw the prompts it is tried on. The best signal is picked with hindsight, and the perfect choice"
        " knows every mistake: no router can do better. Bands are 95 % intervals over prompts."
    )
    return Chart("replay", "What people's answers would have bought", note, columns, rows, {})


def doubt_of(study: Study) -> Chart | None:
    """Return how often a replay's judge was wrong where the predictor said it was so likely."""
    curve = study.result.get("calibration", {}).get("curve")
    if not curve:
        return None
    columns = (
        Column("said", "Predicted", "share"),
        Column("seen", "Were wrong", "share"),
        Column("low", "Low", "share"),
        Column("high", "High", "share"),
        Column("n", "Pairs", "count"),
    )
    note = (
        "Pairs in ten equal parts, by the chance of a mistake that the router predicted. On the dashed line it is what"
        " was predicted. Bars are 95 % intervals over prompts."
    )
    return Chart("doubt", "Mistakes predicted, and mistakes there were", note, columns, curve, {})


WAYS_OF_MIXES = {"recommended": "mix found", "router": "router", "random": "random"}


def mix_budgets_of(study: Study) -> Chart | None:
    """Return what a proxy reward model reached at each budget on the pairs that a search over mixes kept apart."""
    if "forecasts" not in study.result:
        return None
    rows = [
        {"share": row["budget"], "way": words, "value": found["mean"], "low": found["low"], "high": found["high"]}
        for row in study.result["budgets"]
        for way, words in WAYS_OF_MIXES.items()
        if (found := row["check"]["accuracy"].get(way)) is not None
    ]
    columns = (
        Column("share", "Share of pairs people label", "share"),
        Column("way", "Chosen by", "text"),
        Column("value", "Right", "share"),
        Column("low", "Low", "share"),
        Column("high", "High", "share"),
    )
    note = (
        "How often the small reward model gives the response that people prefer, on prompts that took no part in the"
        " search, with 95 % intervals over prompts. All ways are tried on the same pairs, so their differences are"
        " surer than these intervals look; the table above has them."
    )
    return Chart("mix_budgets", "What people's labels buy the reward model", note, columns, rows, {})


def mixes_of(study: Study) -> Chart | None:
    """Return each trained mix's score against the one that was forecast for it."""
    if "forecasts" not in study.result:
        return None
    rows = [{**point, "people": f"{point['budget']:.0%}"} for point in study.result["points"]]
    columns = (
        Column("people", "People label", "text"),
        Column("predicted", "Forecast", "share"),
        Column("actual", "After training", "share"),
    )
    note = (
        "Each point is a mix. Across: how often its reward model was forecast to be right, by a predictor that had not"
        " seen this mix. Up: how often it was right. On the dashed line the two are the same. What counts is whether"
        " points of one colour rise from left to right."
    )
    return Chart("mixes", "Forecast, and what training gave", note, columns, rows, {})


def drift(project: Project) -> Chart | None:
    """Return how often the judge was wrong in audited pairs, in the order of the answers, and what was predicted."""
    rows = drift_points(project)
    columns = (
        Column("last", "Audited pairs answered", "count"),
        Column("expected", "Predicted wrong", "share"),
        Column("observed", "Was wrong", "share"),
        Column("low", "Low", "share"),
        Column("high", "High", "share"),
        Column("n", "Pairs", "count"),
    )
    note = (
        "The judge's error in the audit slice, in the order in which its pairs were answered: parts of 20 pairs or more"
        " with a 95 % interval (solid), and what was predicted for the same pairs before anybody answered (dashed)."
    )
    return Chart("drift", "Was the judge wrong as often as predicted?", note, columns, rows, {}) if rows else None


def ways(project: Project) -> Chart | None:
    """Return how the judge answered, in the order in which it did; None where it has too few answers for two parts."""
    rows, before = judge_periods(project)
    if len(rows) < 2:
        return None
    columns = (
        Column("last", "Pairs judged", "count"),
        Column("picks_a", "Prefers A", "share"),
        Column("tie", "Calls it a tie", "share"),
        Column("flipped", "Changes with the order", "share"),
        Column("margin", "How sure, 0 to 1", "number"),
        Column("n", "Pairs", "count"),
    )
    note = (
        "The judge's own answers in the order in which it gave them, in parts of 50 pairs or more; no person's answer"
        " is in it. A judge that stays the same wanders a little; a step is a change of the model or of the pairs."
    )
    return Chart("ways", "How the judge answers", note, columns, rows, {"planned": before})


def fits(project: Project) -> Chart | None:
    """Return how well each fit of the predictor did on held-out prompt groups, by the labels it had."""
    rows = fit_points(project)
    if len(rows) < 2:
        return None
    columns = (
        Column("labels", "Labels", "count"),
        Column("auroc", "AUROC", "number"),
        Column("log_loss", "Log loss", "number"),
        Column("ece", "Calibration error", "number"),
        Column("kind", "Kind", "text"),
    )
    note = (
        "Each time the predictor was fitted again, by the labelled pairs it had, on prompt groups left out of the fit."
        " AUROC is the chance that it doubts a wrong label more than a right one (0.5 is guessing); calibration error"
        " is how far its stated chances are from what happened (0 is perfect)."
    )
    return Chart("fits", "The predictor as labels arrived", note, columns, rows, {})


def coefficients(project: Project) -> Chart | None:
    """Return every coefficient of people's agreement that has a value, with its interval."""
    found = report(project, "agreement")["coefficients"]["sides"]
    rows = [
        {"name": name, **_with_ends(found[key])}
        for key, (name, _) in COEFFICIENTS.items()
        if found[key]["value"] is not None
    ]
    columns = (
        Column("name", "Coefficient", "text"),
        Column("value", "Value", "number"),
        Column("low", "Low", "number"),
        Column("high", "High", "number"),
        Column("n", "n", "count"),
    )
    note = (
        "All over the same answers, with 95 % intervals over prompts. 1 is perfect agreement; except for the share of"
        " same answers, 0 (dashed) is what chance alone would give."
    )
    return Chart("coefficients", "One agreement, eight ways", note, columns, rows, {}) if len(rows) > 1 else None


def agreement_time(project: Project) -> Chart | None:
    """Return people's agreement period by period, where there are two or more with enough pairs."""
    rows = [
        {"period": one["period"], "figure": name, **_with_ends(one[key])}
        for one in report(project, "agreement")["over_time"]
        for key, name in (("raw", "same answer"), ("alpha_nominal", "alpha"))
        if one[key]["value"] is not None
    ]
    columns = (
        Column("period", "Period", "text"),
        Column("figure", "Figure", "text"),
        Column("value", "Value", "number"),
        Column("low", "Low", "number"),
        Column("high", "High", "number"),
        Column("n", "n", "count"),
    )
    note = (
        "Pairs by the day of their last answer (UTC), with 95 % intervals over prompts; a period with fewer than ten"
        " pairs is left out. Recorded answers belong to the day of their import."
    )
    several = len({row["period"] for row in rows}) > 1
    return Chart("agreement_time", "Agreement over time", note, columns, rows, {}) if several else None


def _with_ends(figure: dict[str, Any]) -> dict[str, Any]:
    """Return value, low, high and n of a figure; without an interval its ends are the value."""
    value = figure["value"]
    ends = {end: value if figure[end] is None else figure[end] for end in ("low", "high")}
    return {"value": value, **ends, "n": figure["n"]}


OF_VERSION: dict[str, Callable[[JudgeVersion], Chart | None]] = {
    "reliability": reliability,
    "coverage": coverage,
}
OF_STUDY: dict[str, Callable[[Study], Chart | None]] = {
    "replay": replay_of,
    "doubt": doubt_of,
    "mix_budgets": mix_budgets_of,
    "mixes": mixes_of,
}
CHARTS: dict[str, Callable[[Project], Chart | None]] = {
    "answers": answers,
    "frontier": frontier,
    "judges": judges,
    "parts": parts,
    "rounds": rounds,
    "drift": drift,
    "ways": ways,
    "fits": fits,
    "coefficients": coefficients,
    "agreement_time": agreement_time,
    "weeks": weeks,
    **report_charts.CHARTS,
}
