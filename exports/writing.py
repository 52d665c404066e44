"""Rows to files, the same rows to the same bytes, a few thousand rows in memory at a time."""

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from exports.profiles.columns import Column, Row, arrow_schema

ROWS_PER_SHARD = 100_000
ROWS_PER_GROUP = 5_000
# Level 6 takes a third of level 9's time for files two percent larger.
GZIP_LEVEL = 6
_LINE = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False)


class WrittenFile(NamedTuple):
    """A file of an export: its path below the folder, its SHA-256, its size, and its rows (0 where it holds none)."""

    path: str
    sha256: str
    bytes: int
    rows: int


class SplitWriter:
    """Writes one split of a profile below a folder, row by row. A split without rows makes no file."""

    def __init__(
        self,
        folder: Path,
        name: str,
        split: str,
        columns: Sequence[Column],
        *,
        lines: bool,
        parquet: bool,
        zipped: bool,
    ) -> None:
        self.rows = 0
        self._folder = folder
        self._base = Path(name) / split
        self._lines = _Lines(folder / self._base, zipped=zipped) if lines else None
        self._shards = _Shards(folder / self._base, arrow_schema(columns)) if parquet else None

    def write(self, row: Row) -> None:
        """Write a row to each file."""
        self.rows += 1
        if self._lines:
            self._lines.write(row)
        if self._shards:
            self._shards.write(row)

    def finish(self) -> list[WrittenFile]:
        """Close the files and return them."""
        files: list[tuple[Path, int]] = []
        if self._lines:
            files += self._lines.finish()
        if self._shards:
            files += self._shards.finish()
        return [describe_file(self._folder, path.relative_to(self._folder), rows) for path, rows in files]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let go of open files when the export breaks off."""
        for part in (self._lines, self._shards):
            if part:
                part.close()


class _Lines:
    """JSON lines: UTF-8, sorted keys, no NaN, a line end after the last."""

    def __init__(self, base: Path, *, zipped: bool) -> None:
        self._path = base.with_name(f"{base.name}.jsonl{'.gz' if zipped else ''}")
        self._zipped = zipped
        self._raw: IO[bytes] | None = None
        self._file: IO[bytes] | None = None
        self._rows = 0

    def write(self, row: Row) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._raw = self._path.open("wb")
            # Neither a name nor a time: the same rows give the same bytes.
            self._file = (
                gzip.GzipFile("", "wb", GZIP_LEVEL, self._raw, mtime=0) if self._zipped else self._raw  # type: ignore[assignment]
            )
        assert self._file is not None  # noqa: S101
        self._file.write(json_line(row))
        self._rows += 1

    def finish(self) -> list[tuple[Path, int]]:
        self.close()
        return [(self._path, self._rows)] if self._rows else []

    def close(self) -> None:
        for file in (self._file, self._raw):
            if file is not None:
                file.close()


class _Shards:
    """Parquet in shards of 100,000 rows, named when their number is known."""

    def __init__(self, base: Path, schema: pa.Schema) -> None:
        self._base, self._schema = base, schema
        self._held: list[Row] = []
        self._writer: pq.ParquetWriter | None = None
        self._counts: list[int] = []

    def write(self, row: Row) -> None:
        self._held.append(row)
        if len(self._held) == ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            self._counts.append(0)
            self._base.parent.mkdir(parents=True, exist_ok=True)
            self._writer = parquet_writer(self._part(len(self._counts) - 1), self._schema)
        self._writer.write_table(pa.Table.from_pylist(self._held, schema=self._schema), row_group_size=ROWS_PER_GROUP)
        self._counts[-1] += len(self._held)
        self._held = []
        if self._counts[-1] >= ROWS_PER_SHARD:
            self.close()

    def finish(self) -> list[tuple[Path, int]]:
        if self._held:
            self._flush()
        self.close()
        files = []
        for number, rows in enumerate(self._counts):
            path = self._base.with_name(f"{self._base.name}-{number:05d}-of-{len(self._counts):05d}.parquet")
            self._part(number).rename(path)
            files.append((path, rows))
        return files

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _part(self, number: int) -> Path:
        return self._base.with_name(f"{self._base.name}-{number:05d}.part")


class DocumentWriter:
    """Writes rows as the `comparisons` of one JSON document, whose head is known beforehand."""

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self.rows = 0
        self._path, self._head = path, head
        self._file: IO[bytes] | None = None

    def write(self, row: Row) -> None:
        """Write a comparison on a line of its own."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
            head = json.dumps(self._head, sort_keys=True, ensure_ascii=False, allow_nan=False)
            self._file.write(head[:-1].encode() + b', "comparisons": [\n')
        else:
            self._file.write(b",\n")
        self._file.write(json_line(row)[:-1])
        self.rows += 1

    def close(self) -> None:
        """End the document."""
        if self._file is not None:
            self._file.write(b"\n]}\n")
            self._file.close()
            self._file = None


def json_line(row: Mapping[str, Any]) -> bytes:
    """Return a row as a line of JSON."""
    return (_LINE.encode(row) + "\n").encode()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object in the same way, indented for a reader."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Return a writer with everything fixed that could differ between two."""
    return pq.ParquetWriter(
        path,
        schema,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=9,
        use_dictionary=True,
        write_statistics=True,
        store_schema=True,
    )


def describe_file(folder: Path, path: Path, rows: int) -> WrittenFile:
    """Return a written file's entry; `path` is relative to `folder`."""
    with (folder / path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return WrittenFile(path.as_posix(), digest, (folder / path).stat().st_size, rows)


def hash_files(files: Sequence[WrittenFile]) -> str:
    """Return one SHA-256 over the paths and hashes of files, whatever order they come in."""
    lines = sorted(f"{file.sha256}  {file.path}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
