from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from annotation.commanding import TiebreakCommand


class Command(TiebreakCommand):
    help = "Bring the catalogs of the annotator's pages up to the sources, compile them, and list what is untranslated."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--check", action="store_true", help="write nothing; fail where something is wrong")

    def run(self, **options: Any) -> Mapping[str, Any]:
        try:
            from annotation.translating import check_catalogs, languages, write_catalogs
        except ModuleNotFoundError as error:
            raise CommandError("This needs Babel, which development installs: make messages.") from error
        faults = (check_catalogs if options["check"] else write_catalogs)(settings.BASE_DIR)
        for fault in faults:
            self.stdout.write(str(fault))
        if faults and options["check"]:
            raise CommandError(f"{len(faults)} texts of {', '.join(languages())} are not right.")
        if not faults:
            self.stdout.write(f"All texts are translated: {', '.join(languages())}.")
        return {"faults": [fault._asdict() for fault in faults]}
