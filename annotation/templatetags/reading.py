"""Filters for showing what people and models wrote."""

from django import template
from django.utils.safestring import SafeString

from annotation.rendering import render_markdown

register = template.Library()


@register.filter
def as_markdown(text: str) -> SafeString:
    """Return a model's text as safe HTML."""
    return render_markdown(text)


@register.filter
def as_typed(text: str) -> SafeString:
    """Return a person's text as safe HTML with their line breaks kept."""
    return render_markdown(text, keep_breaks=True)
