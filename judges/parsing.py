"""Read a judge's words. Tolerant of wrapping, never guessing: what cannot be read is an error text, not a choice."""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

RAW_LIMIT = 20_000
# Far above any answer a version allows; a server that sends more is not searched for objects at every brace.
PARSED_LIMIT = 200_000
# An answer may be fenced as code; nothing but the fence and white space may follow the object.
_AFTER_OBJECT = re.compile(r"\s*(?:```\s*)?\Z")
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")
_SPACE = re.compile(r"[ \t\r\n]*")

Place = tuple[int, int]
Path = tuple[str, ...]


class ParsedAnswer(NamedTuple):
    """The fields of the object an answer ends in, or why there is none.

    `places` says where the value of each field stands in the text, by its path of one or two names: (start, end) of its
    JSON; `start` is where the object begins.
    """

    fields: Mapping[str, Any]
    places: Mapping[Path, Place]
    start: int
    error: str

    @classmethod
    def unread(cls, reason: str) -> "ParsedAnswer":
        """Return what an answer that could not be read comes to."""
        return cls({}, {}, 0, reason)


class _Ambiguous(ValueError):
    pass


def storable(text: str) -> str:
    """Return a text that every database takes: no NUL, no lone surrogate, at most 20,000 characters."""
    return _NOT_STORABLE.sub("\N{REPLACEMENT CHARACTER}", text[:RAW_LIMIT])


def parse_answer(text: str, *, main: str, bare: Collection[str] = (), places: bool = True) -> ParsedAnswer:
    """Read one answer: the JSON object with the field `main` that it ends in, or one of the `bare` texts alone.

    What is said counts only in the object's own fields, never in prose or in a text quoted inside it. Never raises.
    Without `places`, its places are left out: only log-probabilities need them.
    """
    if not text.strip():
        return ParsedAnswer.unread("The judge's answer is empty.")
    if len(text) > PARSED_LIMIT:
        return ParsedAnswer.unread(f"The judge's answer has {len(text)} characters; no answer is that long.")
    try:
        found = _last_object(text, main)
    except _Ambiguous as error:
        return ParsedAnswer.unread(str(error))
    if found:
        fields, start = found
        return ParsedAnswer(fields, _places(text, start) if places else {}, start, "")
    if text.strip() in bare:
        start = text.index(text.strip())
        return ParsedAnswer({main: text.strip()}, {(main,): (start, start + len(text.strip()))}, start, "")
    return ParsedAnswer.unread(f"The judge's answer does not end in a JSON object with a {main}.")


def read_label(value: object, labels: Collection[str]) -> str:
    """Return which of the labels a field holds, whatever its case; '' for none of them."""
    given = value.strip().casefold() if isinstance(value, str) else ""
    return next((label for label in labels if label.casefold() == given), "")


def read_score(value: object, scale: int) -> int | None:
    """Return a whole score from 1 to `scale`, also where it is quoted; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or not 1 <= value <= scale:
        return None
    return int(value) if value == int(value) else None


def brief(value: object) -> str:
    """Return a field's value as a message quotes it: JSON of at most 80 characters."""
    return storable(json.dumps(value, ensure_ascii=False))[:80]


def _last_object(text: str, main: str) -> tuple[dict[str, Any], int] | None:
    """Return the JSON object the text ends in and its start, if it has the field `main`.

    Raises `_Ambiguous` where an earlier object says otherwise or a key stands twice.
    """
    found: list[tuple[dict[str, Any], int]] = []
    last_end = 0
    position = text.find("{")
    while position >= 0:
        try:
            value, end = _STRICT.raw_decode(text, position)
        except RecursionError:
            return None
        except _Ambiguous:
            raise
        except ValueError:
            # Not only what is no JSON: Python refuses whole numbers of thousands of digits.
            position = text.find("{", position + 1)
            continue
        if isinstance(value, dict) and main in value:
            found.append((value, position))
            last_end = end
        # Past the object: a text quoted inside it is not read again.
        position = text.find("{", end)
    if not found or not _AFTER_OBJECT.match(text, last_end):
        return None
    if any(one[main] != found[-1][0][main] for one, _ in found):
        raise _Ambiguous(f"The judge's answer holds several {main}s that differ.")
    return found[-1]


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _Ambiguous("The judge's answer gives one field twice.")
    return fields


_STRICT = json.JSONDecoder(object_pairs_hook=_without_twins, parse_constant=lambda _name: None)
_DECODER = json.JSONDecoder()


def _places(text: str, start: int) -> dict[Path, Place]:
    """Return where each field's value stands, two levels deep. The object at `start` was read before."""
    places: dict[Path, Place] = {}
    _walk(text, start, (), places)
    return places


def _walk(text: str, start: int, path: Path, places: dict[Path, Place]) -> int:
    position = _skip(text, start + 1)
    while text[position] != "}":
        name, position = _DECODER.raw_decode(text, position)
        position = _skip(text, _skip(text, position) + 1)
        begin = position
        if text[position] == "{" and not path:
            position = _walk(text, position, (name,), places)
        else:
            _, position = _DECODER.raw_decode(text, position)
        places[(*path, name)] = (begin, position)
        position = _skip(text, position)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return position + 1


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position
