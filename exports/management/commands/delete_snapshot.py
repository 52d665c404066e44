from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from annotation.commanding import ProjectCommand
from exports.snapshotting import delete_snapshot, snapshot_numbered


class Command(ProjectCommand):
    help = "Delete a snapshot's files and reports for good. Its number is not used again."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("number", type=int, help="the snapshot's number")

    def run(self, **options: Any) -> dict[str, Any]:
        snapshot = snapshot_numbered(self.project(options["slug"]), options["number"])
        delete_snapshot(snapshot, now=timezone.now())
        self.stdout.write(f"Snapshot {snapshot.number} is deleted, with the files in {snapshot.folder}.")
        return {"number": snapshot.number, "folder": snapshot.folder}
