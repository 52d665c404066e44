"""A folder on this machine or a mounted one: a release is a folder below it, moved there whole, and a line in a log.

```
PATH/releases.json      commits in order and tags: what counts
PATH/1f0c…/             the files of one commit
PATH/v3 -> 1f0c…        a tag
```
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exports.publishing.errors import (
    PlaceBusy,
    PlaceMissing,
    PlaceTaken,
    PlaceUnreachable,
    PublishingError,
    StaleParent,
    TagTaken,
)
from exports.publishing.places import ExportFile, PlacedFile, Seen, Tell, hash_file, is_plain

LOG = "releases.json"
LOCK = ".lock"
COMMIT_LETTERS = 40
# What a folder without a release has as its head: something to name as a parent.
NOTHING_YET = "0" * COMMIT_LETTERS


class LocalFolder:
    """A folder that holds releases. Its log is replaced in one step, under a lock: that is the commit."""

    def __init__(self, path: Path) -> None:
        """Publish below `path`, an absolute path."""
        self.target = str(path)
        self.path = path

    def look(self) -> Seen | None:
        """Return what the folder's newest release holds, by hashing it. Raises `PlaceTaken` for other files."""
        if not self.path.exists():
            return None
        log = self._log()
        head = self._head(log)
        release = self.path / head
        files = {} if head == NOTHING_YET else {path: PlacedFile(_hash(release / path), "") for path in _below(release)}
        return Seen(head=head, is_public=False, files=files, tags=log["tags"])

    def create(self) -> None:
        """Make the folder."""
        self._do(lambda: self.path.mkdir(parents=True, exist_ok=True))

    def find(self, mark: str, *, after: str) -> str:
        """Return the release with the mark among those after `after`; or nothing."""
        for release in reversed(self._log()["commits"]):
            if release["mark"] == mark:
                return str(release["commit"])
            if release["commit"] == after:
                break
        return ""

    def read(self, path: str, *, commit: str, limit: int) -> bytes:
        """Return a file's first `limit` bytes. Raises `PlaceMissing`."""
        try:
            with (self.path / commit / path).open("rb") as file:
                return file.read(limit)
        except OSError as error:
            raise PlaceMissing(f"{self.path / commit / path} cannot be read: {error.strerror}.") from None

    def stage(self, files: Sequence[ExportFile], tell: Tell) -> None:
        """Nothing: a copy is made beside its place when it is committed."""

    def commit(self, files: Sequence[ExportFile], *, delete: Sequence[str], parent: str, title: str, mark: str) -> str:
        """Copy the files into a folder of their own and add it to the log. Raises `StaleParent`."""
        commit = hashlib.sha256("\n".join([parent, mark, *(f"{file.sha256}  {file.path}" for file in files)]).encode())
        oid = commit.hexdigest()[:COMMIT_LETTERS]
        with self._locked():
            log = self._log()
            if self._head(log) != parent:
                raise StaleParent(
                    f"{self.path} was changed in the moment of publishing, so nothing was written. Look at what is "
                    "there now, and publish again."
                )
            self._do(lambda: self._copy(files, self.path / oid))
            log["commits"].append({"commit": oid, "parent": parent, "title": title, "mark": mark})
            self._write(log)
        return oid

    def tag(self, name: str, commit: str) -> None:
        """Have PATH/name lead to a release. Raises `TagTaken`."""
        with self._locked():
            log = self._log()
            if log["tags"].setdefault(name, commit) != commit:
                raise TagTaken(f"{self.path / name} is another release already. Name another tag.")
            self._write(log)
            link = self.path / name
            if not link.is_symlink():
                self._do(lambda: link.symlink_to(commit, target_is_directory=True))

    def hash_of(self, path: str, *, commit: str) -> str:
        """Return the SHA-256 of a file of a release; empty where it is missing."""
        return _hash(self.path / commit / path)

    def fetch(self, path: str, *, commit: str, to: Path) -> None:
        """Copy a file of a release. Raises `PlaceMissing`."""
        try:
            shutil.copyfile(self.path / commit / path, to)
        except OSError as error:
            raise PlaceMissing(f"{self.path / commit / path} cannot be read: {error.strerror}.") from None

    def make_public(self) -> None:
        """Refuse: who may read a folder is for the file system to say."""
        raise PublishingError(f"{self.path} is a folder; who may read it is for its permissions to say.")

    def wait_after(self, error: PlaceBusy | PlaceUnreachable) -> None:
        """Raise it: a folder does not ask to wait."""
        raise error

    # --- Files ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.path / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _do(self, write: Any) -> None:
        try:
            write()
        except OSError as error:
            raise PublishingError(f"{self.path} could not be written to: {error.strerror or error}.") from None

    def _copy(self, files: Sequence[ExportFile], place: Path) -> None:
        if place.is_dir():
            # Left by one who died between this and the log.
            shutil.rmtree(place)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=self.path))
        try:
            for file in files:
                to = partial / file.path
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.at, to)
            partial.chmod(0o755)
            partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _write(self, log: dict[str, Any]) -> None:
        def write() -> None:
            fresh = self.path / f".{LOG}.new"
            with fresh.open("w", encoding="utf-8") as file:
                json.dump(log, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path / LOG)

        self._do(write)

    def _log(self) -> dict[str, Any]:
        """Return the log. Raises `PlaceTaken` where the folder holds something else."""
        try:
            log = json.loads((self.path / LOG).read_text(encoding="utf-8"))
            commits = [str(one["commit"]) for one in log["commits"]]
            if all(map(is_plain, [*commits, *log["tags"], *log["tags"].values()])):
                return {"commits": log["commits"], "tags": log["tags"]}
        except FileNotFoundError:
            if self.path.is_dir() and all(one.name.startswith(".") for one in self.path.iterdir()):
                return {"commits": [], "tags": {}}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        raise PlaceTaken(f"{self.path} holds files that are no releases of ours. Name an empty folder or a new one.")

    def _head(self, log: dict[str, Any]) -> str:
        return str(log["commits"][-1]["commit"]) if log["commits"] else NOTHING_YET


def _below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _hash(path: Path) -> str:
    """Return a file's SHA-256; empty where it cannot be read."""
    try:
        return hash_file(path)
    except OSError:
        return ""
