"""The seam: what a place that datasets are published to has to do, and what it is seen to hold."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from django.conf import settings

from exports.errors import ExportError
from exports.publishing.errors import PlaceBusy, PlaceUnreachable, PublishingError

MANIFEST = "manifest.json"
FORMAT = "tiebreak-export/"
# A manifest lists files; one that is larger is none of ours.
MANIFEST_LIMIT_BYTES = 16 * 1024**2
CHUNK = 1024**2
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
NO_NAME = re.compile(r"--|\.\.|[.-]$|\.git$|\.ipynb$")

Tell = Callable[[str], None]


class ExportFile(NamedTuple):
    """A file of an export: its path below the folder, where it lies, and its content by both names a Hub has for it."""

    path: str
    at: Path
    bytes: int
    sha256: str
    git_sha1: str


class PlacedFile(NamedTuple):
    """A file as a place lists it; one of the two hashes is empty where the place does not tell it."""

    sha256: str
    git_sha1: str

    def holds(self, file: ExportFile) -> bool:
        """Say whether the content is that of an export's file."""
        return file.sha256 == self.sha256 if self.sha256 else file.git_sha1 == self.git_sha1


class Export(NamedTuple):
    """A finished export in a folder, with its manifest among its files."""

    folder: Path
    project_slug: str
    content_hash: str
    files: tuple[ExportFile, ...]


class Seen(NamedTuple):
    """A place at one moment: its head, its files by path, its tags by name."""

    head: str
    is_public: bool
    files: Mapping[str, PlacedFile]
    tags: Mapping[str, str]

    def holds(self, export: Export) -> bool:
        """Say whether every file of the export is there as it is."""
        return all(file.path in self.files and self.files[file.path].holds(file) for file in export.files)


class Publisher(Protocol):
    """A place. Reads may be made again at any time; only `commit` must never be sent without a look before it.

    Every method raises `PublishingError` in words: `PlaceBusy` where it is certain that nothing was done,
    `PlaceUnreachable` where that is not known, `StaleParent` where the head is not the parent named.
    """

    def look(self) -> Seen | None:
        """Return what the place holds, or None where there is none yet."""

    def create(self) -> None:
        """Make the place, private. Nothing where it is there already."""

    def find(self, mark: str, *, after: str) -> str:
        """Return the commit whose message has the mark, made after the commit `after`; or nothing."""

    def read(self, path: str, *, commit: str, limit: int) -> bytes:
        """Return a file's first `limit` bytes at a commit."""

    def stage(self, files: Sequence[ExportFile], tell: Tell) -> None:
        """Bring the files there, unseen until they are committed."""

    def commit(self, files: Sequence[ExportFile], *, delete: Sequence[str], parent: str, title: str, mark: str) -> str:
        """Make the staged files the place's content in one step, onto `parent`, and return the commit."""

    def tag(self, name: str, commit: str) -> None:
        """Have a name stand for a commit. Nothing where it does already."""

    def hash_of(self, path: str, *, commit: str) -> str:
        """Read a file of a commit to its end and return its SHA-256; empty where it is missing."""

    def fetch(self, path: str, *, commit: str, to: Path) -> None:
        """Copy a file of a commit to a path of ours."""

    def make_public(self) -> None:
        """Let everybody read the place."""

    def wait_after(self, error: PlaceBusy | PlaceUnreachable) -> None:
        """Wait for as long as a busy place asks, or a moment. Raises the error where that is too long."""


def read_export(folder: Path) -> Export:
    """Return the export in a folder, every file hashed. Raises `ExportError` unless it is as it was written."""
    manifest_file = folder / MANIFEST
    if not manifest_file.is_file():
        raise ExportError(f"{folder} holds no finished export (there is no {MANIFEST}). Write one: export_dataset.")
    manifest = parse_manifest(manifest_file.read_bytes())
    if manifest is None:
        raise ExportError(f"{manifest_file} is no manifest of an export. Write the export again.")
    files = [_file(folder, path) for path in sorted({*manifest["files"], MANIFEST})]
    for file in files:
        wanted = manifest["files"].get(file.path)
        if wanted is not None and wanted != file.sha256:
            raise ExportError(
                f"{file.at} is not as it was written: its SHA-256 is {file.sha256[:12]}, the manifest says "
                f"{wanted[:12]}. An export never changes; write it again."
            )
    return Export(folder, manifest["project"], manifest["content_hash"], tuple(files))


def parse_manifest(content: bytes) -> dict[str, Any] | None:
    """Return a manifest's `project`, `content_hash` and `files` (path to SHA-256), or None for anything else.

    It may come from outside: what is not of the right kind is no manifest, and no path leads out of its folder.
    """
    try:
        said = json.loads(content)
        files = {str(file["path"]): str(file["sha256"]) for file in said["files"]}
        project, content_hash, form = said["project"], said["content_hash"], said["format"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    texts = all(isinstance(text, str) for text in (project, content_hash, form))
    if not texts or not form.startswith(FORMAT) or not all(map(is_plain, files)):
        return None
    return {"project": project[:200], "content_hash": content_hash[:64], "files": files}


def check_repository(target: str) -> None:
    """Raise `PublishingError` unless a target is NAMESPACE/NAME, below a namespace that the operator allows."""
    namespace, _, name = target.partition("/")
    if not all(NAME.fullmatch(part) and not NO_NAME.search(part) for part in (namespace, name)):
        raise PublishingError(
            f"{target[:100]!r} is no repository of the Hub: write NAMESPACE/NAME, in letters, digits, '-', '_' and '.'."
        )
    if settings.HUB_NAMESPACES and namespace not in settings.HUB_NAMESPACES:
        raise PublishingError(
            f"This site publishes below {', '.join(settings.HUB_NAMESPACES)} only (TIEBREAK_HUB_NAMESPACES), not below "
            f"{namespace}."
        )


def is_plain(path: str) -> bool:
    """Say whether a path is relative and stays below its folder."""
    parts = path.split("/")
    return bool(path) and path.isprintable() and "\\" not in path and not any(part in ("", ".", "..") for part in parts)


def hash_file(path: Path) -> str:
    """Return a file's SHA-256. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file(folder: Path, path: str) -> ExportFile:
    at = folder / path
    if not at.is_file():
        raise ExportError(f"{at} is gone, so the export is not whole. Write it again with the same settings.")
    size = at.stat().st_size
    sha256 = hashlib.sha256()
    # Git's name for a content; a name, no protection.
    git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with at.open("rb") as content:
        while chunk := content.read(CHUNK):
            sha256.update(chunk)
            git.update(chunk)
    return ExportFile(path, at, size, sha256.hexdigest(), git.hexdigest())
