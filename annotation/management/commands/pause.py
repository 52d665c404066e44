"""`manage.py pause`."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from annotation.commanding import ProjectCommand, person_named, tasks_of_pair
from annotation.models import Project
from annotation.pausing import pause_person, pause_task


class Command(ProjectCommand):
    help = "Hand out no more pairs: of a project, to one person, or one pair. `resume` goes on."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        whom = parser.add_mutually_exclusive_group()
        whom.add_argument("--person", metavar="NAME", help="whom to pause; what they hold goes to others at once")
        whom.add_argument("--pair", metavar="ID", help="which pair to pause, by the id of its file")
        parser.add_argument("--reason", default="", help="why, as the person reads it; needed with --person")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        if options["person"] is not None:
            rater = person_named(project, options["person"])
            given_back = pause_person(rater, reason=options["reason"], now=timezone.now())
            self.stdout.write(f"{rater.name} is paused in {project}; {given_back} pairs they held went to others.")
            return {"person": rater.name, "given_back": given_back}
        if options["pair"] is not None:
            changed = sum(pause_task(task) for task in tasks_of_pair(project, options["pair"]))
            self.stdout.write(f"Pair {options['pair']} goes to nobody new.")
            return {"pair": options["pair"], "changed": changed}
        running = Project.objects.filter(pk=project.pk).exclude(status=Project.Status.PAUSED)
        number = running.update(status=Project.Status.PAUSED)
        self.stdout.write(f"{project} is paused: nobody gets a new pair.")
        return {"project": project.slug, "changed": number}
