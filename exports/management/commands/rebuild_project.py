from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotation.commanding import TiebreakCommand
from annotation.models import User
from exports.rebuilding import rebuild_project


class Command(TiebreakCommand):
    help = "Make a project again from a published dataset that carries one (export_dataset --with-project)."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("slug", help="the short name of the project to make")
        parser.add_argument(
            "--from", required=True, dest="source", metavar="NAMESPACE/NAME|PATH",
            help="a path begins with /, ./, ../ or ~: an export's folder, or one that releases were published to",
        )  # fmt: skip
        parser.add_argument(
            "--revision", default="", metavar="TAG", help="a tag or commit (default: what is there now)"
        )
        parser.add_argument("--title", default="", help="its name on pages (default: as it was)")
        parser.add_argument("--manager", metavar="USERNAME", help="who manages it")

    def run(self, **options: Any) -> dict[str, Any]:
        manager = User.objects.filter(username=options["manager"]).first() if options["manager"] else None
        if options["manager"] and manager is None:
            raise CommandError(f"There is no user {options['manager']!r}. Make one with: manage.py createsuperuser")
        made = rebuild_project(
            options["source"],
            slug=options["slug"],
            title=options["title"],
            revision=options["revision"],
            manager=manager,
        )
        report = made.report
        self.stdout.write(
            f"Made the project {made.project.slug} ({made.project.title}): {report.added:,} pairs, "
            f"{report.preferences:,} preferences and {report.ratings:,} ratings of people, {made.labels:,} labels."
        )
        self.stdout.write("Its people are pseudonyms, their answers count as recorded (or simulated, where they were).")
        return {
            "project": made.project.slug,
            "pairs": report.added,
            "preferences": report.preferences,
            "ratings": report.ratings,
            "labels": made.labels,
        }
