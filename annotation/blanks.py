"""Blanks that stand for values while a template is drawn, so that its HTML can be kept and the values put in later."""

import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple
from uuid import uuid4

from django.utils.safestring import SafeString

# Drawn, so that no text of a project can be taken for one.
_EDGE = f"\ue000{uuid4().hex}\ue000"
_MARK = re.compile(f"{_EDGE}([0-9]+){_EDGE}")


class Put(NamedTuple):
    """A place of a skeleton: which of a pair's values stands there, and what makes HTML of it."""

    value: int
    html_of: Callable[..., str]
    arguments: tuple[Any, ...] = ()


class Blank(str):
    """Stands for a value in a template: as it is, which escapes it, or through a filter."""

    _value: int
    _puts: list[Put]

    def __new__(cls, value: int, puts: list[Put]) -> "Blank":
        """Stand for the value of this number among `puts`, which every use of it is added to."""
        puts.append(Put(value, escape))
        blank = super().__new__(cls, _mark(len(puts) - 1))
        blank._value, blank._puts = value, puts
        return blank

    def through(self, html_of: Callable[..., str], *arguments: Any) -> SafeString:
        """Stand for the value as a filter returns it."""
        self._puts.append(Put(self._value, html_of, arguments))
        return SafeString(_mark(len(self._puts) - 1))  # private letters and digits


def cut(html: str, puts: Sequence[Put]) -> list[str | Put]:
    """Return what stands between the blanks in what was drawn, with what is put at each in its place."""
    parts = _MARK.split(html)
    return [puts[int(part)] if number % 2 else part for number, part in enumerate(parts)]


def _mark(put: int) -> str:
    return f"{_EDGE}{put}{_EDGE}"
