from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from annotation.commanding import ProjectCommand
from judges.batching import import_file
from judges.commanding import version_of

BAD_LINES_SHOWN = 20


class Command(ProjectCommand):
    help = "Store the answers to questions that export_batch wrote. The same file twice changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="the judge")
        parser.add_argument("file", type=Path, help="one answer a line, as vllm run-batch or the Batch API writes them")
        parser.add_argument(
            "--finish", action="store_true", help="no other file follows: what this one does not answer goes back"
        )

    def run(self, **options: Any) -> Mapping[str, Any]:
        version = version_of(self.project(options["slug"]), options["name"])
        imported = import_file(version.judge, options["file"], finish=options["finish"])
        self.stdout.write(
            f"{imported.answered} questions answered, {imported.failed} failed, {imported.again} go back to be asked "
            f"again; {imported.known} answers were known; {imported.open} questions still wait for an answer."
        )
        for bad in imported.bad[:BAD_LINES_SHOWN]:
            self.stdout.write(f"  line {bad.line} {bad.reason}")
        if imported.n_bad > BAD_LINES_SHOWN:
            self.stdout.write(f"  and {imported.n_bad - BAD_LINES_SHOWN} more lines of no use")
        if imported.again or imported.open:
            self.stdout.write(
                f"Write what is left to a new file: manage.py export_batch {options['slug']} {options['name']} "
                "--again --out FILE"
            )
        return {
            "judge": version.judge.name,
            **{name: getattr(imported, name) for name in ("answered", "failed", "again", "known", "open", "n_bad")},
            "bad": [bad._asdict() for bad in imported.bad],
        }
