"""A project is made again from a published dataset that carries one (`exports.carrying`), whole or not at all.

What is read comes from outside: every file is compared with the manifest's hash, and goes through the same checks as
any import.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from django.db import transaction
from django.utils import timezone

from annotation.creating import create_project
from annotation.importing import ImportReport, import_pairs
from annotation.models import Choice, Pair, Project, User
from exports.carrying import FIELDS, FORMAT, LABEL_FIELDS, LABELS, PAIRS, PLAIN, SETTINGS
from exports.errors import ExportError
from exports.models import Place
from exports.publishing.folders import LocalFolder
from exports.publishing.places import (
    MANIFEST,
    MANIFEST_LIMIT_BYTES,
    Publisher,
    Seen,
    hash_file,
    parse_manifest,
)
from exports.publishing.queueing import place_of
from routing.labels.resolving import PUBLISHED, ROUTED, resolve_labels
from routing.models import Label, LabelSource

CARRIED = (SETTINGS, PAIRS, LABELS)
LABELS_PER_BATCH = 2000
# A setting is a text or a number; guidelines are the longest.
SETTINGS_LIMIT_BYTES = 4 * 1024**2


class Rebuilt(NamedTuple):
    """A project made again, what its import said, and how many labels came with it."""

    project: Project
    report: ImportReport
    labels: int


def rebuild_project(
    source: str, *, slug: str, title: str = "", revision: str = "", manager: User | None = None
) -> Rebuilt:
    """Make the project `slug` from an export's folder, or from a place it was published to.

    `source` is a folder (of an export, or of releases) or NAMESPACE/NAME on the Hub; `revision` a tag or commit there
    (default: what it holds now). Raises `ExportError` for a dataset that carries no project or is not as its manifest
    says, and `AnnotationError` for a slug that is taken and the like; nothing is made then.
    """
    with _files_of(source, revision) as folder:
        settings = _settings(folder / SETTINGS)
        with transaction.atomic():
            project = create_project(
                slug=slug,
                title=title or settings["title"],
                manager=manager,
                screen=settings["screen"],
                **{name: settings[name] for name in FIELDS if name != "title"},
            )
            report = import_pairs(project, folder / PAIRS, format="jsonl")
            if report.refused:
                bad = report.rejected[0]
                raise ExportError(
                    f"{PAIRS} of {source} is not as we write it (line {bad.line}, {bad.field}: {bad.reason}), so no "
                    "project was made."
                )
            resolve_labels(project)
            labels = _label(project, folder / LABELS)
    return Rebuilt(project, report, labels)


@contextmanager
def _files_of(source: str, revision: str) -> Iterator[Path]:
    """Give a folder with the carried files of a dataset, each compared with the manifest."""
    with tempfile.TemporaryDirectory(prefix="tiebreak-rebuild-") as work:
        copy = Path(work)
        (copy / "project").mkdir()
        place, named = place_of(source)
        if place == Place.FOLDER and (Path(named) / MANIFEST).is_file():
            # The folder of an export looks like a release of the folder it lies in.
            _copy(LocalFolder(Path(named).parent), Path(named).name, copy, source)
        else:
            publisher = _publisher(place, named)
            seen = publisher.look()
            if seen is None:
                raise ExportError(f"There is nothing at {source}, or this site may not see it.")
            _copy(publisher, _commit_of(seen, revision, source), copy, source)
        yield copy


def _publisher(place: Place, named: str) -> Publisher:
    if place == Place.FOLDER:
        return LocalFolder(Path(named))
    from exports.publishing.hub import HfHub

    return HfHub(named)


def _commit_of(seen: Seen, revision: str, source: str) -> str:
    if not revision:
        return seen.head
    if revision in seen.tags:
        return seen.tags[revision]
    if len(revision) == len(seen.head) and revision.isalnum():
        return revision
    raise ExportError(f"{source} has no tag {revision!r}. Tags: {', '.join(sorted(seen.tags)) or 'none'}.")


def _copy(publisher: Publisher, commit: str, to: Path, source: str) -> None:
    """Fetch the carried files. Raises `ExportError` where one is not as the manifest says."""
    manifest = parse_manifest(publisher.read(MANIFEST, commit=commit, limit=MANIFEST_LIMIT_BYTES))
    if manifest is None:
        raise ExportError(f"{source} is no export of ours: it has no {MANIFEST} of one.")
    missing = [path for path in CARRIED if path not in manifest["files"]]
    if missing:
        raise ExportError(
            f"{source} carries no project ({', '.join(missing)}). Export it with --with-project where it was made; a "
            "dataset alone can be imported as pairs, without votes and ties: manage.py import_pairs."
        )
    for path in CARRIED:
        publisher.fetch(path, commit=commit, to=to / path)
        if hash_file(to / path) != manifest["files"][path]:
            raise ExportError(f"{path} of {source} is not as its manifest says, so no project was made.")


def _settings(path: Path) -> dict[str, Any]:
    """Return what project.json says. Raises `ExportError` where something of it is not of the right kind."""
    kinds: dict[str, type] = {
        "title": str, "guidelines": str, "aggregation": str, "votes_wanted": int, "needs_language": bool,
        "needs_domain": bool, "seed": int, "screen": dict,
    }  # fmt: skip
    try:
        if path.stat().st_size > SETTINGS_LIMIT_BYTES:
            raise ValueError("too long")
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["format"] == FORMAT and all(type(said[name]) is kind for name, kind in kinds.items()):
            return {name: said[name] for name in kinds}
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ExportError(f"{SETTINGS} is not as we write it, so no project was made.")


def _label(project: Project, path: Path) -> int:
    """Store the labels that answers here do not make again, and for the others what was decided about their pair."""
    stored = 0
    batch: list[dict[str, Any]] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            batch.append(_label_of(line))
            if len(batch) == LABELS_PER_BATCH:
                stored += _store(project, batch)
                batch = []
    return stored + _store(project, batch)


def _label_of(line: str) -> dict[str, Any]:
    """Return a line of labels.jsonl. Raises `ExportError` for what no label can be."""
    try:
        said = json.loads(line)
        provenance = {name: value for name, value in said["provenance"].items() if name in PLAIN}
        numbers = [said[name] for name in ("prob_a", "p_correct", "agreement")]
        good = (
            isinstance(said["id"], str)
            and said["source"] in LabelSource.values
            and said["choice"] in ("", *Choice.values)
            and all(one is None or (isinstance(one, int | float) and 0 <= one <= 1) for one in numbers)
            and (said["strength"] is None or isinstance(said["strength"], int | float))
            and isinstance(said["n_votes"], int)
            and 0 <= said["n_votes"] <= 32767
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        good = False
    if not good:
        raise ExportError(f"{LABELS} is not as we write it, so no project was made.")
    return {**said, "provenance": {**provenance, PUBLISHED: True}}


def _store(project: Project, rows: list[dict[str, Any]]) -> int:
    pairs = dict(
        Pair.objects.filter(project=project, external_id__in=[row["id"] for row in rows]).values_list(
            "external_id", "id"
        )
    )
    here = {label.pair_id: label for label in Label.objects.filter(pair__in=pairs.values())}
    now = timezone.now()
    fresh, known = [], []
    for row in rows:
        if row["id"] not in pairs:
            raise ExportError(f"{LABELS} names the pair {row['id'][:60]!r}, which is not in {PAIRS}.")
        label = here.get(pairs[row["id"]])
        if label is not None and label.source == LabelSource.HUMAN and row["source"] == LabelSource.HUMAN:
            label.provenance = {**row["provenance"], **label.provenance, **_routing(row["provenance"])}
            known.append(label)
        else:
            values = {name: row[name] for name in LABEL_FIELDS}
            fresh.append(Label(pair_id=pairs[row["id"]], provenance=row["provenance"], resolved_at=now, **values))
    Label.objects.bulk_update(known, ["provenance"], batch_size=500)
    Label.objects.filter(pair__in=[label.pair_id for label in fresh]).delete()
    Label.objects.bulk_create(fresh)
    return len(fresh) + len(known)


def _routing(provenance: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in provenance.items() if name in (PUBLISHED, *ROUTED)}
