"""How the manager's pages write numbers: units, intervals, and "too few" instead of a number that means nothing."""

from decimal import Decimal
from typing import Any

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.html import format_html
from django.utils.safestring import SafeString

from annotation.models import Choice

register = template.Library()

CHOICE_NAMES = dict(Choice.choices)
NOTHING = "\N{EN DASH}"
UNITS = ("bytes", "kB", "MB", "GB", "TB")


@register.filter
def percent(value: float | None) -> SafeString:
    """Write a share from 0 to 1 in percent with one decimal; a dash where there is none."""
    if value is None:
        return format_html('<span class="faint">{}</span>', NOTHING)
    return format_html('{} <span class="unit">%</span>', f"{100 * float(value):.1f}")


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
def half_width(value: dict[str, Any]) -> str:
    """Write half an interval in points, for "86.1 % ±1.9"; empty without one."""
    low, high = value.get("low"), value.get("high")
    return "" if low is None or high is None else f"±{50 * (high - low):.1f}"


@register.filter
def choice_name(value: str) -> str:
    """Write a choice in words; an open one says that nobody won."""
    return CHOICE_NAMES.get(value, value) if value else "Disputed"


@register.filter
def cell(value: Any, kind: str) -> SafeString | str:
    """Write a cell of a chart's table by its kind."""
    if kind == "share":
        return percent(value)
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
