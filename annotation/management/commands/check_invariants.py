from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from annotation.checking import Check, check_invariants
from annotation.commanding import ProjectCommand, TiebreakCommand


class Command(ProjectCommand):
    help = "Recount the promises about assignment (docs/architecture.md); exit status 1 when one is broken."

    def add_arguments(self, parser: CommandParser) -> None:
        TiebreakCommand.add_arguments(self, parser)
        parser.add_argument("slug", nargs="?", help="the project's short name; without it all projects")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print every promise, then fail if one is broken, so that the JSON is still the last line."""
        self.checks: list[Check] = []
        super().handle(*args, **options)
        broken = [check.name for check in self.checks if check.broken]
        if broken:
            raise CommandError(f"{len(broken)} of {len(self.checks)} promises are broken: {', '.join(broken)}.")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"]) if options["slug"] else None
        self.checks = check_invariants(project, now=timezone.now())
        for check in self.checks:
            found = f"BROKEN by {check.broken}, e.g. {', '.join(check.examples)}" if check.broken else "holds"
            self.stdout.write(f"{check.name:<16} {found}: {check.promise}")
        return {"ok": not any(check.broken for check in self.checks), "checks": [c._asdict() for c in self.checks]}
