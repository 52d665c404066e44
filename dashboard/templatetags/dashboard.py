"""How the manager's pages write numbers: units, intervals, and "too few" instead of a number that means nothing."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.html import format_html
from django.utils.safestring import SafeString

from annotation.models import Choice
from dashboard.comparing import PROTOCOL_NAMES, Column
from dashboard.judge_forms import TITLES
from judges.forecasting import Range
from judges.models import JudgeKind, Verdict

register = template.Library()

CHOICE_NAMES = dict(Choice.choices)
# A distribution over these is over sides, in this order; any other is over scores.
SIDES = ("a", "tie", "b")
NOTHING = "\N{EN DASH}"
PREDICTORS = {
    "cold": "ranks only",
    "logistic": "logistic regression",
    "lightgbm": "boosted trees",
    "blend": "blend of three models",
}
UNITS = ("bytes", "kB", "MB", "GB", "TB")


@register.filter
def percent(value: float | None) -> SafeString:
    """Write a share from 0 to 1 in percent with one decimal; a dash where there is none."""
    if value is None:
        return format_html('<span class="faint">{}</span>', NOTHING)
    return format_html('{} <span class="unit">%</span>', f"{100 * float(value):.1f}")


@register.filter
def predictor_name(kind: str) -> str:
    """Return what a kind of predictor is called."""
    return PREDICTORS.get(kind, kind)


@register.filter
def usd(value: Decimal | float | str | None) -> str:
    """Write US dollars: cents, or four digits below ten cents, so that a cheap call is not nothing."""
    if value is None:
        return NOTHING
    amount = Decimal(str(value))
    places = 4 if 0 < amount < Decimal("0.1") else 2
    return f"${amount:,.{places}f}"


@register.filter
def figure(value: dict[str, Any] | None) -> SafeString:
    """Write a report's figure: its share with n and interval in the title, or what it is short of."""
    if not value:
        return format_html('<span class="faint">{}</span>', NOTHING)
    if value["value"] is None:
        return format_html('<span class="faint" title="{}">too few ({})</span>', value["too_few"], value["n"])
    interval = (
        f", 95 % interval {100 * value['low']:.1f} to {100 * value['high']:.1f} %" if value["low"] is not None else ""
    )
    shown = f"{100 * value['value']:.1f}"
    return format_html('<span title="n = {}{}">{} <span class="unit">%</span></span>', value["n"], interval, shown)


@register.filter
def duration(seconds: float | None) -> str:
    """Write a time in the unit a person would say: 0.4 s, 12 s, 3 min, 2 h 10 min, 4 d."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        hours, rest = divmod(minutes, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{minutes / 60 / 24:.0f} d"


@register.filter
def rate(per_second: float) -> str:
    """Write answers a second, or a minute where it is less than one."""
    return f"{per_second:,.1f} a second" if per_second >= 1 else f"{60 * per_second:.0f} a minute"


@register.filter
def in_column(row: Mapping[str, Any], column: Column) -> SafeString | str:
    """Write a judge's value in a column of the comparison, with half its interval below."""
    value = row.get(column.key)
    if column.kind == "usd":
        return usd(value)
    if column.kind == "seconds":
        slowest = row.get("seconds_p95")
        return duration(value) if slowest is None else f"{duration(value)} / {duration(slowest)}"
    if column.kind == "test":
        return _test_result(value)
    if not value or value["value"] is None:
        return figure(value)
    if column.kind == "share":
        shown, width = figure(value), half_width(value)
        return format_html('{}<span class="interval">{}</span>', shown, width) if width else shown
    low, high = value.get("low"), value.get("high")
    spread = "" if low is None else format_html('<span class="interval">{}</span>', f"{low:.2f} to {high:.2f}")
    return format_html('<span title="n = {}">{}</span>{}', value["n"], f"{value['value']:.2f}", spread)


