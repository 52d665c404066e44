"""Files for the import tests, written from records."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from annotation.importing import ImportReport, OnError, import_pairs
from annotation.models import Project

Records = list[dict[str, Any]]


def jsonl_bytes(records: Records) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def json_bytes(records: Records) -> bytes:
    return json.dumps(records, indent=1).encode()


def table_bytes(records: Records, delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(records[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def parquet_bytes(records: Records) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), file)
    return file.getvalue()


CONTAINERS: dict[str, Callable[[Records], bytes]] = {
    "pairs.jsonl": jsonl_bytes,
    "pairs.json": json_bytes,
    "pairs.csv": lambda records: table_bytes(records, ","),
    "pairs.tsv": lambda records: table_bytes(records, "\t"),
    "pairs.parquet": parquet_bytes,
    "pairs.jsonl.gz": lambda records: gzip.compress(jsonl_bytes(records)),
    "pairs.json.gz": lambda records: gzip.compress(json_bytes(records)),
    "pairs.csv.gz": lambda records: gzip.compress(table_bytes(records, ",")),
    "pairs.parquet.gz": lambda records: gzip.compress(parquet_bytes(records)),
}


def pair(**overrides: Any) -> dict[str, Any]:
    return {"id": "p1", "prompt": "Name a colour.", "response_a": "Red.", "response_b": "Blue.", **overrides}


def run(
    project: Project, folder: Path, content: bytes | Records, name: str = "pairs.jsonl", **options: Any
) -> ImportReport:
    """Write a file and import it."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else jsonl_bytes(content))
    return import_pairs(project, path, **options)


def skipping(project: Project, folder: Path, content: bytes | Records, **options: Any) -> ImportReport:
    """Write a file and import its good rows."""
    return run(project, folder, content, on_error=OnError.SKIP, **options)
