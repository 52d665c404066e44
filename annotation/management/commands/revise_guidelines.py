"""`manage.py revise_guidelines`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from annotation.commanding import ProjectCommand, text_of_file
from annotation.guiding import revise_guidelines


class Command(ProjectCommand):
    help = "Store a file as the next version of a project's guidelines."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", type=Path, help="Markdown in UTF-8; '-' reads the standard input")
        parser.add_argument("--note", default="", help="what changed, for the people who answer")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        before = project.guidelines_number
        version = revise_guidelines(project, text=text_of_file(options["file"]), note=options["note"])
        is_new = version.number != before
        self.stdout.write(
            f"Version {version.number} of the guidelines of {project.slug} is in force."
            if is_new
            else f"Version {version.number} of {project.slug} has this text already; nothing was stored."
        )
        return {"slug": project.slug, "number": version.number, "is_new": is_new}
