"""Filters for showing what people and models wrote."""

from django import template
from django.utils.safestring import SafeString

from annotation.rendering import direction_of, render_code, render_markdown, render_plain

register = template.Library()


@register.filter
def as_markdown(text: str, images: bool = False) -> SafeString:
    """Return a model's text as safe HTML; with images where the argument says so."""
    return render_markdown(text, images=images)


@register.filter
def as_typed(text: str, images: bool = False) -> SafeString:
    """Return a person's text as safe HTML with their line breaks kept; with images where the argument says so."""
    return render_markdown(text, keep_breaks=True, images=images)


@register.filter
def as_plain(text: str) -> SafeString:
    """Return a text as it was written."""
    return render_plain(text)


@register.filter
def as_code(text: str, language: str = "") -> SafeString:
    """Return a whole text as code of a language, "" for code without colours."""
    return render_code(text, language)


@register.filter
def direction(text: str) -> str:
    """Return a text's `dir` by its content."""
    return direction_of(text)
