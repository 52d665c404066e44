"""`manage.py set_votes`."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from annotation.commanding import ProjectCommand, tasks_of_pair
from annotation.models import Tier
from annotation.voting import set_votes


class Command(ProjectCommand):
    help = "Say how many answers opened pairs want from now on; what people hold or gave stays."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("votes", type=int, help="answers wanted a pair")
        parser.add_argument("--most", type=int, metavar="N", help="how far a pair may grow while answers differ")
        parser.add_argument("--pair", metavar="ID", help="only this pair, by the id of its file")
        parser.add_argument("--tier", choices=Tier.values, default=Tier.CROWD.value, help="whose tasks (crowd)")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        pair_ids = None
        if options["pair"] is not None:
            pair_ids = [task.pair_id for task in tasks_of_pair(project, options["pair"])]
        changed = set_votes(
            project,
            votes_wanted=options["votes"],
            most_votes=options["most"],
            pair_ids=pair_ids,
            tier=Tier(options["tier"]),
        )
        self.stdout.write(f"{changed:,} pairs of {project} want another number of answers now.")
        return {"changed": changed}
