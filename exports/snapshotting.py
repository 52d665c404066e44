"""Immutable exports: one consistent read, files written beside their place and moved there whole.

A process that is killed leaves nothing where a reader would look. The same data, settings and seed give the same bytes.
"""

import glob
import json
import logging
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings as django_settings
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from annotation.errors import TiebreakError
from annotation.models import Project, User
from annotation.publishing import wake
from exports.carding import write_card
from exports.errors import ExportError, FolderTaken, NothingToExport
from exports.models import Snapshot, SnapshotState
from exports.profiles import PROFILES, LeftOut, Profile, Row
from exports.profiles.dpo import opposing_rationales
from exports.pseudonymising import pseudonym, pseudonym_key
from exports.reading import Record, consistent_read, read_records
from exports.reporting import (
    agreement_report,
    consistency_report,
    judges_report,
    people_report,
    routing_report,
    steadiness_report,
)
from exports.settings import SnapshotSettings
from exports.splitting import SplitKeys, split_pairs
from exports.writing import WrittenFile, describe_file, hash_files, write_json, write_split
from judges.auditing import judge_audits
from routing.labels.resolving import resolve_labels

logger = logging.getLogger(__name__)

TASK = "exports.tasks.write_snapshot"
MANIFEST = "manifest.json"
SPLITS = ("train", "test")
UNFINISHED = (SnapshotState.QUEUED, SnapshotState.RUNNING)
# After this long a message counts as lost; writing takes seconds, and writing twice is harmless.
LOST_AFTER = timedelta(minutes=2)
ABANDONED_SECONDS = 24 * 3600

Progress = Callable[[str], None]


class Collected(NamedTuple):
    """What one consistent read gave: rows by profile and split, counts, and the report."""

    rows: dict[str, dict[str, list[Row]]]
    counts: dict[str, Any]
    report: dict[str, Any]


def take_snapshot(
    project: Project,
    *,
    profiles: Sequence[str] = ("dpo",),
    out: Path | None = None,
    format: str = "both",
    seed: int = 0,
    test_share: float = 0.1,
    tie_rule: str = "drop",
    min_agreement: float = 0.0,
    include_simulated: bool = True,
    created_by: User | None = None,
    progress: Progress | None = None,
) -> Snapshot:
    """Resolve the project's labels, export it in this process and return the finished snapshot.

    `out` (default: a folder below `EXPORT_DIR`) must be free, or hold the very same export. `progress` is called with
    the name of each stage. Raises `ExportError` in words for settings that cannot be, a folder that is taken and a
    project without a single row; the snapshot then says why it failed.
    """
    wanted = SnapshotSettings(
        format=format,
        seed=seed,
        test_share=test_share,
        tie_rule=tie_rule,
        min_agreement=min_agreement,
        include_simulated=include_simulated,
    )
    snapshot = _create(project, profiles=profiles, settings=wanted, out=out, created_by=created_by)
    _fill(snapshot, progress or (lambda stage: None))
    snapshot.refresh_from_db()
    return snapshot


def queue_snapshot(
    project: Project,
    *,
    profiles: Sequence[str] = ("dpo",),
    settings: Mapping[str, Any] | None = None,
    created_by: User | None = None,
) -> Snapshot:
    """Have a worker export the project into a folder below `EXPORT_DIR`. Raises `ExportError` for unknown settings.

    A broker that is down loses nothing: the row waits, and `send_waiting_snapshots` sends it again.
    """
    wanted = SnapshotSettings.parse(settings or {})
    with transaction.atomic():
        snapshot = _create(project, profiles=profiles, settings=wanted, out=None, created_by=created_by)
        transaction.on_commit(lambda: _send(snapshot.id))
    return snapshot


def write_snapshot(snapshot_id: UUID | str) -> Snapshot:
    """Write a queued snapshot and return it. Idempotent: a finished one is left alone.

    What goes wrong in words for a person ends in the snapshot's `error`; any other exception does too, and is raised.
    """
    snapshot = Snapshot.objects.select_related("project").get(pk=snapshot_id)
    if snapshot.state in UNFINISHED:
        try:
            _fill(snapshot, lambda stage: None)
        except TiebreakError as error:
            logger.info("snapshot %s was not written: %s", snapshot.pk, error)
        snapshot.refresh_from_db()
    return snapshot


