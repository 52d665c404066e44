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


def frontier_chart(rows: pd.DataFrame, *, planned: float, theme: Theme, width: int) -> "AnyChart":
    """Return expected agreement against the share of pairs that people answer, the plan's share marked.

    `rows`: `share` (0 to 1), `way` ("router" or "random"), `agreement` (0 to 1). `planned` is the plan's share.
    """
    import altair as alt

    palette = PALETTES[theme]
    lines = (
        alt.Chart(rows)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("share:Q", title="share of pairs that people answer", axis=alt.Axis(format="%", tickCount=5)),
            y=alt.Y(
                "agreement:Q",
                title="expected agreement",
                axis=alt.Axis(format="%", tickCount=5),
                scale=alt.Scale(zero=False, nice=True),
            ),
            color=alt.Color(
                "way:N",
                scale=alt.Scale(domain=["router", "random"], range=[palette.people, palette.faint]),
                legend=alt.Legend(title=None, orient="top"),
            ),
            strokeDash=alt.StrokeDash(
                "way:N", scale=alt.Scale(domain=["router", "random"], range=[[1, 0], [5, 4]]), legend=None
            ),
        )
    )
    here = pd.DataFrame({"share": [planned], "text": [f"this plan, {planned:.0%}"]})
    rule = alt.Chart(here).mark_rule(color=palette.soft).encode(x="share:Q")
    side: Literal["left", "right"] = "left" if planned < 0.6 else "right"
    text = (
        alt.Chart(here)
        .mark_text(align=side, dx=6 if side == "left" else -6, dy=-4, baseline="bottom", color=palette.soft)
        .encode(x="share:Q", y=alt.value(180), text="text:N")
    )
    return alt.layer(lines, rule, text).properties(width=width, height=200)


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


def frontier_rows(p_wrong: "list[float]", *, points: int = 21) -> pd.DataFrame:
    """Return the rows of `frontier_chart` from calibrated P(wrong).

    Asking about k pairs corrects their expected errors: the k largest, or k drawn at random.
    """
    ordered = pd.Series(p_wrong, dtype=float).sort_values(ascending=False, ignore_index=True)
    n, total = len(ordered), float(ordered.sum())
    corrected = [0.0, *ordered.cumsum()]
    rows = []
    for step in range(points):
        share = step / (points - 1)
        asked = round(share * n)
        rows.append({"share": share, "way": "router", "agreement": 1 - (total - corrected[asked]) / n})
        rows.append({"share": share, "way": "random", "agreement": 1 - total * (1 - share) / n})
    return pd.DataFrame(rows)


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
