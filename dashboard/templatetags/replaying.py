"""How a replay's figures are written: points, ranges, and signals by name."""

from collections.abc import Mapping

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard.signal_names import signal_name as name_of_signal

register = template.Library()
MINUS = "\N{MINUS SIGN}"


def _signed(value: float, places: int) -> str:
    text = f"{abs(value):.{places}f}"
    # A rounded nothing has no sign.
    return text if float(text) == 0 else f"{'+' if value > 0 else MINUS}{text}"


@register.filter
def points(value: Mapping[str, float]) -> SafeString:
    """Write a difference of shares in percentage points, with its sign."""
    return format_html('{} <span class="unit">points</span>', _signed(100 * value["mean"], 1))


@register.filter
def points_range(value: Mapping[str, float]) -> str:
    """Write the interval of a difference in points."""
    return f"{_signed(100 * value['low'], 1)} to {_signed(100 * value['high'], 1)}"


@register.filter
def share_range(value: Mapping[str, float]) -> str:
    """Write the interval of a share in percent."""
    return f"{100 * value['low']:.1f} to {100 * value['high']:.1f} %"


@register.filter
def ece_range(calibration: Mapping[str, float]) -> str:
    """Write the interval of the calibration error in percent."""
    return f"{100 * calibration['ece_low']:.1f} to {100 * calibration['ece_high']:.1f} %"


@register.filter
def signed(value: float) -> str:
    """Write a difference with its sign and three digits."""
    return _signed(value, 3)


@register.filter
def confidence(delta: float) -> str:
    """Write 1 - delta in percent."""
    return f"{100 * (1 - delta):.0f} %"


@register.filter
def signal_name(name: str) -> str:
    """Write what a signal is called in a table."""
    return name_of_signal(name)
