"""What a reader yields, and how it gives up."""

from typing import Any, NamedTuple

from annotation.errors import AnnotationError


class FileRefused(AnnotationError):
    """The file cannot be read further: everything after `line` (1-based; 0: the file as a whole) is unknown."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


class RawRow(NamedTuple):
    """One row of a file: a record, or the reason why it is none.

    `line` is the line the row starts on (in Parquet, which has no lines, the row number), counted from 1. `size` is
    its length in bytes, so that a batch can be cut before it fills the memory.
    """

    line: int
    record: dict[str, Any] | None
    size: int
    problem: str = ""
