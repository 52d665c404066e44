"""Folders of exports: written beside their place, moved there whole, never overwritten.

A process that is killed leaves nothing where a reader would look, and the next export into the same place removes what
it left: a lock says whether the writer of a working folder still lives.
"""

import fcntl
import glob
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exports.errors import FolderTaken
from exports.writing import describe_file

MANIFEST = "manifest.json"
LOCK = "lock"
# A folder without a lock that is older was left by a removal; a younger one may be about to get its lock.
UNLOCKED_SECONDS = 60


def refuse_foreign(folder: Path) -> None:
    """Raise `FolderTaken` for a folder with something else in it than an export."""
    if folder.is_file():
        raise FolderTaken(f"{folder} is a file. Name a folder that does not exist yet.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise FolderTaken(f"{folder} holds files that are no export of ours. Name an empty folder or a new one.")


@contextmanager
def working_folder(folder: Path) -> Iterator[Path]:
    """Give a hidden folder beside `folder`, held under a lock, and remove it at the end, whatever happens."""
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    try:
        with (work / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (work / "files").mkdir()
            yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def sweep_partials(folder: Path) -> None:
    """Remove what killed writers of this folder have left; one that lives holds its lock and is left alone."""
    for partial in folder.parent.glob(f".{glob.escape(folder.name)}.partial-*"):
        try:
            with (partial / LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            if not partial.is_dir() or partial.stat().st_mtime > time.time() - UNLOCKED_SECONDS:
                continue
        except OSError:
            # Its writer lives.
            continue
        shutil.rmtree(partial, ignore_errors=True)


def move_into_place(files: Path, folder: Path, content_hash: str) -> None:
    """Move a finished folder to its place in one step. The same export standing there already is left as it is."""
    files.chmod(0o755)
    try:
        files.rename(folder)
    except OSError as error:
        if not (folder / MANIFEST).is_file():
            raise
        there = _hash_in(folder)
        if there != content_hash or not is_whole(folder):
            raise FolderTaken(
                f"{folder} holds another export ({there[:12] or 'without a hash'}, this one is {content_hash[:12]}). "
                "An export is never overwritten: name another folder, or remove that one first."
            ) from error


def is_whole(folder: Path) -> bool:
    """Say whether the files of an export are those of its manifest."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return all(
        (folder / file["path"]).is_file() and describe_file(folder, Path(file["path"]), file["rows"])._asdict() == file
        for file in manifest["files"]
    )


def holds_export(folder: Path, content_hash: str) -> bool:
    """Say whether a folder holds the export of this hash."""
    return (folder / MANIFEST).is_file() and _hash_in(folder) == content_hash


def remove_export(folder: Path) -> None:
    """Remove an export's folder: out of its place in one step, then file by file."""
    gone = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    folder.rename(gone / "files")
    shutil.rmtree(gone, ignore_errors=True)


def _hash_in(folder: Path) -> str:
    return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("content_hash", ""))
