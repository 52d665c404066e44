"""Filters for showing what people and models wrote."""

from collections.abc import Callable
from functools import wraps

from django import template
from django.utils.safestring import SafeString

from annotation.blanks import Blank
from annotation.rendering import direction_of, render_code, render_markdown, render_plain

register = template.Library()


def _of_a_text(html_of: Callable[..., str]) -> Callable[..., str]:
    """Register a filter of a text; of a blank it is applied to what is put there."""

    @wraps(html_of)
    def applied(text: str, *arguments: object) -> str:
        return text.through(html_of, *arguments) if isinstance(text, Blank) else html_of(text, *arguments)

    register.filter(html_of.__name__, applied)
    return html_of


@_of_a_text
def as_markdown(text: str, images: bool = False) -> SafeString:
    """Return a model's text as safe HTML; with images where the argument says so."""
    return render_markdown(text, images=images)


@_of_a_text
def as_typed(text: str, images: bool = False) -> SafeString:
    """Return a person's text as safe HTML with their line breaks kept; with images where the argument says so."""
    return render_markdown(text, keep_breaks=True, images=images)


@_of_a_text
def as_plain(text: str) -> SafeString:
    """Return a text as it was written."""
    return render_plain(text)


@_of_a_text
def as_code(text: str, language: str = "") -> SafeString:
    """Return a whole text as code of a language, "" for code without colours."""
    return render_code(text, language)


@_of_a_text
def direction(text: str) -> str:
    """Return a text's `dir` by its content."""
    return direction_of(text)
