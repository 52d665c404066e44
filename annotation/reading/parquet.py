"""Parquet."""

from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from annotation.reading.rows import FileRefused, RawRow
from annotation.reading.tables import COLUMN_LIMIT

BATCH_ROWS = 64


def _plain(value: Any) -> Any:
    """Return a value of Arrow as JSON has it: times in ISO 8601, decimals as text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _open(path: Path, limit: int) -> pq.ParquetFile:
    # Texts are kept as a dictionary with indexes, so that one long text named by a million rows is held once.
    schema = pq.read_schema(path)
    if len(schema.names) > COLUMN_LIMIT:
        raise FileRefused(0, f"the file has {len(schema.names):,} columns; the limit is {COLUMN_LIMIT:,}")
    if len(set(schema.names)) < len(schema.names):
        raise FileRefused(0, "two columns of the file have the same name")
    file = pq.ParquetFile(path, read_dictionary=[field.name for field in schema if _is_text(field.type)])
    size = sum(file.metadata.row_group(number).total_byte_size for number in range(file.metadata.num_row_groups))
    if size > limit:
        raise FileRefused(0, f"the file unpacks to {size:,} bytes; the limit is {limit:,}")
    return file


def _longest_text(batch: pa.RecordBatch) -> int:
    """Return the length in bytes of the longest text in the dictionaries of a batch."""
    longest = 0
    for column in batch.columns:
        if pa.types.is_dictionary(column.type) and len(column.dictionary):
            longest = max(longest, pc.max(pc.binary_length(column.dictionary)).as_py() or 0)
    return longest


def read_parquet(path: Path, *, limit: int, unpacked_limit: int) -> Iterator[RawRow]:
    """Yield a row a row, `line` being its number. What Arrow cannot read refuses the file."""
    number = 0
    try:
        with _open(path, unpacked_limit) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                if _longest_text(batch) > limit:
                    raise FileRefused(number + 1, f"a text in or after this row is longer than {limit:,} bytes")
                for index in range(batch.num_rows):
                    number += 1
                    row = batch.slice(index, 1).to_pylist()[0]
                    yield RawRow(number, _plain(row), sum(len(value) for value in row.values() if _sized(value)))
    except (pa.ArrowException, OSError, ValueError, OverflowError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise FileRefused(number + 1 if number else 0, f"not a readable Parquet file: {reason}") from error


def _sized(value: Any) -> bool:
    return isinstance(value, str | bytes)
