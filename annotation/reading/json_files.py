"""JSON Lines and JSON arrays, a record at a time.

Python's own decoder reads both, so that a record means the same in either: duplicate keys and NaN are refused where
the decoder would take the last one or invent a float. An array is decoded from a sliding window of the file, which
keeps line numbers (event parsers lose them) and flat memory.
"""

import codecs
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from annotation.reading.rows import FileRefused, RawRow

CHUNK_BYTES = 256 * 1024
# A decoding error this close to the end of the window may only mean that the window ends too early.
CUT_MARGIN = 16
_SPACE = re.compile(r"[ \t\n\r]*")


class _Refusal(ValueError):
    """Valid for Python's decoder, not for us."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refusal(f"the key {key[:60]!a} occurs twice in one object")
            seen.add(key)
    return record


def _constant(name: str) -> float:
    raise _Refusal(f"{name} is not JSON; write null where a number is missing")


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _reason(error: Exception) -> str:
    """Say in words why a text is not the JSON we take."""
    if isinstance(error, json.JSONDecodeError):
        if error.msg == "Extra data":
            return f"more than one JSON value on the line (column {error.colno})"
        return f"not valid JSON: {error.msg} (column {error.colno})"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, _Refusal):
        return str(error)
    return "holds a number with too many digits"


def describe_undecodable(error: UnicodeDecodeError) -> str:
    """Say which byte is not UTF-8."""
    byte = error.object[error.start]
    return f"not UTF-8: byte 0x{byte:02X} at position {error.start + 1}; save the file as UTF-8"


def row_of(line: int, value: Any, size: int) -> RawRow:
    """Return a row of a decoded value; only an object is a record."""
    if isinstance(value, dict):
        return RawRow(line, value, size)
    return RawRow(line, None, size, f"a record is an object with named fields, this is {kind_of(value)}")


def kind_of(value: Any) -> str:
    """Return what a person calls this JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else f"a value of type {type(value).__name__}"


def read_json_lines(stream: io.BufferedIOBase, *, limit: int) -> Iterator[RawRow]:
    """Yield a row a line; blank lines count as lines only. A line longer than `limit` bytes is a bad row."""
    number = 0
    while raw := stream.readline(limit + 1):
        number += 1
        if len(raw) > limit:
            size = len(raw)
            while not raw.endswith(b"\n") and (raw := stream.readline(CHUNK_BYTES)):
                size += len(raw)
            yield RawRow(number, None, 0, f"the line is {size:,} bytes long; the limit is {limit:,}")
            continue
        if number == 1:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        if not raw.strip():
            continue
        try:
            value = _decoder.decode(raw.decode())
        except UnicodeDecodeError as error:
            yield RawRow(number, None, len(raw), describe_undecodable(error))
        except (ValueError, RecursionError) as error:
            yield RawRow(number, None, len(raw), _reason(error))
        else:
            yield row_of(number, value, len(raw))


class _Window:
    """The part of a text file that is being decoded, and the line it starts on."""

    def __init__(self, stream: io.BufferedIOBase, limit: int) -> None:
        self.stream = stream
        self.limit = limit
        self.decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self.text = ""
        self.at = 0
        self.line = 1
        self.ended = False

    def grow(self) -> None:
        """Drop what is decoded and read on, doubling, so that a long record is tried only a few times."""
        if len(self.text) - self.at > self.limit:
            raise FileRefused(self.line, f"the record is longer than the limit of {self.limit:,} bytes")
        self.text = self.text[self.at :]
        self.at = 0
        raw = self.stream.read(max(CHUNK_BYTES, len(self.text)))
        self.ended = not raw
        try:
            self.text += self.decode(raw, final=self.ended)
        except UnicodeDecodeError as error:
            line = self.line + self.text.count("\n") + error.object.count(b"\n", 0, error.start)
            raise FileRefused(line, describe_undecodable(error)) from None

    def move(self, to: int) -> None:
        """Go on to a position of the window."""
        self.line += self.text.count("\n", self.at, to)
        self.at = to

    def next_sign(self) -> str:
        """Skip white space and return the character there ('' at the end of the file) without passing it."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.move(match.end() if match else self.at)
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.grow()

    def value(self) -> tuple[Any, int]:
        """Decode the value here and return it with its length in characters."""
        while True:
            try:
                value, end = _decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self.text) - CUT_MARGIN or error.msg.startswith("Unterminated string")
                if self.ended or not cut:
                    line = self.line + self.text.count("\n", self.at, error.pos)
                    raise FileRefused(line, f"not valid JSON: {error.msg}") from None
            except (ValueError, RecursionError) as error:
                raise FileRefused(self.line, _reason(error)) from None
            else:
                # A number or word that ends with the window may go on behind it.
                if end < len(self.text) or self.ended:
                    return value, end - self.at
            self.grow()


def read_json_array(stream: io.BufferedIOBase, *, limit: int) -> Iterator[RawRow]:
    """Yield a row an element of the array that is the file. What breaks the JSON refuses the file."""
    window = _Window(stream, limit)
    if window.next_sign() != "[":
        raise FileRefused(window.line, "a JSON file holds one list of records: it begins with '['")
    window.move(window.at + 1)
    if window.next_sign() == "]":
        window.move(window.at + 1)
    else:
        while True:
            if not window.next_sign():
                raise FileRefused(window.line, "the file ends inside the list: it was cut off")
            line = window.line
            value, length = window.value()
            window.move(window.at + length)
            if length > limit:
                yield RawRow(line, None, 0, f"the record is {length:,} characters long; the limit is {limit:,} bytes")
            else:
                yield row_of(line, value, length)
            sign = window.next_sign()
            if sign not in (",", "]"):
                found = f"{sign!a} stands" if sign else "the file ends"
                raise FileRefused(window.line, f"{found} where ',' or ']' belongs")
            window.move(window.at + 1)
            if sign == "]":
                break
    if window.next_sign():
        raise FileRefused(window.line, "something follows the end of the list")
