"""How the page Reports writes figures of any kind: three digits, or a dash where the sentence says why not."""

from collections.abc import Mapping
from typing import Any

from django import template

register = template.Library()
NOTHING = "\N{EN DASH}"
# A share has three digits; points and characters need none behind the mark.
LARGE = 20.0


@register.filter
def value_of(figure: Mapping[str, Any]) -> str:
    """Write a figure's value as a plain number."""
    return NOTHING if figure["value"] is None else _number(figure["value"])


@register.filter
def interval_of(figure: Mapping[str, Any]) -> str:
    """Write the ends of a figure's interval; a dash without one."""
    return NOTHING if figure["low"] is None else f"{_number(figure['low'])} to {_number(figure['high'])}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= LARGE else f"{round(value, 3) + 0:.3f}"
