"""Immutable exports: one consistent read, files written beside their place and moved there whole.

A process that is killed leaves nothing where a reader would look. The same data, settings and seed give the same bytes.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings as django_settings
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from annotation.errors import TiebreakError
from annotation.models import Project, User
from annotation.publishing import wake
from exports.accompanying import write_companions
from exports.carding import write_card
from exports.carrying import carry_project
from exports.cataloguing import write_catalog
from exports.disclosing import disclose
from exports.errors import ExportError, NothingToExport
from exports.gathering import Gathered, check_weights, gather
from exports.models import Snapshot, SnapshotState
from exports.placing import (
    MANIFEST,
    holds_export,
    move_into_place,
    refuse_foreign,
    remove_export,
    sweep_partials,
    working_folder,
)
from exports.profiles import Profile, profiles_named
from exports.pseudonymising import pseudonym, pseudonym_key
from exports.reading import consistent_read
from exports.reporting import export_reports
from exports.rowing import Progress, write_profile
from exports.settings import SnapshotSettings
from exports.spooling import Spool
from exports.writing import WrittenFile, describe_file, hash_files, write_json
from routing.labels.resolving import resolve_labels

logger = logging.getLogger(__name__)

TASK = "exports.tasks.write_snapshot"
UNFINISHED = (SnapshotState.QUEUED, SnapshotState.RUNNING)
# After this long a message counts as lost; writing takes seconds, and writing twice is harmless.
LOST_AFTER = timedelta(minutes=2)
# A snapshot that has been running for so long was left behind.
ABANDONED_AFTER = timedelta(days=1)


def take_snapshot(
    project: Project,
    *,
    profiles: Sequence[str] = ("dpo",),
    out: Path | None = None,
    created_by: User | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Snapshot:
    """Resolve the project's labels, export it in this process and return the finished snapshot.

    `out` (default: a folder below `EXPORT_DIR`) must be free, or hold the very same export. `settings` are those of
    `SnapshotSettings`. `progress` is called with the name of each stage. Raises `ExportError` in words for settings
    that cannot be, a folder that is taken and a project without a single row; the snapshot then says why it failed.
    """
    wanted = SnapshotSettings.parse(settings)
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


def delete_snapshot(snapshot: Snapshot, *, now: datetime) -> None:
    """Remove a snapshot's files and reports for good; its number, settings and hash stay, so that none is used twice.

    The folder goes in one step, where it holds this very export and no other snapshot lies in it. Twice is once.
    Raises `ExportError` for a snapshot that is being written.
    """
    with transaction.atomic():
        locked = Snapshot.objects.select_for_update().get(pk=snapshot.pk)
        if locked.state == SnapshotState.RUNNING and locked.created_at > now - ABANDONED_AFTER:
            raise ExportError(f"Snapshot {locked.number} is being written. Wait until it is done, then delete it.")
        if locked.state == SnapshotState.DELETED:
            return
        others = Snapshot.objects.filter(folder=locked.folder, state=SnapshotState.DONE).exclude(pk=locked.pk)
        lies_alone = not others.exists()
        if locked.content_hash and lies_alone and holds_export(Path(locked.folder), locked.content_hash):
            remove_export(Path(locked.folder))
        locked.state, locked.deleted_at = SnapshotState.DELETED, now
        locked.files, locked.counts, locked.report = [], {}, {}
        locked.save(update_fields=["state", "deleted_at", "files", "counts", "report"])


def snapshot_numbered(project: Project, number: int) -> Snapshot:
    """Return a project's snapshot by its number. Raises `ExportError` with those there are."""
    snapshot = Snapshot.objects.filter(project=project, number=number).first()
    if snapshot is None:
        known = Snapshot.objects.filter(project=project).order_by("-number").values_list("number", flat=True)[:10]
        there = ", ".join(map(str, known)) or "none yet"
        raise ExportError(f"{project.slug} has no snapshot {number}. Snapshots: {there}.")
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
    named = profiles_named(profiles)
    check_weights(project, settings)
    with transaction.atomic():
        # The project's row is the lock on its snapshots' numbers.
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        last = Snapshot.objects.filter(project=project).aggregate(last=Max("number"))["last"] or 0
        snapshot = Snapshot(
            project=project,
            number=last + 1,
            profiles=[profile.name for profile in named],
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
    profiles = profiles_named(snapshot.profiles)
    folder = Path(snapshot.folder)
    refuse_foreign(folder)
    progress("resolve labels")
    resolve_labels(snapshot.project)
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep_partials(folder)
    with working_folder(folder) as work:
        spool = Spool(work / "records")
        try:
            written = _write_all(snapshot.project, profiles, settings, spool, work / "files", progress)
        finally:
            spool.close()
        progress("move into place")
        move_into_place(work / "files", folder, written["content_hash"])
    return written


def _write_all(
    project: Project,
    profiles: Sequence[Profile],
    settings: SnapshotSettings,
    spool: Spool,
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Write all files of an export below `folder`; return what the snapshot's row says of them."""
    key = pseudonym_key(project, settings.seed)
    progress("read")
    with consistent_read():
        gathered = gather(project, profiles, settings, spool, key=key)
        progress("report")
        figures = export_reports(project, name_of=lambda name: pseudonym(key, name))
        figures = gathered.safe_report(figures)
        carried = (
            carry_project(folder, project, key=key, gate=gathered.gate, groups=gathered.groups)
            if settings.with_project
            else {}
        )
    files, by_profile = _write_profiles(project, profiles, gathered, spool, folder, progress)
    counts = {
        "pairs": len(spool),
        # The first profile's counts stand on top as well: most exports have one.
        **by_profile[profiles[0].name],
        "margin": gathered.context.margin,
        "licences": gathered.licences,
        "relabelled": gathered.relabelled,
        "fragile": gathered.fragile,
        "personal_data": gathered.gate.as_dict(),
        "groups": gathered.groups.as_dict(),
        "profiles": by_profile,
    }
    report = {"settings": settings.to_json(), "counts": counts, **figures}
    columns = {profile.name: profile.written_columns(gathered.context) for profile in profiles}
    write_json(folder / "report.json", report)
    guidelines = gathered.gate.replaced(project.guidelines, "prompts")
    disclosure = disclose(project, report, guidelines=guidelines)
    write_card(folder / "README.md", project, columns, files, disclosure)
    catalog = write_catalog(folder, project, columns, files, disclosure)
    extra = ["README.md", "report.json", catalog, *write_companions(folder, project.slug, columns, files)]
    files += [describe_file(folder, Path(name), 0) for name in extra]
    files += [describe_file(folder, Path(path), rows) for path, rows in carried.items()]
    content_hash = hash_files(files)
    files = _write_manifest(folder, project, profiles, files, settings, content_hash)
    return {
        "files": [file._asdict() for file in files],
        "counts": counts,
        "report": figures,
        "content_hash": content_hash,
    }


def _write_profiles(
    project: Project,
    profiles: Sequence[Profile],
    gathered: Gathered,
    spool: Spool,
    folder: Path,
    progress: Progress,
) -> tuple[list[WrittenFile], dict[str, Any]]:
    """Write each profile in a pass of its own, so that one row group is in memory. Return files and counts."""
    files: list[WrittenFile] = []
    counts: dict[str, Any] = {}
    for profile in profiles:
        progress(f"write {profile.name}")
        mine, tally = write_profile(folder, profile, gathered, spool, name=project.slug, progress=progress)
        if not tally.rows:
            reasons = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in sorted(tally.left_out.items()))
            raise NothingToExport(
                f"{project.slug} has no row for the profile {profile.name}: {len(spool)} pairs, left out: "
                f"{reasons or 'none'}. Have people answer, or run a judge and plan the routing, then export again."
            )
        files += mine
        counts[profile.name] = {**tally.to_json(), "opposing_rationales": gathered.opposing_rationales}
    return files, counts


def _write_manifest(
    folder: Path,
    project: Project,
    profiles: Sequence[Profile],
    files: Sequence[WrittenFile],
    settings: SnapshotSettings,
    content_hash: str,
) -> list[WrittenFile]:
    ordered = sorted(files, key=lambda file: file.path)
    manifest = {
        "format": "tiebreak-export/2",
        "project": project.slug,
        "profiles": {profile.name: profile.version for profile in profiles},
        "settings": settings.to_json(),
        "content_hash": content_hash,
        "files": [file._asdict() for file in ordered],
    }
    write_json(folder / MANIFEST, manifest)
    return [*ordered, describe_file(folder, Path(MANIFEST), 0)]
