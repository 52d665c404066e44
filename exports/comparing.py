"""What changed between two snapshots: settings, counts, and rows of a profile that both have."""

import gzip
import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from exports.digesting import digest
from exports.errors import ExportError
from exports.models import Snapshot, SnapshotState
from exports.profiles import PROFILES
from exports.splitting import SIDES

# What makes a row another one for who trains on it; beside this, any column may have changed.
WINNING = ("chosen", "completion", "label", "completions")
ROWS_PER_READ = 2000
EXAMPLES = 20


class Changes(NamedTuple):
    """What changed between two snapshots.

    `settings` maps each setting that differs to (before, after). `profile` is the one whose rows were compared (empty:
    none that both have, with an id in its rows); of its rows, by `id`: those added, removed, with another winner, on
    another side of the split, with another source of the label, and changed in anything at all. `examples` are ids of
    each kind, 20 at most.
    """

    same: bool
    settings: dict[str, tuple[Any, Any]]
    profiles_added: list[str]
    profiles_removed: list[str]
    counts: dict[str, tuple[int, int]]
    profile: str
    rows: dict[str, int]
    examples: dict[str, list[str]]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return self._asdict()


class _Rows(NamedTuple):
    """The rows of a profile as numbers, sorted by `id`; 40 bytes a row."""

    ids: NDArray[np.uint64]
    whole: NDArray[np.uint64]
    winner: NDArray[np.uint64]
    source: NDArray[np.uint64]
    split: NDArray[np.uint64]


def compare_snapshots(before: Snapshot, after: Snapshot, *, profile: str = "") -> Changes:
    """Return what changed from one snapshot to another of the same project.

    Rows are read from the files, some thousand at a time; `profile` (default: the first that both have) names whose.
    Raises `ExportError` for a snapshot that is not done, whose files are gone, or a profile that one does not have.
    """
    for snapshot in (before, after):
        if snapshot.state != SnapshotState.DONE:
            raise ExportError(f"Snapshot {snapshot.number} is not finished: {snapshot.get_state_display()}.")
    shared = [name for name in PROFILES if name in before.profiles and name in after.profiles and _has_id(name)]
    if profile and profile not in shared:
        raise ExportError(f"Both snapshots have no rows of {profile!r} to compare. Both have: {', '.join(shared)}.")
    compared = profile or (shared[0] if shared else "")
    same = before.content_hash == after.content_hash
    names = {*before.settings, *after.settings}
    differing = {
        name: (before.settings.get(name), after.settings.get(name))
        for name in sorted(names)
        if before.settings.get(name) != after.settings.get(name)
    }
    rows: dict[str, int] = {}
    examples: dict[str, list[str]] = {}
    if compared and not same:
        rows, examples = _compare_rows(before, after, compared)
    return Changes(
        same,
        differing,
        sorted(set(after.profiles) - set(before.profiles)),
        sorted(set(before.profiles) - set(after.profiles)),
        _counts(before, after),
        compared,
        rows,
        examples,
    )


def _has_id(name: str) -> bool:
    profile = PROFILES[name]
    return profile.document_head is None and any(column.name == "id" for column in profile.columns)


def _counts(before: Snapshot, after: Snapshot) -> dict[str, tuple[int, int]]:
    """Return the counts that differ: pairs, and rows and reasons of each profile that both have."""
    found = {"pairs": (before.counts["pairs"], after.counts["pairs"])}
    for name in sorted(set(before.profiles) & set(after.profiles)):
        old, new = before.counts["profiles"][name], after.counts["profiles"][name]
        found[f"{name} rows"] = (old["rows"], new["rows"])
        for reason in sorted({*old["left_out"], *new["left_out"]}):
            found[f"{name} left out: {reason}"] = (old["left_out"].get(reason, 0), new["left_out"].get(reason, 0))
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def _compare_rows(before: Snapshot, after: Snapshot, profile: str) -> tuple[dict[str, int], dict[str, list[str]]]:
    old, new = _read(before, profile), _read(after, profile)
    _, ours, theirs = np.intersect1d(old.ids, new.ids, assume_unique=True, return_indices=True)
    kinds = {
        "added": new.ids[np.isin(new.ids, old.ids, invert=True, assume_unique=True)],
        "removed": old.ids[np.isin(old.ids, new.ids, invert=True, assume_unique=True)],
        "another winner": old.ids[ours[old.winner[ours] != new.winner[theirs]]],
        "another label source": old.ids[ours[old.source[ours] != new.source[theirs]]],
        "another split": old.ids[ours[old.split[ours] != new.split[theirs]]],
        "changed in any column": old.ids[ours[old.whole[ours] != new.whole[theirs]]],
    }
    wanted = {int(one) for found in kinds.values() for one in found[:EXAMPLES]}
    named = {
        number: str(row["id"])
        for snapshot in (before, after)
        for _, row in _rows_of(snapshot, profile)
        if (number := digest(row["id"])) in wanted
    }
    counts = {"unchanged": len(ours) - len(kinds["changed in any column"]), **{k: len(v) for k, v in kinds.items()}}
    return counts, {kind: [named[int(one)] for one in found[:EXAMPLES]] for kind, found in kinds.items()}


def _read(snapshot: Snapshot, profile: str) -> _Rows:
    columns = [array("Q") for _ in _Rows._fields]
    for split, row in _rows_of(snapshot, profile):
        winner = {name: row[name] for name in WINNING if name in row}
        values = (row["id"], _canonical(row), _canonical(winner), str(row.get("label_source", "")), split)
        for column, value in zip(columns, values, strict=True):
            column.append(digest(value))
    arrays = [np.array(column, dtype=np.uint64) for column in columns]
    order = np.argsort(arrays[0])
    return _Rows(*(one[order] for one in arrays))


def _rows_of(snapshot: Snapshot, profile: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a profile with their split, from Parquet where it was written."""
    folder = Path(snapshot.folder)
    paths = [file["path"] for file in snapshot.files if file["path"].startswith(f"{profile}/") and file["rows"]]
    chosen = [path for path in paths if path.endswith(".parquet")] or paths
    for path in chosen:
        split = next(name for name in SIDES if Path(path).name.startswith(name))
        if not (folder / path).is_file():
            raise ExportError(f"{path} of snapshot {snapshot.number} is gone from its folder; export it again.")
        for row in _rows_in(folder / path):
            yield split, row


def _rows_in(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches(batch_size=ROWS_PER_READ):
            yield from batch.to_pylist()
        return
    opened: Any = _open_lines(path)
    with opened as file:
        for line in file:
            yield json.loads(line)


def _open_lines(path: Path) -> Any:
    return (
        gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8", newline="\n")
    )


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