def send_waiting_snapshots(*, now: datetime) -> int:
    """Send the snapshots again whose message or worker was lost; return how many messages left.

    Sending one twice is harmless: both writers make the same files, and the first to end moves them into place.
    """
    waiting = Snapshot.objects.filter(state__in=UNFINISHED, created_at__lt=now - LOST_AFTER).order_by("created_at")
    sent = 0
    for snapshot_id in waiting.values_list("id", flat=True):
        if not _send(snapshot_id):
            break
        sent += 1
    return sent


def _send(snapshot_id: UUID) -> bool:
    """Wake a worker for a snapshot; say whether the broker took the message."""
    return wake([TASK], {"snapshot_id": str(snapshot_id)})


def _create(
    project: Project,
    *,
    profiles: Sequence[str],
    settings: SnapshotSettings,
    out: Path | None,
    created_by: User | None,
) -> Snapshot:
    if not profiles:
        raise ExportError(f"An export needs a profile. Known: {', '.join(PROFILES)}.")
    if unknown := sorted(set(profiles) - set(PROFILES)):
        raise ExportError(f"Unknown profile {', '.join(unknown)}. Known: {', '.join(PROFILES)}.")
    with transaction.atomic():
        # The project's row is the lock on its snapshots' numbers.
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        last = Snapshot.objects.filter(project=project).aggregate(last=Max("number"))["last"] or 0
        snapshot = Snapshot(
            project=project,
            number=last + 1,
            profiles=sorted(set(profiles)),
            settings=settings.to_json(),
            created_by=created_by,
        )
        folder = out if out is not None else django_settings.EXPORT_DIR / str(snapshot.id)
        snapshot.folder = str(folder.resolve())
        snapshot.save(force_insert=True)
    return snapshot


def _fill(snapshot: Snapshot, progress: Progress) -> None:
    """Export into the snapshot's folder and finish its row; on an exception the row says why, and it is raised."""
    unfinished = Snapshot.objects.filter(pk=snapshot.pk, state__in=UNFINISHED)
    unfinished.update(state=SnapshotState.RUNNING)
    try:
        done = _export(snapshot, progress)
    except Exception as error:
        said = str(error) if isinstance(error, TiebreakError) else f"The export broke off: {error!r}"
        unfinished.update(state=SnapshotState.FAILED, error=said, finished_at=timezone.now())
        raise
    unfinished.update(state=SnapshotState.DONE, finished_at=timezone.now(), **done)


def _export(snapshot: Snapshot, progress: Progress) -> dict[str, Any]:
    settings = SnapshotSettings.parse(snapshot.settings)
    folder = Path(snapshot.folder)
    _refuse_foreign(folder)
    progress("resolve labels")
    resolve_labels(snapshot.project)
    progress("read")
    with consistent_read():
        collected = _collect(snapshot.project, [PROFILES[name] for name in snapshot.profiles], settings)
    progress("write")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep_partials(folder)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    try:
        files = _write(partial, snapshot.project, collected, settings)
        content_hash = hash_files(files)
        files = _write_manifest(partial, snapshot.project, files, settings, content_hash)
        progress("move into place")
        _move_into_place(partial, folder, content_hash)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {
        "files": [file._asdict() for file in files],
        "counts": collected.counts,
        "report": collected.report,
        "content_hash": content_hash,
    }


def _collect(project: Project, profiles: Sequence[Profile], settings: SnapshotSettings) -> Collected:
    """Make every profile's rows, the counts and the report. Caller holds the consistent read."""
    key = pseudonym_key(project, settings.seed)
    records = read_records(project, key=key)
    keys = [SplitKeys(record.prompt_group, record.prompt_hash, (record.a.text, record.b.text)) for record in records]
    sides = split_pairs(keys, test_share=settings.test_share, seed=settings.seed)
    rows: dict[str, dict[str, list[Row]]] = {}
    by_profile: dict[str, Any] = {}
    for profile in profiles:
        splits: dict[str, list[Row]] = {split: [] for split in SPLITS}
        left_out: Counter[str] = Counter()
        for record, side in zip(records, sides, strict=True):
            built = profile.build_rows(record, settings)
            if isinstance(built, LeftOut):
                left_out[built.value] += 1
            else:
                splits[side] += built
        rows[profile.name] = splits
        by_profile[profile.name] = _count(splits, left_out, records)
        if not any(splits.values()):
            reasons = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in sorted(left_out.items()))
            raise NothingToExport(
                f"{project.slug} has no row for the profile {profile.name}: {len(records)} pairs, left out: "
                f"{reasons or 'none'}. Have people answer, or run a judge and plan the routing, then export again."
            )
    audits = judge_audits(project)
    cards = {key: audit.card for key, audit in audits.items()}
    report = {
        "agreement": agreement_report(project, cards=cards),
        "consistency": consistency_report(project),
        "judges": judges_report(project, audits=audits)["judges"],
        "people": people_report(project, name_of=lambda name: pseudonym(key, name)),
        "steadiness": steadiness_report(project, name_of=lambda name: pseudonym(key, name)),
        "routing": routing_report(project),
    }
    # The first profile's counts stand on top as well: most exports have one.
    first = by_profile[profiles[0].name]
    return Collected(rows, {"pairs": len(records), **first, "profiles": by_profile}, report)


