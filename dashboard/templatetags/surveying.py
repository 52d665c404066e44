"""How the Audit page writes intervals and distances."""

from django import template

from routing.auditing.inferring import Estimate

register = template.Library()


@register.filter
def between(estimate: Estimate) -> str:
    """Write an interval: "61.0 to 72.9 %"."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f} %"


@register.filter
def off_by(distance: float) -> str:
    """Write by how much a figure misses another: "12.3 points below"."""
    return f"{100 * abs(distance):.1f} points {'below' if distance < 0 else 'above'}"


@register.filter
def whole_percent(share: float) -> str:
    """Write a share as a manager sets it: "15 %", "7.5 %"."""
    return f"{100 * share:.4g} %"
