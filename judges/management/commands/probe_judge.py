from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotation.commanding import ProjectCommand
from judges.probing import describe, probe


class Command(ProjectCommand):
    help = "Ask a judge's server a few tiny questions, and store and show what it can do."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="the judge; its newest version is probed")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        judge = project.judges.filter(name=options["name"]).first()
        if judge is None:
            known = ", ".join(project.judges.values_list("name", flat=True)) or "none yet"
            raise CommandError(f"There is no judge {options['name']!r} in {project.slug}. Judges: {known}.")
        version = judge.latest()
        served = probe(version)
        if served.error:
            self.stdout.write(f"{version} cannot be asked: {served.error}")
        if served.found:
            for what, words in describe(served):
                self.stdout.write(f"  {what + ':':<32}{words}")
        return {
            "judge": judge.name,
            "version": version.number,
            "base_url": served.base_url,
            "model": served.model,
            "error": served.error,
            "found": served.found,
            "probed_at": served.probed_at.isoformat(),
        }
