"""Reading a file into pairs, whole or not at all.

A file is read twice. First every row is checked without a lock, so that a bad file costs nobody anything and all its
bad rows are listed; then the rows are written in one transaction.
"""

import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings
from django.core.files import File
from django.db import transaction
from django.utils import timezone

from annotation.errors import AnnotationError
from annotation.mapping import FieldMap, parse_field_map
from annotation.models import Import, Pair, Project, User
from annotation.publishing import wake
from annotation.reading import FORMATS, FileRefused, OpenFile, RawRow, open_file
from annotation.recognising import read_record
from annotation.records import Reading, RejectedRow, RowProblem
from annotation.storing import PairStore, Sifted

# A row of completions holds up to 2,016 pairs, and SQLite binds at most 32,766 values in a statement.
BATCH_PAIRS = 500
BATCH_BYTES = 8 * 1024**2
LISTED_ROWS = 1000
TASK = "annotation.tasks.run_import"
# A job whose file was not touched for this long has no living worker; each batch touches it.
STALE = timedelta(minutes=10)
# The message of a job leaves at once; one that still waits after this may have been lost with its broker.
LOST = timedelta(minutes=1)


class OnError(StrEnum):
    """What becomes of a file with bad rows."""

    REFUSE = "refuse"
    SKIP = "skip"


class RowRefused(AnnotationError):
    """Raised by a consumer for a row it cannot take; the row then counts as a bad row of the file."""

    def __init__(self, line: int, field: str, reason: str) -> None:
        super().__init__(f"line {line}, {field}: {reason}")
        self.row = RejectedRow(line, field, reason)


class ImportedRow(NamedTuple):
    """A new pair and the record it came from; `record["judges"]` is in the pair's stored order."""

    pair: Pair
    record: dict[str, Any]
    line: int


class ImportReport(NamedTuple):
    """What an import did, or with `dry_run` would do. `rejected` lists the first 1,000 of `rejected_count` rows."""

    rows: int
    added: int
    already_there: int
    preferences: int
    ratings: int
    rejected: list[RejectedRow]
    rejected_count: int
    notes: list[str]
    dry_run: bool
    refused: bool

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {**self._asdict(), "rejected": [row._asdict() for row in self.rejected]}


Consume = Callable[[Project, list[ImportedRow]], object]
Check = Callable[[dict[str, Any]], list[tuple[str, str]]]
_consumers: dict[Consume, Check | None] = {}


def register_consumer(consume: Consume, check: Check | None = None) -> None:
    """Offer every stored batch of new pairs to `consume(project, rows)`, in the same transaction.

    `check(record)` is asked before anything is written and returns what is wrong as `[(field, reason)]`. `consume` may
    still raise `RowRefused`. Apps call this when they start; twice is once.
    """
    _consumers[consume] = check


