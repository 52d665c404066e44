from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from annotation.commanding import TiebreakCommand
from exports.models import Publication, PublicationState, Snapshot
from exports.publishing.queueing import begin, carry_out


class Command(TiebreakCommand):
    help = "Publish a finished export on the Hub or in a folder: private, one commit, tagged and read back."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "export",
            metavar="SNAPSHOT_OR_FOLDER",
            help="the export's folder, its id, or SLUG:NUMBER as in helpfulness:3",
        )
        parser.add_argument(
            "--to", required=True, metavar="NAMESPACE/NAME|PATH", help="a path begins with /, ./, ../ or ~"
        )
        parser.add_argument("--tag", default="", help="default: v and the export's number")
        parser.add_argument(
            "--onto",
            default="",
            metavar="COMMIT",
            help="write over this state, though it is not what was published last",
        )
        parser.add_argument(
            "--public", default="", metavar="NAMESPACE/NAME", help="let everybody read it: the name a second time"
        )

    def run(self, **options: Any) -> dict[str, Any]:
        publication = begin(
            self._export(options["export"]),
            options["to"],
            tag=options["tag"],
            onto=options["onto"],
            public=options["public"],
        )
        carry_out(publication, tell=lambda stage: self.stderr.write(f"{stage} ..."))
        if publication.state != PublicationState.DONE:
            raise CommandError(publication.error)
        self._tell(publication)
        return {
            "publication": str(publication.pk),
            "place": publication.place,
            "target": publication.target,
            "commit": publication.commit,
            "tag": publication.tag,
            "public": publication.is_public,
            "was_there": publication.was_there,
            "content_hash": publication.content_hash,
            "link": publication.link,
        }

    def _export(self, named: str) -> Snapshot | Path:
        """Return the snapshot or folder that was named, or end with what can be."""
        slug, colon, number = named.rpartition(":")
        if colon and number.isdecimal() and number.isascii():
            snapshot = Snapshot.objects.filter(project__slug=slug, number=int(number[:9])).first()
            if snapshot is None:
                raise CommandError(f"There is no export {number} of a project {slug!r}.")
            return snapshot
        try:
            found = Snapshot.objects.filter(pk=UUID(named)).first()
        except ValueError:
            return Path(named)
        return found or Path(named)

    def _tell(self, publication: Publication) -> None:
        seen = "public" if publication.is_public else "private" if publication.link else "in a folder"
        done = "The same export was there already; no second commit was made" if publication.was_there else "Published"
        self.stdout.write(f"{done}: {publication.target} ({seen}), tag {publication.tag}, commit {publication.commit}.")
        self.stdout.write("Every file was read back and is as it was sent.")
        where = publication.target if publication.link else f"{publication.target}/{publication.tag}"
        revision = f', revision="{publication.tag}"' if publication.link else ""
        self.stdout.write(f'Load it: datasets.load_dataset("{where}"{revision})')
