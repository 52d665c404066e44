"""Links to the files of a snapshot: signed with the site's key, for a limited time, for whoever holds one.

Nothing is stored: a link says itself which file it opens and until when. It ends early when the snapshot is deleted or
the site's key changes.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from django.core import signing

from exports.errors import ExportError
from exports.models import Snapshot, SnapshotState

SALT = "tiebreak.exports.link"
LONGEST = timedelta(days=30)


class SharedFile(NamedTuple):
    """A file that a link opens."""

    snapshot: Snapshot
    path: str

    @property
    def file(self) -> Path:
        """Where it lies."""
        return Path(self.snapshot.folder) / self.path


def sign_link(snapshot: Snapshot, path: str, *, now: datetime, lasts: timedelta) -> str:
    """Return the token of a link to one of a snapshot's files.

    Raises `ExportError` for a file that it does not have and for a time that is none, or above 30 days.
    """
    if path not in {file["path"] for file in snapshot.files}:
        raise ExportError(f"Snapshot {snapshot.number} has no file {path!r}.")
    if not timedelta(0) < lasts <= LONGEST:
        raise ExportError(f"A link lasts up to {LONGEST.days} days, not {lasts}.")
    until = int((now + lasts).timestamp())
    return signing.dumps([str(snapshot.pk), path, until], salt=SALT, compress=True)


def open_link(token: str, *, now: datetime) -> SharedFile:
    """Return the file of a link. Raises `ExportError` for one that is not ours, has run out, or whose file is gone."""
    try:
        snapshot_id, path, until = signing.loads(token, salt=SALT)
    except signing.BadSignature:
        raise ExportError("This link is not complete, or not of this site. Ask for another one.") from None
    if now.timestamp() >= until:
        raise ExportError("This link has run out. Ask for another one.")
    snapshot = Snapshot.objects.filter(pk=UUID(snapshot_id), state=SnapshotState.DONE).first()
    if snapshot is None or path not in {file["path"] for file in snapshot.files}:
        raise ExportError("The export of this link was deleted.")
    found = SharedFile(snapshot, path)
    if not found.file.is_file():
        raise ExportError("The file of this link is gone from the server. Ask for another one.")
    return found
