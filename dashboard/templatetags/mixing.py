"""How the figures of a search over mixes are written."""

from collections.abc import Mapping

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.filter
def half_points(value: Mapping[str, float]) -> SafeString:
    """Write an error of shares in percentage points, without a sign."""
    return format_html('{} <span class="unit">points</span>', f"{100 * value['mean']:.2f}")
