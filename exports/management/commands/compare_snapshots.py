from typing import Any

from django.core.management.base import CommandParser

from annotation.commanding import ProjectCommand
from exports.comparing import compare_snapshots
from exports.snapshotting import snapshot_numbered


class Command(ProjectCommand):
    help = "Say what changed between two snapshots of a project: settings, counts, and rows of one profile."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("before", type=int, help="the number of the earlier snapshot")
        parser.add_argument("after", type=int, help="the number of the later one")
        parser.add_argument("--profile", default="", help="whose rows to compare (default: the first that both have)")

    def run(self, **options: Any) -> dict[str, Any]:
        project = self.project(options["slug"])
        before, after = (snapshot_numbered(project, options[name]) for name in ("before", "after"))
        changes = compare_snapshots(before, after, profile=options["profile"])
        if changes.same:
            self.stdout.write("The same, byte for byte.")
        for name, (old, new) in changes.settings.items():
            self.stdout.write(f"setting {name}: {old!r} -> {new!r}")
        for verb, names in (("added", changes.profiles_added), ("removed", changes.profiles_removed)):
            if names:
                self.stdout.write(f"profiles {verb}: {', '.join(names)}")
        for name, (old, new) in changes.counts.items():
            self.stdout.write(f"{name}: {old:,} -> {new:,}")
        for kind, n in changes.rows.items():
            shown = ", ".join(one[:12] for one in changes.examples.get(kind, [])[:3])
            self.stdout.write(f"{changes.profile} rows {kind}: {n:,}{f'  ({shown} ...)' if shown else ''}")
        return changes.to_json()
