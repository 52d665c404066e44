"""Reports as plain JSON values, every figure with a plain sentence.

A report names its sentences: `{"three_way": "People gave the same answer in {share} of {n} couples"}`. The key is the
figure's name, or "where.name" where figures of one name say different things.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from annotation.agreeing import Figure

# Enough to compare, few enough that sums in another order give the same figure.
DIGITS = 6
FIGURE = frozenset(Figure(None, 0).as_dict())
SENTENCE = "sentence"


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: NaN and infinities are null, floats have six digits, money is a string."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return round(value, DIGITS) if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return format(value.normalize() + 0, "f")
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"{type(value).__name__} is no value of a report")


def stated(values: Mapping[str, Any], sentences: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a report as JSON values; with `sentences` every figure in it that they name says what it is."""
    report = {name: plain(value) for name, value in values.items()}
    if sentences is not None:
        _say(report, sentences, "")
    return report


def is_figure(value: Any) -> bool:
    """Say whether a value of a report is a figure, with or without its sentence."""
    return isinstance(value, Mapping) and set(value) - {SENTENCE} == FIGURE


def sentence(figure: Mapping[str, Any], words: str) -> str:
    """Return what a figure says: `words` with its value, interval and n, or why there is no value.

    `{share}` is a percentage, `{number}` and `{amount}` are numbers of three digits and one, `{points}` is a difference
    in percentage points, each with its interval; `{n}` the cases.
    """
    if figure["value"] is None:
        return f"No figure: {figure['too_few']}."
    n = f"{figure['n']:,}"
    return words.format(
        share=_with_ends(figure, 100, "{:.1f}", " %"),
        number=_with_ends(figure, 1, "{:.3f}", ""),
        amount=_with_ends(figure, 1, "{:,.1f}", ""),
        points=_with_ends(figure, 100, "{:+.1f}", " points"),
        n=n,
    )


def _with_ends(figure: Mapping[str, Any], factor: float, form: str, unit: str) -> str:
    value = form.format(factor * figure["value"])
    if figure["low"] is None:
        return f"{value}{unit} (no interval)"
    low, high = (form.format(factor * figure[end]) for end in ("low", "high"))
    return f"{value}{unit} (95 % interval {low} to {high}{unit})"


def _say(value: Any, sentences: Mapping[str, str], where: str) -> None:
    """Add sentences to all figures below; `where` is the name of the nearest part that holds them."""
    if isinstance(value, list):
        for part in value:
            _say(part, sentences, where)
    if not isinstance(value, dict):
        return
    for name, part in value.items():
        if is_figure(part):
            words = sentences.get(f"{where}.{name}", sentences.get(name))
            if words is not None:
                part[SENTENCE] = sentence(part, words)
        else:
            _say(part, sentences, name)
