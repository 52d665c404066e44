"""Rows of a profile straight from a project, without files."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from annotation.models import Project
from exports.counting import Tally
from exports.deciding import Entry, decide
from exports.gathering import Gathered, gather, score_ranges
from exports.leaving_out import LeftOut
from exports.profiles import PROFILES, Context
from exports.reading import read_records
from exports.records import Record
from exports.rowing import write_profile
from exports.settings import SnapshotSettings
from exports.spooling import Spool
from routing.labels.resolving import resolve_labels

KEY = b"k"
Rows = list[dict[str, Any]]


def written_rows(project: Project, folder: Path, profile: str = "dpo", **settings: Any) -> tuple[Rows, Gathered, Tally]:
    """Return the rows that an export writes for a profile, by external id, with what was gathered and counted."""
    resolve_labels(project)
    one, wanted = PROFILES[profile], SnapshotSettings(format="jsonl", **settings)
    folder.mkdir(exist_ok=True)
    spool = Spool(folder / "records")
    gathered = gather(project, [one], wanted, spool, key=KEY)
    _, tally = write_profile(folder, one, gathered, spool, name=project.slug, progress=lambda stage: None)
    spool.close()
    rows = [
        json.loads(line)
        for path in sorted((folder / profile).glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return sorted(rows, key=lambda row: str(row.get("external_id"))), gathered, tally


def records_of(project: Project, *, with_calls: bool = False) -> list[Record]:
    """Return a project's records in the order of the files."""
    records = read_records(project, key=KEY, with_calls=with_calls)
    return sorted(records, key=lambda record: (record.prompt_id, record.id))


def rows_of(
    project: Project, profile: str = "dpo", *, margin: str = "", has_tools: bool = False, **settings: Any
) -> tuple[list[dict[str, Any]], list[LeftOut]]:
    """Return a profile's rows and the reasons of what makes none, labels made again first."""
    resolve_labels(project)
    wanted = SnapshotSettings(**settings)
    ranges = score_ranges(project)
    build = PROFILES[profile].start(Context(wanted, margin, has_tools))
    records = records_of(project, with_calls=True)
    made = [
        one
        for _, of_prompt in groupby(records, key=lambda record: record.prompt_id)
        for one in build([Entry(record, decide(record, wanted, ranges)) for record in of_prompt])
    ]
    return [one for one in made if not isinstance(one, LeftOut)], [one for one in made if isinstance(one, LeftOut)]
