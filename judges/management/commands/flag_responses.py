from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Count

from annotation.commanding import ProjectCommand
from judges.flagging import DETECTOR, KINDS, flag_responses, flagged_pairs
from judges.models import ResponseFlag


class Command(ProjectCommand):
    help = "Find responses that speak to the judge instead of answering; their pairs go to people."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--again", action="store_true", help="read all responses, not only those not read yet")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        found = flag_responses(project, again=options["again"])
        pairs = flagged_pairs(project)
        flags = ResponseFlag.objects.filter(response__prompt__project=project)
        kinds = dict(flags.values_list("kind").annotate(n=Count("id")).order_by("kind"))
        self.stdout.write(
            f"{found} responses flagged now; {len(pairs)} pairs of {project} have a flagged response: no judge's label "
            "stands alone there, and plans send them to people first."
        )
        for kind, n in kinds.items():
            self.stdout.write(f"  {n} {kind}: {KINDS[kind]}")
        return {"flagged_now": found, "pairs": len(pairs), "kinds": kinds, "detector": DETECTOR}
