"""`manage.py resume`."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from annotation.commanding import ProjectCommand, person_named, tasks_of_pair
from annotation.models import Project
from annotation.pausing import resume_task
from annotation.ruling import let_go_on


class Command(ProjectCommand):
    help = "Hand out pairs again: of a project, to one person, or one pair that was paused."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        whom = parser.add_mutually_exclusive_group()
        whom.add_argument("--person", metavar="NAME", help="who goes on")
        whom.add_argument("--pair", metavar="ID", help="which pair, by the id of its file")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        if options["person"] is not None:
            rater = person_named(project, options["person"])
            changed = int(let_go_on(rater, now=timezone.now()))
            self.stdout.write(f"{rater.name} gets pairs of {project}.")
            return {"person": rater.name, "changed": changed}
        if options["pair"] is not None:
            changed = sum(resume_task(task) for task in tasks_of_pair(project, options["pair"]))
            self.stdout.write(f"People get pair {options['pair']} again.")
            return {"pair": options["pair"], "changed": changed}
        paused = Project.objects.filter(pk=project.pk, status=Project.Status.PAUSED)
        changed = paused.update(status=Project.Status.RUNNING)
        self.stdout.write(f"{project} hands out pairs.")
        return {"project": project.slug, "changed": changed}