def _count(splits: dict[str, list[Row]], left_out: Counter[str], records: Sequence[Record]) -> dict[str, Any]:
    rows = [row for split in splits.values() for row in split]
    kept = {row["external_id"] for row in rows}
    winners: dict[str, set[str]] = {}
    for row in rows:
        winners.setdefault(row["content_id"], set()).add(row["chosen"][0]["content"])
    return {
        "rows": len(rows),
        "splits": {split: len(of) for split, of in splits.items()},
        "left_out": dict(sorted(left_out.items())),
        "label_sources": _tally(rows, "label_source"),
        "rationale_sources": _tally(rows, "rationale_source"),
        "rationale_origins": _tally(rows, "rationale_origin"),
        "annotator_origins": dict(
            sorted(Counter(origin for row in rows for origin in set(row["annotator_origins"])).items())
        ),
        "route_sources": _tally(rows, "route_source"),
        "opposing_rationales": sum(opposing_rationales(record) for record in records if record.external_id in kept),
        "repeated_content": len(rows) - len(winners),
        "contradicting_content": sum(len(texts) > 1 for texts in winners.values()),
    }


def _tally(rows: Sequence[Row], column: str) -> dict[str, int]:
    return dict(sorted(Counter(str(row[column]) for row in rows if row[column]).items()))


def _write(folder: Path, project: Project, collected: Collected, settings: SnapshotSettings) -> list[WrittenFile]:
    files = [
        file
        for name, splits in collected.rows.items()
        for split, rows in splits.items()
        for file in write_split(folder, PROFILES[name], split, rows, settings.format)
    ]
    report = {"settings": settings.to_json(), "counts": collected.counts, **collected.report}
    write_json(folder / "report.json", report)
    write_card(folder / "README.md", project, list(collected.rows), files, report)
    return [*files, *(describe_file(folder, Path(name), 0) for name in ("README.md", "report.json"))]


def _write_manifest(
    folder: Path, project: Project, files: Sequence[WrittenFile], settings: SnapshotSettings, content_hash: str
) -> list[WrittenFile]:
    ordered = sorted(files, key=lambda file: file.path)
    manifest = {
        "format": "tiebreak-export/1",
        "project": project.slug,
        "settings": settings.to_json(),
        "content_hash": content_hash,
        "files": [file._asdict() for file in ordered],
    }
    write_json(folder / MANIFEST, manifest)
    return [*ordered, describe_file(folder, Path(MANIFEST), 0)]


def _refuse_foreign(folder: Path) -> None:
    """Raise `FolderTaken` for a folder with something else in it than an export."""
    if folder.is_file():
        raise FolderTaken(f"{folder} is a file. Name a folder that does not exist yet.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise FolderTaken(f"{folder} holds files that are no export of ours. Name an empty folder or a new one.")


def _sweep_partials(folder: Path) -> None:
    """Remove what writers of this folder that were killed have left."""
    for partial in folder.parent.glob(f".{glob.escape(folder.name)}.partial-*"):
        if partial.stat().st_mtime < time.time() - ABANDONED_SECONDS:
            shutil.rmtree(partial, ignore_errors=True)


def _move_into_place(partial: Path, folder: Path, content_hash: str) -> None:
    """Move a finished folder to its place in one step. The same export standing there already is left as it is."""
    partial.chmod(0o755)
    try:
        partial.rename(folder)
    except OSError as error:
        if not (folder / MANIFEST).is_file():
            raise
        there = json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("content_hash", "")
        if there != content_hash or not _is_whole(folder):
            raise FolderTaken(
                f"{folder} holds another export ({there[:12] or 'without a hash'}, this one is {content_hash[:12]}). "
                "An export is never overwritten: name another folder, or remove that one first."
            ) from error


def _is_whole(folder: Path) -> bool:
    """Say whether the files of an export are those of its manifest."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return all(
        (folder / file["path"]).is_file() and describe_file(folder, Path(file["path"]), file["rows"])._asdict() == file
        for file in manifest["files"]
    )
