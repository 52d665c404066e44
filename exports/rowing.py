"""One profile's rows from the spool into its files: a pass over the records, prompt by prompt."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from exports.counting import Tally
from exports.gathering import Gathered
from exports.leaving_out import NEVER_WRITTEN, LeftOut
from exports.profiles import Profile, Row
from exports.splitting import SIDES, Split
from exports.spooling import Spool
from exports.writing import DocumentWriter, SplitWriter, WrittenFile, describe_file

Progress = Callable[[str], None]

ROWS_PER_PROGRESS = 10_000
DOCUMENT = "annotated_pairs.json"


def write_profile(
    folder: Path, profile: Profile, gathered: Gathered, spool: Spool, *, name: str, progress: Progress
) -> tuple[list[WrittenFile], Tally]:
    """Write a profile's files below `folder`; return them and what was counted.

    `progress` is told of every 10,000 rows. Raises whatever the profile raises, with nothing to be kept.
    """
    tally = Tally(SIDES)
    if profile.document_head:
        return _write_document(folder, profile, gathered, spool, tally, name), tally
    settings, columns = gathered.context.settings, profile.written_columns(gathered.context)
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(
                SplitWriter(
                    folder,
                    profile.name,
                    split,
                    columns,
                    lines=profile.always_lines or settings.format in ("jsonl", "both"),
                    parquet=settings.format in ("parquet", "both"),
                    zipped=settings.gzip and not profile.always_lines,
                )
            )
            for split in SIDES
        }
        for split, row in _rows(profile, gathered, spool, tally):
            writers[split].write(row)
            if tally.rows % ROWS_PER_PROGRESS == 0:
                progress(f"write {profile.name}: {tally.rows:,} rows")
        return [file for writer in writers.values() for file in writer.finish()], tally


def _write_document(
    folder: Path, profile: Profile, gathered: Gathered, spool: Spool, tally: Tally, name: str
) -> list[WrittenFile]:
    assert profile.document_head is not None  # noqa: S101  (asked by the caller)
    path = Path(profile.name) / DOCUMENT
    writer = DocumentWriter(folder / path, profile.document_head(gathered.context, name))
    for split, row in _rows(profile, gathered, spool, tally):
        writer.write({**row, "metadata": {**row["metadata"], "split": split}})
    writer.close()
    return [describe_file(folder, path, writer.rows)] if writer.rows else []


def _rows(profile: Profile, gathered: Gathered, spool: Spool, tally: Tally) -> Iterator[tuple[Split, Row]]:
    """Yield (split, row), counting rows and what is left out."""
    builds = {split: profile.start(gathered.context) for split in SIDES}
    for split, entries in spool.prompts(gathered.tested):
        allowed = []
        for entry in entries:
            if entry.decision.left_out in NEVER_WRITTEN:
                tally.leave_out(entry.decision.left_out)
            else:
                allowed.append(gathered.groups.told(entry))
        for row in builds[split](allowed) if allowed else ():
            if isinstance(row, LeftOut):
                tally.leave_out(row)
            else:
                tally.add(split, row)
                yield split, row
