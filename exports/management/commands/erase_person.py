from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from annotation.commanding import ProjectCommand, manager_of, person_named
from annotation.erasing import reasons_against
from exports.erasing import affected_by, erase_person
from exports.models import Publication, Snapshot


class Command(ProjectCommand):
    help = "Erase a person from a project for good, and list the exports and publications that may still hold them."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("person", help="their name in the project")
        parser.add_argument("--reason", default="", help="why, as in: asked for it on 3 May; name nobody in it")
        parser.add_argument("--by", metavar="USERNAME", help="the manager who does this")
        parser.add_argument(
            "--confirm", default="", metavar="PERSON", help="the name a second time; without it nothing is changed"
        )

    def run(self, **options: Any) -> dict[str, Any]:
        project = self.project(options["slug"])
        rater = person_named(project, options["person"])
        affected = affected_by(rater)
        if not options["confirm"]:
            for reason in reasons_against(rater):
                self.stdout.write(reason)
            self._tell(affected.snapshots, affected.publications)
            self.stdout.write(f"Nothing was changed. To erase them for good: --confirm {rater.name}")
            return {"erased": False, **_listed(affected.snapshots, affected.publications)}
        if options["confirm"] != rater.name:
            raise CommandError(f"--confirm says {options['confirm']!r}, not {rater.name!r}; nothing was changed.")
        by = manager_of(project, options["by"])
        erasure = erase_person(rater, reason=options["reason"], by=by, now=timezone.now())
        snapshots, publications = list(erasure.snapshots.all()), list(erasure.publications.all())
        self.stdout.write(
            f"Erased: {erasure.answers:,} answers, {erasure.rationales:,} with a reason. {erasure} is what is left of "
            f"them. Account: {erasure.get_account_display().lower()}."
        )
        self._tell(snapshots, publications)
        return {
            "erased": True,
            "left": erasure.rater.name,
            "answers": erasure.answers,
            "account": erasure.account,
            **_listed(snapshots, publications),
        }

    def _tell(self, snapshots: Iterable[Snapshot], publications: Iterable[Publication]) -> None:
        for snapshot in snapshots:
            self.stdout.write(f"  may hold their answers: export {snapshot.number}, in {snapshot.folder}")
        for publication in publications:
            self.stdout.write(f"  may hold their answers: {publication.target}, tag {publication.tag}")


def _listed(snapshots: Iterable[Snapshot], publications: Iterable[Publication]) -> dict[str, Any]:
    return {
        "snapshots": [snapshot.number for snapshot in snapshots],
        "tags": [{"target": publication.target, "tag": publication.tag} for publication in publications],
    }
