"""How the page Agreement writes coefficients, which are no shares: two decimals, or the words that say why not."""

from collections.abc import Mapping
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()
NOTHING = "\N{EN DASH}"


@register.filter
def coefficient(value: Mapping[str, Any]) -> SafeString:
    """Write a coefficient with its interval in the title, or why there is none."""
    if value["value"] is None:
        return format_html('<span class="faint small">{}</span>', value["too_few"])
    return format_html('<span title="n = {}{}">{}</span>', value["n"], _interval(value), in_words(value))


@register.filter
def in_words(value: Mapping[str, Any]) -> str:
    """Write a coefficient as plain text: two decimals, or why there is none."""
    return str(value["too_few"]) if value["value"] is None else _decimals(value["value"])


@register.filter
def ends(value: Mapping[str, Any]) -> str:
    """Write the ends of a coefficient's interval; a dash without one."""
    return NOTHING if value["low"] is None else f"{_decimals(value['low'])} to {_decimals(value['high'])}"


@register.filter
def percent_ends(value: Mapping[str, Any]) -> str:
    """Write the ends of a share's interval in percent; a dash without one."""
    return NOTHING if value["low"] is None else f"{100 * value['low']:.0f} to {100 * value['high']:.0f} %"


@register.filter
def hundredths(value: float) -> str:
    """Write a share as a whole number of percent, for a table whose head has the sign."""
    return f"{100 * value:.0f}"


def _decimals(number: float) -> str:
    # Adding 0 turns minus nought into nought.
    return f"{round(number, 2) + 0:.2f}"


def _interval(value: Mapping[str, Any]) -> str:
    return "" if value["low"] is None else f", 95 % interval {ends(value)}"
