"""Rows to files, the same rows to the same bytes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from exports.profiles import Profile
from exports.profiles.columns import Row, arrow_schema

ROWS_PER_SHARD = 100_000
ROWS_PER_GROUP = 10_000


class WrittenFile(NamedTuple):
    """A file of an export: its path below the folder, its SHA-256, its size, and its rows (0 where it holds none)."""

    path: str
    sha256: str
    bytes: int
    rows: int


def write_split(folder: Path, profile: Profile, split: str, rows: Sequence[Row], format: str) -> list[WrittenFile]:
    """Write one split of a profile below `folder` and return its files. A split without rows makes no file."""
    files = []
    if rows and format in ("jsonl", "both"):
        path = Path(profile.name) / f"{split}.jsonl"
        write_json_lines(folder / path, rows)
        files.append(describe_file(folder, path, len(rows)))
    if rows and format in ("parquet", "both"):
        shards = [rows[start : start + ROWS_PER_SHARD] for start in range(0, len(rows), ROWS_PER_SHARD)]
        for number, shard in enumerate(shards):
            path = Path(profile.name) / f"{split}-{number:05d}-of-{len(shards):05d}.parquet"
            write_parquet(folder / path, shard, arrow_schema(profile.columns))
            files.append(describe_file(folder, path, len(shard)))
    return files


def write_json_lines(path: Path, rows: Sequence[Row]) -> None:
    """Write an object a line: UTF-8, sorted keys, no NaN, a line end after the last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object in the same way, indented for a reader."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=2)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def write_parquet(path: Path, rows: Sequence[Row], schema: pa.Schema) -> None:
    """Write Parquet with everything fixed that could differ between two writers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(list(rows), schema=schema)
    pq.write_table(
        table,
        path,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=9,
        use_dictionary=True,
        write_statistics=True,
        row_group_size=ROWS_PER_GROUP,
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
