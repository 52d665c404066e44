"""CSV and TSV."""

import codecs
import csv
import io
from collections.abc import Iterator

from annotation.reading.json_files import describe_undecodable
from annotation.reading.rows import FileRefused, RawRow

COLUMN_LIMIT = 1000


class _Lines:
    """Decoded lines for the csv module, counting the bytes of the record it is putting together."""

    def __init__(self, stream: io.BufferedIOBase, limit: int) -> None:
        self.stream = stream
        self.limit = limit
        self.number = 0
        self.size = 0

    def __iter__(self) -> Iterator[str]:
        while raw := self.stream.readline(self.limit + 1):
            self.number += 1
            self.size += len(raw)
            if self.size > self.limit:
                raise FileRefused(
                    self.number,
                    f'the row is longer than the limit of {self.limit:,} bytes; a quote (") may be unbalanced',
                )
            if self.number == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8)
            try:
                yield raw.decode()
            except UnicodeDecodeError as error:
                raise FileRefused(self.number, describe_undecodable(error)) from None


def _header(cells: list[str], line: int) -> list[str]:
    """Return the names of the columns; a column without a name (an index, often) is called by its number."""
    if len(cells) > COLUMN_LIMIT:
        raise FileRefused(line, f"the header has {len(cells):,} columns; the limit is {COLUMN_LIMIT:,}")
    names = [cell.strip() or f"column {number}" for number, cell in enumerate(cells, 1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FileRefused(line, f"the header names {', '.join(map(ascii, twice))} twice")
    return names


def read_table(stream: io.BufferedIOBase, *, delimiter: str, header: bool, limit: int) -> Iterator[RawRow]:
    """Yield a row a record; without a header the columns are called "1", "2" and so on.

    Broken quoting refuses the file, since nobody can tell where the next record starts.
    """
    # Process-wide, and only ever set to this: the module's own 131,072 would refuse a long answer.
    csv.field_size_limit(limit)
    lines = _Lines(stream, limit)
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    names: list[str] | None = None
    while True:
        start = lines.number + 1
        lines.size = 0
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise FileRefused(start, f"not a well-formed table: {error}") from None
        if not cells:
            continue
        if names is None:
            names = _header(cells, start) if header else [str(number) for number in range(1, len(cells) + 1)]
            if header:
                continue
        if len(cells) != len(names):
            wanted = "the header" if header else "the first row"
            yield RawRow(start, None, lines.size, f"the row has {len(cells)} fields, {wanted} has {len(names)}")
        else:
            yield RawRow(start, dict(zip(names, cells, strict=True)), lines.size)
