"""`manage.py import_pairs`."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from annotation.commanding import ProjectCommand, parse_mapping
from annotation.importing import ImportReport, OnError, import_pairs
from annotation.mapping import FIELDS, OPTIONS
from annotation.reading import FORMATS
from annotation.records import RejectedRow

SHOWN_ROWS = 20


class Command(ProjectCommand):
    help = "Read a file of response pairs into a project: JSONL, JSON, CSV, TSV or Parquet, also packed with gzip."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", type=Path, help="the file")
        parser.add_argument("--format", choices=FORMATS, default="auto", help="by content and name, unless given")
        parser.add_argument(
            "--map",
            action="append",
            nargs="+",
            default=[],
            metavar="FIELD=COLUMN",
            help=f"which column is which field; FIELD==TEXT is the text itself. Fields: {', '.join(FIELDS)}. "
            f"Options: {', '.join(OPTIONS)}. More in docs/importing.md",
        )
        parser.add_argument(
            "--on-error", choices=[item.value for item in OnError], default=OnError.REFUSE.value,
            help="refuse a file with bad rows, or skip them",
        )  # fmt: skip
        parser.add_argument("--dry-run", action="store_true", help="say what would happen and store nothing")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        parts = [part for several in options["map"] for part in several]
        field_map = parse_mapping(parts, "--map")
        if len(field_map) < len(parts):
            raise CommandError("--map names a field twice; several columns stand in one: choice=first,second")
        with self._progress() as progress:
            report = import_pairs(
                project,
                options["file"],
                format=options["format"],
                field_map=field_map,
                on_error=OnError(options["on_error"]),
                dry_run=options["dry_run"],
                progress=progress,
            )
        self._print(report, options["file"].name)
        result = {"project": project.slug, "file": options["file"].name, **report.as_json()}
        if report.refused:
            if options["json"]:
                self.stdout.write(json.dumps(result, sort_keys=True, ensure_ascii=False))
            raise CommandError(f"{options['file'].name} was refused; nothing was stored.")
        return result

    @contextmanager
    def _progress(self) -> Iterator[Callable[[int], None] | None]:
        """Show a bar on a terminal; the rows are counted while checking and known while storing."""
        console = Console(stderr=True)
        if not console.is_terminal:
            yield None
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
            task = bar.add_task("Checking", total=None)
            last, storing = 0, False

            def progress(rows: int) -> None:
                nonlocal last, storing
                if not storing and rows <= last:
                    storing = True
                    bar.update(task, description="Storing", total=last)
                last = rows
                bar.update(task, completed=rows)

            yield progress

    def _print(self, report: ImportReport, filename: str) -> None:
        for note in report.notes:
            self.stdout.write(note)
        self._print_rejected(report, filename)
        if report.refused:
            self.stdout.write(
                f"{report.rows:,} rows read, {report.rejected_count:,} bad. Mend them, or leave them out with "
                "--on-error skip."
            )
            return
        would = "Would add" if report.dry_run else "Added"
        self.stdout.write(
            f"{would} {report.added:,} pairs, {report.preferences:,} preferences and {report.ratings:,} ratings of "
            f"people, from {report.rows:,} rows; {report.already_there:,} pairs were there already, "
            f"{report.rejected_count:,} bad rows were left out."
        )

    def _print_rejected(self, report: ImportReport, filename: str) -> None:
        """Print the first row of each kind of trouble, and how many are like it."""
        alike: dict[tuple[str, str], list[RejectedRow]] = {}
        for row in report.rejected:
            alike.setdefault((row.field, row.reason), []).append(row)
        shown = 0
        for rows in list(alike.values())[:SHOWN_ROWS]:
            more = f" (and {len(rows) - 1:,} more rows, the last in line {rows[-1].line})" if len(rows) > 1 else ""
            self.stdout.write(_place(rows[0], filename) + more)
            shown += len(rows)
        if report.rejected_count > shown:
            self.stdout.write(f"... and {report.rejected_count - shown:,} other bad rows (--json lists 1,000).")


def _place(row: RejectedRow, filename: str) -> str:
    """Return a bad row as `file:line field: reason`."""
    place = f"{filename}:{row.line}" if row.line else filename
    return f"{place} {row.field}: {row.reason}" if row.field else f"{place}: {row.reason}"
