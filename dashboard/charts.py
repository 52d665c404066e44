"""Charts: frames in, Altair charts out, drawn to SVG on the server so that a page needs no script.

A chart is asked for in one theme and one width; a page offers the browser all four and it takes what fits.
"""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pandas as pd

if TYPE_CHECKING:
    import altair as alt

    AnyChart = alt.Chart | alt.LayerChart | alt.FacetChart

Theme = Literal["light", "dark"]

SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', 'DejaVu Sans', sans-serif"


class Palette(NamedTuple):
    """The colours of static/css/tokens.css that a chart uses; an image cannot read the page's."""

    ink: str
    soft: str
    faint: str
    rule: str
    people: str
    ai: str
    audit: str


PALETTES: dict[Theme, Palette] = {
    "light": Palette("#1c1a16", "#504b43", "#6b655b", "#dfdacf", "#b4540a", "#2456c4", "#0b6b66"),
    "dark": Palette("#f0ede6", "#c2bcb0", "#a09a8e", "#38342d", "#f0a45d", "#8fb4ff", "#5fcabf"),
}
WIDTHS = {"wide": 640, "narrow": 250}
# Room for a browser whose font is wider than the one that measured.
PADDING = {"left": 12, "right": 16, "top": 5, "bottom": 5}
DAYS_AT_LEAST = 14


def answers_chart(rows: pd.DataFrame, *, theme: Theme, width: int) -> "AnyChart":
    """Return bars of people's answers a day, two weeks at least. `rows`: `day` (ISO date), `origin`, `answers`."""
    import altair as alt

    palette = PALETTES[theme]
    first, last = pd.Timestamp(rows["day"].min()), pd.Timestamp(rows["day"].max())
    first = min(first, last - pd.Timedelta(days=DAYS_AT_LEAST - 1))
    days = (last - first).days + 1
    domain = [alt.DateTime(year=d.year, month=d.month, date=d.day) for d in (first, last + pd.Timedelta(days=1))]
    chart: AnyChart = (
        alt.Chart(rows)
        .mark_bar(color=palette.people, width=max(3, 0.7 * width / days), align="left")
        .encode(
            x=alt.X(
                "yearmonthdate(day):T",
                title=None,
                scale=alt.Scale(domain=domain),
                axis=alt.Axis(format="%-d %b", tickCount=5, labelFlush=True),
            ),
            y=alt.Y("sum(answers):Q", title="answers", axis=alt.Axis(tickMinStep=1, tickCount=5)),
            fillOpacity=alt.FillOpacity(
                "origin:N",
                # Simulated answers are nobody's: an outline, where people's are solid.
                scale=alt.Scale(domain=["Given here", "Simulated"], range=[1.0, 0.15]),
                legend=alt.Legend(title=None, orient="top", symbolFillColor=palette.people),
            ),
            stroke=alt.value(palette.people),
        )
        .properties(width=width, height=180)
    )
    return chart


WEEKS_AT_LEAST = 8


