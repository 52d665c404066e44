"""Exports made by hand: files and a manifest as `exports.snapshotting` writes them, in a few milliseconds."""

import hashlib
import json
from pathlib import Path

from django.utils import timezone

from annotation.models import Project
from exports.models import Snapshot, SnapshotState


def make_export(
    project: Project, folder: Path, number: int, *, rows: int, parquet: bool = True, licence: str = "unknown"
) -> Snapshot:
    """Write an export into `folder` and return its snapshot, done."""
    lines = "".join(json.dumps({"id": f"row-{row}", "prompt": "Why?"}) + "\n" for row in range(rows))
    content = {"README.md": f"---\nlicense: {licence}\n---\n{rows} rows", "report.json": json.dumps({"rows": rows})}
    content |= {"dpo/train.jsonl": lines} | ({"dpo/train-00000-of-00001.parquet": f"PAR1{rows}"} if parquet else {})
    files = [write(folder, path, text) for path, text in sorted(content.items())]
    content_hash = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    manifest = {"format": "tiebreak-export/1", "project": project.slug, "content_hash": content_hash, "files": files}
    files.append(write(folder, "manifest.json", json.dumps(manifest)))
    return Snapshot.objects.create(
        project=project,
        number=number,
        state=SnapshotState.DONE,
        profiles=["dpo"],
        folder=str(folder.resolve()),
        files=files,
        content_hash=content_hash,
        finished_at=timezone.now(),
    )


def write(folder: Path, path: str, text: str) -> dict[str, object]:
    """Write a file and return its entry of the manifest."""
    at = folder / path
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_text(text)
    return {"path": path, "sha256": hashlib.sha256(text.encode()).hexdigest(), "bytes": len(text), "rows": 0}
