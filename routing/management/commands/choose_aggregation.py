from typing import Any

from django.core.management.base import CommandParser

from annotation.commanding import ProjectCommand
from annotation.models import Method
from routing.labels.choosing import choose_method


class Command(ProjectCommand):
    help = "Set how people's votes become one answer, and have all labels made again; without one, print it."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("method", nargs="?", choices=Method.values)

    def run(self, **options: Any) -> dict[str, Any]:
        project = self.project(options["slug"])
        changed = bool(options["method"]) and choose_method(project, options["method"])
        name = Method(project.aggregation).label
        self.stdout.write(f"The labels of {project.slug} go by: {name}.")
        if changed:
            self.stdout.write("A worker makes them again; an export does so itself.")
        return {"project": project.slug, "method": project.aggregation, "changed": changed}