def weeks_chart(rows: pd.DataFrame, *, theme: Theme, width: int) -> "AnyChart":
    """Return stacked bars of US dollars a week, eight weeks at least. `rows`: `week` (ISO date), `who`, `usd`."""
    import altair as alt

    palette = PALETTES[theme]
    who = ["People", "Models", "Platform fees"]
    hues = [palette.people, palette.ai, palette.faint]
    first, last = pd.Timestamp(rows["week"].min()), pd.Timestamp(rows["week"].max())
    first = min(first, last - pd.Timedelta(weeks=WEEKS_AT_LEAST - 1))
    weeks = (last - first).days // 7 + 1
    starts = [first + pd.Timedelta(weeks=number) for number in range(weeks + 1)]
    days = [alt.DateTime(year=day.year, month=day.month, date=day.day) for day in starts]
    legend = alt.Legend(title=None, orient="top", columns=1 if width < WIDTHS["wide"] else 3)
    chart: AnyChart = (
        alt.Chart(rows)
        .mark_bar(width=max(3, 0.7 * width / weeks), align="left", strokeWidth=1)
        .encode(
            x=alt.X(
                "yearmonthdate(week):T",
                title=None,
                scale=alt.Scale(domain=[days[0], days[-1]]),
                # On Mondays, where the bars begin.
                axis=alt.Axis(format="%-d %b", values=days[: -1 : -(-weeks // 5)], labelFlush=True),
            ),
            y=alt.Y("sum(usd):Q", title="US dollars", axis=alt.Axis(format="$,.2~f", tickCount=5)),
            fill=alt.Fill("who:N", scale=alt.Scale(domain=who, range=hues), legend=legend),
            stroke=alt.Stroke("who:N", scale=alt.Scale(domain=who, range=hues), legend=None),
            # As everywhere: people are solid, what is no person's outlined.
            fillOpacity=alt.FillOpacity("who:N", scale=alt.Scale(domain=who, range=[1.0, 0.15, 0.15]), legend=None),
        )
        .properties(width=width, height=180)
    )
    return chart


def frontier_chart(rows: pd.DataFrame, *, planned: float, stop: float | None, theme: Theme, width: int) -> "AnyChart":
    """Return expected agreement against the share of pairs that people answer, with the plan's share marked.

    `rows`: `share` (0 to 1), `way` (the words of the legend, the router's first), `agreement`, `low`, `high` (0 to 1).
    `planned` is the plan's share, `stop` the one after which another pair is not worth asking about.
    """
    import altair as alt

    palette = PALETTES[theme]
    ways = list(dict.fromkeys(rows["way"]))
    colors = alt.Scale(domain=ways, range=[palette.people, palette.faint, palette.ai][: len(ways)])
    dashes = alt.Scale(domain=ways, range=[[1, 0], [5, 4], [2, 2]][: len(ways)])
    scale = alt.Scale(zero=False, nice=True)
    base = alt.Chart(rows).encode(
        x=alt.X("share:Q", title="share of pairs that people answer", axis=alt.Axis(format="%", tickCount=5))
    )
    band = (
        base.transform_filter(alt.datum.way == ways[0])
        .mark_area(color=palette.people, opacity=0.15)
        .encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    )
    legend = alt.Legend(title=None, orient="top", columns=1 if width < WIDTHS["wide"] else 3)
    lines = base.mark_line(strokeWidth=2).encode(
        y=alt.Y("agreement:Q", title="expected agreement", axis=alt.Axis(format="%", tickCount=5), scale=scale),
        color=alt.Color("way:N", scale=colors, legend=legend),
        strokeDash=alt.StrokeDash("way:N", scale=dashes, legend=legend),
    )
    layers: list[AnyChart] = [band, lines]
    marks = [(planned, f"this plan, {planned:.0%}", 206, palette.ink)]
    if stop is not None:
        marks.append((stop, f"stop here, {stop:.0%}", 188, palette.soft))
    for share, words, height, color in marks:
        here = pd.DataFrame({"share": [share], "text": [words]})
        side: Literal["left", "right"] = "left" if share < 0.6 else "right"
        rule = alt.Chart(here).mark_rule(color=color, strokeDash=[1, 0] if share == planned else [2, 3])
        text = alt.Chart(here).mark_text(align=side, dx=6 if side == "left" else -6, baseline="bottom", color=color)
        layers += [rule.encode(x="share:Q"), text.encode(x="share:Q", y=alt.value(height), text="text:N")]
    return alt.layer(*layers).properties(width=width, height=210)


def judges_chart(rows: pd.DataFrame, *, theme: Theme, width: int) -> "AnyChart":
    """Return each judge's agreement with people and its interval, with chance for two answers marked.

    `rows`: `judge` (text), `value`, `low`, `high` (0 to 1; the interval may be NaN).
    """
    import altair as alt

    palette = PALETTES[theme]
    # Names stand left in a room of fixed width: a browser's font may be wider than the one that measured.
    room = min(200, width // 3)
    names = alt.Axis(ticks=False, labelLimit=room, labelAlign="left", labelPadding=room, minExtent=room)
    base = alt.Chart(rows).encode(y=alt.Y("judge:N", title=None, sort=list(rows["judge"]), axis=names))
    scale = alt.Scale(domain=[min(0.4, float(rows[["value", "low"]].min().min())), 1.0], nice=False, zero=False)
    axis = alt.Axis(format="%", tickCount=5, labelFlush=True)
    chance = (
        alt.Chart(pd.DataFrame({"x": [0.5]}))
        .mark_rule(color=palette.faint, strokeDash=[3, 3])
        .encode(x=alt.X("x:Q", scale=scale, title="agreement with people", axis=axis))
    )
    bars = base.mark_rule(color=palette.ai, strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
    dots = base.mark_point(color=palette.ai, fill=None, strokeWidth=2, size=70).encode(x=alt.X("value:Q", scale=scale))
    return alt.layer(chance, bars, dots).properties(width=width - room, height=alt.Step(30))


def coefficients_chart(rows: pd.DataFrame, *, theme: Theme, width: int) -> "AnyChart":
    """Return each coefficient of agreement and its interval, with chance marked at 0.

    `rows`: `name`, `value`, `low`, `high` (up to 1; below 0 is less than chance).
    """
    import altair as alt

    palette = PALETTES[theme]
    room = min(150, width // 2)
    names = alt.Axis(ticks=False, labelLimit=room, labelAlign="left", labelPadding=room, minExtent=room)
    base = alt.Chart(rows).encode(y=alt.Y("name:N", title=None, sort=list(rows["name"]), axis=names))
    scale = alt.Scale(domain=[min(0.0, float(rows["low"].min())), 1.0], nice=False, zero=False)
    chance = (
        alt.Chart(pd.DataFrame({"x": [0.0]}))
        .mark_rule(color=palette.faint, strokeDash=[3, 3])
        .encode(x=alt.X("x:Q", scale=scale, title="agreement", axis=alt.Axis(tickCount=5, labelFlush=True)))
    )
    bars = base.mark_rule(color=palette.people, strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
    dots = base.mark_point(color=palette.people, filled=True, opacity=1, size=60).encode(
        x=alt.X("value:Q", scale=scale)
    )
    return alt.layer(chance, bars, dots).properties(width=width - room, height=alt.Step(24))


def agreement_time_chart(rows: pd.DataFrame, *, theme: Theme, width: int) -> "AnyChart":
    """Return the share of same answers and alpha, period by period, with their intervals.

    `rows`: `period` (text in order), `figure` ("same answer" or "alpha"), `value`, `low`, `high`.
    """
    import altair as alt

    palette = PALETTES[theme]
    figures = ["same answer", "alpha"]
    up = alt.Scale(domain=[min(0.0, float(rows["low"].min())), 1.0], nice=False)
    many = rows["period"].nunique() > (10 if width >= WIDTHS["wide"] else 4)
    base = alt.Chart(rows).encode(
        x=alt.X("period:O", title=None, axis=alt.Axis(labelAngle=-60 if many else 0, labelOverlap=True)),
        xOffset=alt.XOffset("figure:N", sort=figures, scale=alt.Scale(domain=figures, paddingOuter=0.8)),
        color=alt.Color(
            "figure:N",
            scale=alt.Scale(domain=figures, range=[palette.people, palette.audit]),
            legend=alt.Legend(title=None, orient="top"),
        ),
    )
    axis = alt.Axis(tickCount=5, titlePadding=12)
    bars = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", scale=up, title="agreement", axis=axis), y2="high:Q")
    shape = alt.Shape("figure:N", scale=alt.Scale(domain=figures, range=["circle", "square"]), legend=None)
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(y=alt.Y("value:Q", scale=up, axis=axis), shape=shape)
    return alt.layer(bars, dots).properties(width=width, height=200)


def reliability_chart(rows: pd.DataFrame, *, theme: Theme, width: int) -> "AnyChart":
    """Return how often a judge was right against how sure it said it was, with intervals and the diagonal.

    `rows`: `which` ("as stated" or "calibrated"), `said`, `value`, `low`, `high` (0 to 1), `n` (pairs).
    """
    import altair as alt

    palette = PALETTES[theme]
    # A confidence is the larger of p and 1 - p, so nothing lies left of one half.
    least = min(0.5, float(rows[["value", "low", "said"]].min().min()))
    across, up = alt.Scale(domain=[0.5, 1.0], nice=False), alt.Scale(domain=[least, 1.0], nice=False, zero=False)
    diagonal = (
        alt.Chart(pd.DataFrame({"said": [0.5, 1.0], "value": [0.5, 1.0]}))
        .mark_line(color=palette.faint, strokeDash=[3, 3])
        .encode(x=alt.X("said:Q", scale=across), y=alt.Y("value:Q", scale=up))
    )
    which = alt.Scale(domain=["as stated", "calibrated"], range=[palette.ai, palette.audit])
    legend = alt.Legend(title=None, orient="top") if rows["which"].nunique() > 1 else None
    base = alt.Chart(rows).encode(
        x=alt.X("said:Q", scale=across, title="how sure it says it is", axis=alt.Axis(format="%", tickCount=5)),
        color=alt.Color("which:N", scale=which, legend=legend),
    )
    bars = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", scale=up), y2="high:Q")
    line = base.mark_line(strokeWidth=1, point=alt.OverlayMarkDef(filled=False, fill=None, size=60)).encode(
        y=alt.Y("value:Q", scale=up, title="how often it is right", axis=alt.Axis(format="%", tickCount=5)),
        strokeDash=alt.StrokeDash("which:N", scale=alt.Scale(domain=which.domain, range=[[1, 0], [5, 4]]), legend=None),
    )
    return alt.layer(diagonal, bars, line).properties(width=width, height=220)


def coverage_chart(rows: pd.DataFrame, *, theme: Theme, width: int) -> "AnyChart":
    """Return agreement against the share of pairs a judge is surest of, with its interval and a coin marked.

    `rows`: `coverage`, `value`, `low`, `high` (0 to 1).
    """
    import altair as alt

    palette = PALETTES[theme]
    least = min(0.5, float(rows[["value", "low"]].min().min()))
    scale = alt.Scale(domain=[least, 1.0], nice=False, zero=False)
    axis = alt.Axis(format="%", tickCount=5)
    base = alt.Chart(rows).encode(
        x=alt.X(
            "coverage:Q",
            title="share of pairs, the surest first",
            scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(format="%", tickCount=5, labelFlush=True),
        )
    )
    coin = alt.Chart(pd.DataFrame({"y": [0.5]})).mark_rule(color=palette.faint, strokeDash=[3, 3])
    chance = coin.encode(y=alt.Y("y:Q", scale=scale, title="agreement with people", axis=axis))
    band = base.mark_area(color=palette.ai, opacity=0.18).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    line = base.mark_line(color=palette.ai, strokeWidth=2).encode(y=alt.Y("value:Q", scale=scale))
    return alt.layer(chance, band, line).properties(width=width, height=220)


def replay_chart(rows: pd.DataFrame, *, theme: Theme, width: int) -> "AnyChart":
    """Return agreement against the share of pairs that people answer, a line and a band for each way of choosing.

    `rows`: `share`, `agreement`, `low`, `high` (0 to 1), `way` ("router", "best signal", "random" or "perfect").
    """
    import altair as alt

    palette = PALETTES[theme]
    ways = ["perfect", "router", "best signal", "random"]
    hues = [palette.soft, palette.people, palette.ink, palette.faint]
    colours = alt.Scale(domain=ways, range=hues)
    dashes = alt.Scale(domain=ways, range=[[2, 3], [1, 0], [8, 3, 2, 3], [5, 4]])
    up = alt.Scale(zero=False, nice=True)
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], labelFlush=True)
    base = alt.Chart(rows).encode(
        x=alt.X("share:Q", title="share of pairs that people answer", scale=alt.Scale(domain=[0, 1]), axis=axis)
    )
    # One key for colour and dash together; two to a row, for the narrow chart.
    legend = alt.Legend(title=None, orient="top", columns=2, symbolType="stroke", symbolSize=400)
    up_axis = alt.Axis(format="%", tickCount=5)
    # A perfect choice is no estimate of anything to come, and has no band.
    bands = [
        base.transform_filter(f"datum.way == '{way}'")
        .mark_area(opacity=0.16, color=colour)
        .encode(y=alt.Y("low:Q", scale=up, title="labels equal to people's", axis=up_axis), y2="high:Q")
        for way, colour in zip(ways[1:], hues[1:], strict=True)
    ]
    lines = base.mark_line(strokeWidth=2).encode(
        y=alt.Y("agreement:Q", scale=up),
        color=alt.Color("way:N", scale=colours, legend=legend),
        strokeDash=alt.StrokeDash("way:N", scale=dashes, legend=legend),
    )
    return alt.layer(*bands, lines).properties(width=width, height=260)


def doubt_chart(rows: pd.DataFrame, *, theme: Theme, width: int) -> "AnyChart":
    """Return how often a judge was wrong against how likely that was said to be, with intervals and the diagonal.

    `rows`: `said`, `seen`, `low`, `high` (0 to 1).
    """
    import altair as alt

    palette = PALETTES[theme]
    most = min(1.0, float(rows[["said", "high"]].max().max()) + 0.05)
    scale = alt.Scale(domain=[0, most], nice=False)
    axis = alt.Axis(format="%", tickCount=5)
    diagonal = (
        alt.Chart(pd.DataFrame({"said": [0.0, most], "seen": [0.0, most]}))
        .mark_line(color=palette.faint, strokeDash=[3, 3])
        .encode(x=alt.X("said:Q", scale=scale), y=alt.Y("seen:Q", scale=scale))
    )
    base = alt.Chart(rows).encode(x=alt.X("said:Q", scale=scale, title="chance of a mistake, as predicted", axis=axis))
    bars = base.mark_rule(strokeWidth=2, color=palette.people).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    points = base.mark_point(color=palette.people, filled=True, size=60, opacity=1).encode(
        y=alt.Y("seen:Q", scale=scale, title="mistakes there were", axis=axis)
    )
    return alt.layer(diagonal, bars, points).properties(width=width, height=240)


def parts_chart(rows: pd.DataFrame, *, overall: float | None, theme: Theme, width: int) -> "AnyChart":
    """Return the judge's agreement with people in each part of the pairs, with its interval and the whole marked.

    `rows`: `by`, `name` (text), `n`, `value`, `low`, `high` (0 to 1, NaN where there are too few answers). Names stand
    above their interval, under the heading of what the pairs are parted by: a narrow chart has no room beside it.
    """
    import altair as alt

    palette = PALETTES[theme]
    known = rows.dropna(subset=["value"])
    lines: list[dict[str, Any]] = []
    for by, parts in known.groupby("by", sort=False):
        lines.append({"line": len(lines), "heading": by})
        for part in parts.itertuples(index=False):
            ends = {"value": part.value, "low": part.low, "high": part.high}
            lines.append({**ends, "line": len(lines), "text": f"{part.name} ({part.n:,})"})
    frame = pd.DataFrame(lines)
    least = min(0.5, float(known["low"].min()) // 0.1 / 10)
    across = alt.Scale(domain=[least, 1.0], nice=False, zero=False)
    axis = alt.Axis(format="%", tickCount=5, labelFlush=True, orient="top")
    down = alt.Y("line:O", title=None, axis=None, scale=alt.Scale(padding=0.1))
    x = alt.X("low:Q", scale=across, title="judge agrees with people", axis=axis)
    base = alt.Chart(frame).encode(y=down)
    left = base.mark_text(align="left", baseline="middle")
    headings = left.mark_text(align="left", baseline="middle", dy=6, fontWeight="bold", color=palette.ink)
    names = left.mark_text(align="left", baseline="middle", dy=-7, color=palette.soft)
    bars = base.mark_rule(color=palette.ai, strokeWidth=2, yOffset=8).encode(x=x, x2="high:Q")
    dots = base.mark_point(color=palette.ai, fill=palette.ai, size=50, yOffset=8)
    layers: list[Any] = [
        headings.encode(x=alt.value(0), text="heading:N").transform_filter("isValid(datum.heading)"),
        names.encode(x=alt.value(0), text="text:N").transform_filter("isValid(datum.text)"),
        bars,
        dots.encode(x=alt.X("value:Q", scale=across)),
    ]
    if overall is not None:
        whole = alt.Chart(pd.DataFrame({"x": [overall]})).mark_rule(color=palette.faint, strokeDash=[3, 3])
        layers.insert(0, whole.encode(x=alt.X("x:Q", scale=across)))
    return alt.layer(*layers).properties(width=width, height=alt.Step(36))


def rounds_chart(rows: pd.DataFrame, *, theme: Theme, width: int) -> "AnyChart":
    """Return the share of asked pairs on which the judge was wrong: by the router's choice and at random, by round.

    `rows`: `round` (text), `way` ("router" or "random"), `value`, `low`, `high` (0 to 1, NaN where too few).
    """
    import altair as alt

    palette = PALETTES[theme]
    known = rows.dropna(subset=["value"])
    ways = ["router", "random"]
    up = alt.Scale(domain=[0.0, 1.0], nice=False)
    base = alt.Chart(known).encode(
        x=alt.X("round:N", title=None, sort=None, axis=alt.Axis(labelAngle=0, labelLimit=120)),
        xOffset=alt.XOffset("way:N", sort=ways, scale=alt.Scale(domain=ways, paddingOuter=0.8)),
        color=alt.Color(
            "way:N",
            scale=alt.Scale(domain=ways, range=[palette.people, palette.audit]),
            legend=alt.Legend(title=None, orient="top"),
        ),
    )
    bars = base.mark_rule(strokeWidth=2).encode(
        y=alt.Y("low:Q", scale=up, title="judge was wrong", axis=alt.Axis(format="%", tickCount=5)), y2="high:Q"
    )
    shape = alt.Shape("way:N", scale=alt.Scale(domain=ways, range=["circle", "square"]), legend=None)
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(y=alt.Y("value:Q", scale=up), shape=shape)
    return alt.layer(bars, dots).properties(width=width, height=200)


def mixes_chart(rows: pd.DataFrame, *, theme: Theme, width: int) -> "AnyChart":
    """Return the score each mix got against the score forecast for it, with the line where both are the same.

    `rows`: `predicted`, `actual` (0 to 1), `people` (the mix's share of people's labels, in words).
    """
    import altair as alt

    palette = PALETTES[theme]
    ends = [float(rows[["predicted", "actual"]].min().min()), float(rows[["predicted", "actual"]].max().max())]
    scale = alt.Scale(domain=[ends[0] - 0.005, ends[1] + 0.005], nice=False, zero=False)
    axis = alt.Axis(format="%", tickCount=5)
    same = (
        alt.Chart(pd.DataFrame({"predicted": ends, "actual": ends}))
        .mark_line(color=palette.soft, strokeDash=[3, 3])
        .encode(x=alt.X("predicted:Q", scale=scale), y=alt.Y("actual:Q", scale=scale))
    )
    shares = list(dict.fromkeys(rows["people"]))
    legend = alt.Legend(title="people label", orient="top", columns=2 if width < WIDTHS["wide"] else 6)
    colours = alt.Scale(domain=shares, range=[palette.faint, palette.people, palette.audit, palette.ink])
    points = (
        alt.Chart(rows)
        .mark_point(size=22, opacity=0.8, strokeWidth=1.2)
        .encode(
            x=alt.X("predicted:Q", scale=scale, title="forecast", axis=axis),
            y=alt.Y("actual:Q", scale=scale, title="after training", axis=axis),
            shape=alt.Shape("people:N", scale=alt.Scale(domain=shares), legend=legend),
            color=alt.Color("people:N", scale=colours, legend=legend),
        )
    )
    return alt.layer(same, points).properties(width=width, height=300)


def mix_budgets_chart(rows: pd.DataFrame, *, theme: Theme, width: int) -> "AnyChart":
    """Return what the proxy reward model reaches at each budget, for each way of choosing, on pairs kept apart.

    `rows`: `share` (0 to 1), `way` (words of the legend), `value`, `low`, `high` (0 to 1).
    """
    import altair as alt

    palette = PALETTES[theme]
    ways = list(dict.fromkeys(rows["way"]))
    hues = {"mix found": palette.audit, "router": palette.people, "random": palette.faint}
    colours = alt.Scale(domain=ways, range=[hues[way] for way in ways])
    legend = alt.Legend(title=None, orient="top")
    scale = alt.Scale(zero=False, nice=True)
    # Side by side, since intervals at the same place would hide each other.
    places = rows.assign(text=rows["share"].map(lambda share: f"{share:.0%}"))
    base = alt.Chart(places).encode(
        x=alt.X(
            "text:N",
            title="share of pairs that people label",
            sort=list(dict.fromkeys(places.sort_values("share")["text"])),
            axis=alt.Axis(labelAngle=0),
        ),
        xOffset=alt.XOffset("way:N", sort=ways),
    )
    bars = base.mark_rule(strokeWidth=2).encode(
        y=alt.Y("low:Q", scale=scale, title="right on pairs kept apart", axis=alt.Axis(format="%", tickCount=5)),
        y2="high:Q",
        color=alt.Color("way:N", scale=colours, legend=legend),
    )
    points = base.mark_point(size=70, filled=True, opacity=1).encode(
        y=alt.Y("value:Q", scale=scale),
        shape=alt.Shape("way:N", scale=alt.Scale(domain=ways), legend=legend),
        color=alt.Color("way:N", scale=colours, legend=legend),
    )
    return alt.layer(bars, points).properties(width=width, height=240)


def drift_chart(rows: pd.DataFrame, *, theme: Theme, width: int) -> "AnyChart":
    """Return how often the judge was wrong in audited pairs, with its interval, against what was predicted for them.

    `rows`: `last` (audited pairs answered by the end of the part), `expected`, `observed`, `low`, `high` (0 to 1).
    """
    import altair as alt

    palette = PALETTES[theme]
    words = ["was wrong", "predicted"]
    scale = alt.Scale(domain=[0, min(1.0, float(rows[["high", "expected"]].max().max()) + 0.05)], nice=True)
    x = alt.X(
        "last:Q", title="audited pairs answered", scale=alt.Scale(zero=True), axis=alt.Axis(tickMinStep=1, tickCount=5)
    )
    y = alt.Y("value:Q", scale=scale, title="judge wrong", axis=alt.Axis(format="%", tickCount=5))
    bars = (
        alt.Chart(rows)
        .mark_rule(color=palette.audit, strokeWidth=2)
        .encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q")
    )
    long = pd.concat(
        [
            rows[["last"]].assign(value=rows[column], which=word)
            for column, word in zip(("observed", "expected"), words, strict=True)
        ]
    )
    legend = alt.Legend(title=None, orient="top", columns=2, symbolSize=300, columnPadding=16)
    colours = alt.Scale(domain=words, range=[palette.audit, palette.faint])
    dashes = alt.Scale(domain=words, range=[[1, 0], [5, 4]])
    lines = (
        alt.Chart(long)
        .mark_line(strokeWidth=2)
        .encode(
            x=x,
            y=y,
            color=alt.Color("which:N", scale=colours, legend=legend),
            strokeDash=alt.StrokeDash("which:N", scale=dashes, legend=legend),
        )
    )
    seen = alt.Chart(rows).mark_point(filled=True, size=40, opacity=1, color=palette.audit)
    points = seen.encode(x=x, y=alt.Y("observed:Q", scale=scale))
    return alt.layer(bars, lines, points).properties(width=width, height=220)


def ways_chart(rows: pd.DataFrame, *, planned: int, theme: Theme, width: int) -> "AnyChart":
    """Return how a judge answered over the pairs in the order it judged them, the plan's moment marked.

    `rows`: `last` (pairs judged by the end of the part), `picks_a`, `tie`, `flipped`, `margin` (0 to 1, None where not
    known). `planned` is how many of the pairs were judged before the plan was drawn.
    """
    import altair as alt

    palette = PALETTES[theme]
    words = {
        "picks_a": "prefers A",
        "tie": "calls it a tie",
        "flipped": "changes with the order",
        "margin": "how sure it is",
    }
    kept = [name for name in words if rows[name].notna().any()]
    long = rows.rename(columns=words).melt("last", [words[name] for name in kept], "way", "value").dropna()
    long["value"] = long["value"].astype(float)
    domain = [words[name] for name in kept]
    looks = {
        "picks_a": (palette.ai, [1, 0]),
        "tie": (palette.ink, [5, 4]),
        "flipped": (palette.audit, [2, 2]),
        "margin": (palette.faint, [8, 3, 2, 3]),
    }
    legend = alt.Legend(
        title=None, orient="top", columns=2 if width < WIDTHS["wide"] else 4, symbolSize=300, columnPadding=16
    )
    lines = (
        alt.Chart(long)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("last:Q", title="pairs judged", axis=alt.Axis(tickMinStep=1, tickCount=5)),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5)),
            color=alt.Color(
                "way:N", scale=alt.Scale(domain=domain, range=[looks[name][0] for name in kept]), legend=legend
            ),
            strokeDash=alt.StrokeDash(
                "way:N", scale=alt.Scale(domain=domain, range=[looks[name][1] for name in kept]), legend=legend
            ),
        )
    )
    if not 0 < planned < int(rows["last"].max()):
        return alt.layer(lines).properties(width=width, height=200)
    here = alt.Chart(pd.DataFrame({"last": [planned], "text": ["plan drawn"]}))
    rule = here.mark_rule(color=palette.soft, strokeDash=[2, 3]).encode(x="last:Q")
    side: Literal["left", "right"] = "left" if planned < 0.6 * float(rows["last"].max()) else "right"
    text = here.mark_text(align=side, dx=6 if side == "left" else -6, baseline="top", color=palette.soft).encode(
        x="last:Q", y=alt.value(4), text="text:N"
    )
    return alt.layer(lines, rule, text).properties(width=width, height=200)


def fits_chart(rows: pd.DataFrame, *, theme: Theme, width: int) -> "AnyChart":
    """Return each fit's AUROC and calibration error on held-out groups by its labels, side by side or stacked.

    `rows`: `labels`, `auroc`, `ece`.
    """
    import altair as alt

    palette = PALETTES[theme]
    narrow = width < WIDTHS["wide"]
    words = {"auroc": "AUROC", "ece": "calibration error"}
    long = rows.rename(columns=words).melt("labels", list(words.values()), "figure", "value")
    chart: AnyChart = (
        alt.Chart(long)
        .mark_line(
            color=palette.people, strokeWidth=2, point=alt.OverlayMarkDef(filled=True, size=40, color=palette.people)
        )
        .encode(
            x=alt.X(
                "labels:Q",
                title="labelled pairs",
                scale=alt.Scale(zero=False),
                axis=alt.Axis(tickMinStep=1, tickCount=4),
            ),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(format=".2f", tickCount=4)),
        )
        .properties(width=width if narrow else (width - 60) // 2, height=150)
        .facet(
            facet=alt.Facet(
                "figure:N",
                sort=list(words.values()),
                title=None,
                header=alt.Header(labelColor=palette.ink, labelFont=SANS, labelFontSize=12, labelAnchor="start"),
            ),
            columns=1 if narrow else 2,
            bounds="flush" if not narrow else "full",
            spacing=60 if not narrow else 20,
        )
        .resolve_scale(y="independent")
    )
    return chart


def dots_chart(rows: pd.DataFrame, *, axis: str, kind: str, theme: Theme, width: int) -> "AnyChart":
    """Return figures with their intervals, one below the other; people's in their hue, judges' outlined in theirs.

    `rows`: `name` (different ones, in order), `who` ("people" or "judges"), `value`, `low`, `high`. `axis` names the
    scale; `kind` is "share" (from 0) or "points".
    """
    import altair as alt

    palette = PALETTES[theme]
    room = min(220, width // 2)
    names = alt.Axis(ticks=False, labelLimit=room, labelAlign="left", labelPadding=room, minExtent=room)
    base = alt.Chart(rows).encode(
        y=alt.Y("name:N", title=None, sort=list(rows["name"]), axis=names),
        color=alt.Color(
            "who:N", scale=alt.Scale(domain=["people", "judges"], range=[palette.people, palette.ai]), legend=None
        ),
    )
    shares = kind == "share"
    scale = (
        alt.Scale(domain=[0.0, max(0.05, float(rows["high"].max()))], nice=shares) if shares else alt.Scale(zero=False)
    )
    ticks = alt.Axis(format="%" if shares else ",.0f", tickCount=4, labelFlush=True)
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale, title=axis, axis=ticks), x2="high:Q")
    # Outlined where a judge is meant: hue is never the only sign.
    dots = base.mark_point(opacity=1, size=60, strokeWidth=2).encode(
        x=alt.X("value:Q", scale=scale),
        fill=alt.Fill(
            "who:N", scale=alt.Scale(domain=["people", "judges"], range=[palette.people, "transparent"]), legend=None
        ),
    )
    return alt.layer(bars, dots).properties(width=width - room, height=alt.Step(24))


def likeness_chart(rows: pd.DataFrame, *, theme: Theme, width: int) -> "AnyChart":
    """Return bars of pairs by the share of their words that both responses have. `rows`: `words`, `pairs`."""
    import altair as alt

    palette = PALETTES[theme]
    narrow = width < WIDTHS["wide"]
    chart: AnyChart = (
        alt.Chart(rows)
        .mark_bar(color=palette.faint)
        .encode(
            x=alt.X(
                "words:O",
                title="words in common, %",
                sort=list(rows["words"]),
                axis=alt.Axis(labelAngle=-60 if narrow else 0, labelOverlap=True),
            ),
            y=alt.Y("pairs:Q", title="pairs", axis=alt.Axis(tickMinStep=1, tickCount=5)),
        )
        .properties(width=width, height=160)
    )
    return chart


def draw(chart: "AnyChart", *, theme: Theme) -> str:
    """Return a chart as SVG without style or script, in the colours of a theme."""
    import vl_convert

    spec: dict[str, Any] = chart.configure(**_config(PALETTES[theme])).to_dict()
    svg: str = vl_convert.vegalite_to_svg(spec)
    return svg


def _config(palette: Palette) -> dict[str, Any]:
    text = {"labelColor": palette.soft, "titleColor": palette.soft, "labelFontSize": 12, "titleFontSize": 12}
    fonts = {"labelFont": SANS, "titleFont": SANS, "titleFontWeight": "normal"}
    return {
        "background": "transparent",
        "padding": PADDING,
        "font": SANS,
        "view": {"stroke": None},
        "axis": {**text, **fonts, "gridColor": palette.rule, "domainColor": palette.rule, "tickColor": palette.rule},
        "axisX": {"grid": False},
        "axisY": {"domain": False, "ticks": False},
        "legend": {**text, **fonts, "symbolStrokeColor": palette.people},
        "text": {"font": SANS, "fontSize": 12},
    }