def import_pairs(
    project: Project,
    path: Path,
    *,
    filename: str | None = None,
    format: str = "auto",
    field_map: Mapping[str, str] | None = None,
    on_error: OnError = OnError.REFUSE,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Read a file into a project's pairs, in one transaction; the same file twice adds nothing.

    `filename` is what the file was called where `path` is a name of our own. `field_map` is explained in
    `annotation.mapping`. `progress` is called with the rows read so far: while checking, and again from the start while
    storing. A file with bad rows is refused (`report.refused`), or with `OnError.SKIP` goes in without them.
    Raises `AnnotationError` for an unknown format, a map that cannot work and a file that is not there.
    """
    reader = _Import(project, parse_field_map(field_map), OnError(on_error), progress or (lambda rows: None))
    try:
        with open_file(path, filename=filename or path.name, format=format, numbered=reader.fields.numbered) as file:
            reader.notes += file.notes
            refused = reader.check(file)
            if not refused:
                with transaction.atomic():
                    # One import a project at a time; readers and annotators are not kept waiting.
                    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
                    refused = reader.store(file)
                    if refused or dry_run:
                        transaction.set_rollback(True)
    except FileRefused as error:
        reader.tally.reject(RejectedRow(error.line, "", error.reason))
        refused = True
    return reader.report(dry_run=dry_run, refused=refused)


class _Tally:
    """The counts of one reading of the file."""

    def __init__(self) -> None:
        self.rows = self.added = self.already_there = self.preferences = self.ratings = self.rejected_count = 0
        self.rejected: list[RejectedRow] = []

    def reject(self, row: RejectedRow) -> None:
        """Count a bad row, and list it while the list is short."""
        self.rejected_count += 1
        if len(self.rejected) < LISTED_ROWS:
            self.rejected.append(row)

    def is_refused(self, on_error: OnError) -> bool:
        """Say whether the file is refused: for a bad row, or because no row is good."""
        if not self.rejected_count:
            return False
        return on_error == OnError.REFUSE or self.rejected_count == self.rows


class _Import:
    """One import: the file is checked, then stored."""

    def __init__(self, project: Project, fields: FieldMap, on_error: OnError, progress: Callable[[int], None]) -> None:
        self.project = project
        self.fields = fields
        self.on_error = on_error
        self.progress = progress
        self.notes: list[str] = []
        self.shapes: Counter[str] = Counter()
        self.remarks: Counter[str] = Counter()
        self.scales: list[str] = []
        self.tally = _Tally()

    def check(self, file: OpenFile) -> bool:
        """Read the whole file without writing, and say whether it is refused."""
        store = PairStore(self.project)
        for readings in self._batches(file):
            sifted = store.sift(readings)
            for row in sifted.rejected:
                self.tally.reject(row)
            self.tally.added += len(sifted.new)
            self.tally.already_there += sifted.already_there
            for reading in readings:
                self.shapes[reading.shape] += 1
                self.remarks.update(reading.remarks)
        if not self.tally.rows:
            raise FileRefused(0, "the file holds no rows")
        return self.tally.is_refused(self.on_error)

    def store(self, file: OpenFile) -> bool:
        """Read the file again and write it. Caller holds the transaction and rolls back when this returns True."""
        self.tally = _Tally()
        store = PairStore(self.project)
        for readings in self._batches(file):
            sifted = store.sift(readings)
            for row in sifted.rejected:
                self.tally.reject(row)
            self._write(store, sifted)
        store.write_scales()
        self.remarks += store.remarks
        self.scales = store.notes
        return self.tally.is_refused(self.on_error)

    def _write(self, store: PairStore, sifted: Sifted) -> None:
        """Write a batch and offer it to the consumers; a row that one refuses is taken out and the batch redone."""
        records = sifted.new
        while True:
            try:
                with transaction.atomic():
                    pairs, counts = store.write(sifted._replace(new=records))
                    rows = [
                        ImportedRow(pair, record.record, record.line)
                        for pair, record in zip(pairs, records, strict=True)
                    ]
                    for consume in _consumers:
                        if rows:
                            consume(self.project, rows)
            except RowRefused as refusal:
                self.tally.reject(refusal.row)
                left = [record for record in records if record.line != refusal.row.line]
                if len(left) == len(records):
                    raise
                records = left
                store.forget_created()
            else:
                break
        self.tally.added += len(pairs)
        self.tally.already_there += sifted.already_there
        self.tally.preferences += counts.preferences
        self.tally.ratings += counts.ratings

    def _batches(self, file: OpenFile) -> Iterator[list[Reading]]:
        """Yield the good rows in batches bounded in pairs and bytes; bad rows go to the tally."""
        batch: list[Reading] = []
        pairs = size = 0
        for raw in file.rows():
            self.tally.rows += 1
            if reading := self._read(raw):
                batch.append(reading)
                pairs += len(reading.pairs)
                size += raw.size
            if pairs >= BATCH_PAIRS or size >= BATCH_BYTES:
                yield batch
                self.progress(self.tally.rows)
                batch, pairs, size = [], 0, 0
        if batch:
            yield batch
        self.progress(self.tally.rows)

    def _read(self, raw: RawRow) -> Reading | None:
        """Return what a row means, or None when it went to the tally."""
        try:
            if raw.record is None:
                raise RowProblem("", raw.problem)
            reading = read_record(raw.record, raw.line, self.fields)
            for pair in reading.pairs:
                self._ask_consumers(pair.record, reading.remarks)
        except RowProblem as problem:
            self.tally.reject(RejectedRow(raw.line, problem.field, problem.reason))
            return None
        return reading

    def _ask_consumers(self, record: dict[str, Any], remarks: list[str]) -> None:
        if record.get("judges") and not _consumers:
            remarks.append("the judgements (judges) are not stored: no app here reads them")
        for check in _consumers.values():
            problems = check(record) if check else []
            if problems:
                raise RowProblem(*problems[0])

    def report(self, *, dry_run: bool, refused: bool) -> ImportReport:
        """Return the report of the last reading."""
        tally = self.tally
        notes = self.notes + [f"Recognised {shape} ({_rows(count)})." for shape, count in self.shapes.most_common()]
        notes += [f"{text[0].upper()}{text[1:]} ({_rows(count)})." for text, count in self.remarks.items() if count]
        notes += self.scales
        return ImportReport(
            rows=tally.rows,
            added=0 if refused else tally.added,
            already_there=tally.already_there,
            preferences=0 if refused else tally.preferences,
            ratings=0 if refused else tally.ratings,
            rejected=tally.rejected,
            rejected_count=tally.rejected_count,
            notes=notes,
            dry_run=dry_run,
            refused=refused,
        )


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


# --- As a job -------------------------------------------------------------------------------------------------------


def queue_import(
    project: Project,
    upload: "File[bytes]",
    *,
    format: str = "auto",
    field_map: Mapping[str, str] | None = None,
    on_error: OnError = OnError.REFUSE,
    dry_run: bool = False,
    created_by: User | None = None,
) -> Import:
    """Keep an upload below `UPLOAD_DIR` under a name of our own, and have a worker read it.

    Raises `AnnotationError` for a file over `UPLOAD_LIMIT_BYTES`, an unknown format or a map that cannot work. A broker
    that is down loses nothing: the row waits, and `send_waiting_imports` sends it again.
    """
    parse_field_map(field_map)
    if format not in FORMATS:
        raise AnnotationError(f"There is no format {format!r}; choose one of {', '.join(FORMATS)}.")
    filename = Path(upload.name or "upload").name[-255:]
    job = Import(
        project=project,
        filename="".join(sign if sign.isprintable() else "?" for sign in filename),
        format=format,
        field_map=dict(field_map or {}),
        on_error=OnError(on_error).value,
        dry_run=dry_run,
        created_by=created_by,
    )
    job.path = str(job.id)
    _keep(upload, settings.UPLOAD_DIR / job.path)
    with transaction.atomic():
        job.save(force_insert=True)
        transaction.on_commit(lambda: _send(job.id))
    return job


def _keep(upload: "File[bytes]", path: Path) -> None:
    """Write an upload to a file that only we can read, in chunks, up to the limit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for chunk in upload.chunks():
            size += len(chunk)
            if size > settings.UPLOAD_LIMIT_BYTES:
                break
            file.write(chunk)
    if size > settings.UPLOAD_LIMIT_BYTES:
        path.unlink()
        raise AnnotationError(
            f"{upload.name} is larger than the limit of {settings.UPLOAD_LIMIT_BYTES:,} bytes; pack it with gzip, "
            "split it, or import it on the server with manage.py import_pairs."
        )


def _send(import_id: uuid.UUID) -> bool:
    """Wake a worker for a job; say whether the broker took the message."""
    return wake([TASK], {"import_id": str(import_id)})


def send_waiting_imports(*, now: datetime) -> int:
    """Send the jobs again whose message or worker was lost; return how many messages left.

    Sending one twice is harmless: `run_import` is idempotent.
    """
    sent = 0
    for job in Import.objects.filter(state__in=[Import.State.QUEUED, Import.State.RUNNING]).order_by("created_at"):
        if not _is_lost(job, now):
            continue
        if not _send(job.id):
            break
        sent += 1
    return sent


def _is_lost(job: Import, now: datetime) -> bool:
    if job.state == Import.State.QUEUED:
        return job.created_at < now - LOST
    path = settings.UPLOAD_DIR / job.path
    return not path.exists() or datetime.fromtimestamp(path.stat().st_mtime, UTC) < now - STALE


def run_import(import_id: uuid.UUID | str) -> None:
    """Read the file of a job and keep the report. Idempotent; a bad file ends in a report, not in an exception.

    Any other exception ends the job as failed too, and is raised: nobody waits for a file that breaks its reader.
    A second delivery while the first runs waits for the project's lock, finds every pair there and reports nothing,
    since only the first to end writes the report.
    """
    waiting = Import.objects.filter(pk=import_id, state__in=[Import.State.QUEUED, Import.State.RUNNING])
    if not waiting.update(state=Import.State.RUNNING):
        return
    job = Import.objects.select_related("project").get(pk=import_id)
    path = settings.UPLOAD_DIR / job.path
    with suppress(FileNotFoundError):
        os.utime(path)
    running = Import.objects.filter(pk=import_id, state=Import.State.RUNNING)
    try:
        state, report = _result(job, path)
    except Exception as error:
        said = f"Reading {job.filename} broke off ({type(error).__name__}); the log has the details."
        running.update(state=Import.State.FAILED, report={"error": said}, finished_at=timezone.now())
        path.unlink(missing_ok=True)
        raise
    done = {"state": state, "report": report, "finished_at": timezone.now()}
    if running.update(**done, **({"rows_read": report["rows"]} if "rows" in report else {})):
        path.unlink(missing_ok=True)


def _result(job: Import, path: Path) -> tuple[Import.State, dict[str, Any]]:
    """Import the file of a job; return how it ended and the report to keep."""
    if not path.exists():
        return Import.State.FAILED, {"error": f"The uploaded file {job.filename} is gone; upload it again."}
    checked = 0

    def progress(rows: int) -> None:
        nonlocal checked
        # A second delivery of this job may have ended first and taken the file away.
        with suppress(FileNotFoundError):
            os.utime(path)
        if rows > checked:  # Storing starts again from the first row, in a transaction nobody can look into.
            checked = rows
            Import.objects.filter(pk=job.pk).update(rows_read=rows)

    try:
        report = import_pairs(
            job.project,
            path,
            filename=job.filename,
            format=job.format,
            field_map=job.field_map,
            on_error=OnError(job.on_error),
            dry_run=job.dry_run,
            progress=progress,
        )
    except AnnotationError as error:
        return Import.State.FAILED, {"error": str(error)}
    return (Import.State.REFUSED if report.refused else Import.State.DONE), report.as_json()