@register.filter
def foretold(value: Range | None, unit: str) -> SafeString | str:
    """Write a figure foretold with its interval, in a unit: rate (a second), time (of seconds), hours, usd."""
    if value is None:
        return NOTHING
    write = FORETOLD[unit]
    if value.low is None or value.high is None:
        return format_html('<span title="too few prompts for an interval">{}</span>', write(value.value))
    return format_html(
        '{}<span class="interval">{}</span>', write(value.value), f"{write(value.low)} to {write(value.high)}"
    )


FORETOLD: dict[str, Callable[[float], str]] = {
    "rate": lambda value: f"{value:,.1f}" if value < 100 else f"{value:,.0f}",
    "time": duration,
    "hours": lambda value: f"{value:,.2f}" if value >= 0.1 else f"{value:.4f}",
    "usd": usd,
}


def _test_result(value: Mapping[str, Any] | None) -> SafeString | str:
    if not value:
        return format_html('<span class="faint">{}</span>', NOTHING)
    if value.get("passed") is None:
        return format_html('<span class="faint" title="{}">too few</span>', value.get("too_few", ""))
    rate_ = value.get("winning_rate")
    told = "" if rate_ is None else f"for {rate_:.0%} of {value.get('n_people', 0)} people"
    return format_html('<span title="{}">{}</span>', told, "yes" if value["passed"] else "no")


@register.filter
def half_width(value: dict[str, Any]) -> str:
    """Write half an interval in points, for "86.1 % ±1.9"; empty without one."""
    low, high = value.get("low"), value.get("high")
    return "" if low is None or high is None else f"±{50 * (high - low):.1f}"


@register.filter
def choice_name(value: str) -> str:
    """Write a choice in words; an open one says that nobody won."""
    return CHOICE_NAMES.get(value, value) if value else "Disputed"


@register.filter
def kind_name(kind: str) -> str:
    """Write a kind of judge in a few words; anything else, such as the model it asks, as it is."""
    return TITLES.get(kind, dict(JudgeKind.choices).get(kind, kind))


@register.filter
def protocol_name(protocol: str) -> str:
    """Write a protocol in a few words; an imported one as the file called it."""
    return PROTOCOL_NAMES.get(protocol, protocol)


@register.filter
def answer_name(verdict: Verdict) -> str:
    """Write what a verdict says: a choice, or the score it gives."""
    if verdict.choice:
        return choice_name(verdict.choice)
    score = verdict.score_a if verdict.score_a is not None else verdict.score_b
    return NOTHING if score is None else f"{score:.1f}"


@register.filter
def by_label(distribution: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return a distribution's labels in the order a, tie, b, or scores from low to high."""
    if set(distribution) <= set(SIDES):
        return [(side, distribution[side]) for side in SIDES if side in distribution]
    return sorted(distribution.items(), key=lambda item: (len(item[0]), item[0]))


@register.filter
def cell(value: Any, kind: str) -> SafeString | str:
    """Write a cell of a chart's table by its kind."""
    if kind == "share":
        return percent(value)
    if kind == "usd":
        return usd(value)
    if kind == "number":
        return NOTHING if value is None else f"{value:.3f}"
    return intcomma(value) if kind == "count" else str(value)


@register.filter
def file_size(size: int) -> str:
    """Write a number of bytes in the largest unit that leaves at least one."""
    amount, unit = float(size), 0
    while amount >= 1000 and unit < len(UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.0f} {UNITS[unit]}" if unit == 0 else f"{amount:.1f} {UNITS[unit]}"


@register.filter
def share_of(part: float, whole: float) -> str:
    """Write part of whole as a width in percent (0 where there is no whole)."""
    return f"{100 * part / whole:.2f}%" if whole else "0%"


@register.filter
def excerpt(messages: list[dict[str, str]]) -> str:
    """Return the beginning of the last thing a prompt asks, for a list."""
    text = " ".join(str(messages[-1].get("content") or "").split()) if messages else ""
    return text[:140] + ("…" if len(text) > 140 else "")


@register.filter
def words(name: str) -> str:
    """Write a name from a report in words."""
    return name.replace("_", " ")
