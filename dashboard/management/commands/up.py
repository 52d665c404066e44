"""Start web, workers and scheduler of the embedded profile."""

import sys
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser

from annotation.commanding import TiebreakCommand
from annotation.models import User
from config.supervising import embedded_programs, require_free_port, supervise


class Command(TiebreakCommand):
    help = "Start web, workers and scheduler together; Ctrl-C stops them together."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine only)")
        parser.add_argument("--port", type=int, default=8000)

    def run(self, **options: Any) -> Mapping[str, Any]:
        host, port = options["host"], options["port"]
        if settings.PRODUCTION:
            raise CommandError("'up' is for the embedded profile. In production run the units of deploy/ instead.")
        require_free_port(host, port)
        call_command("migrate", verbosity=0)
        call_command("collectstatic", verbosity=0, interactive=False)
        self.stdout.write(f"Tiebreak is at http://{host}:{port}/  (Ctrl-C stops it)")
        if not User.objects.exists():
            self.stdout.write("Nobody can sign in yet. Make the first manager with: manage.py createsuperuser")
        self.stdout.flush()
        # Whoever names no model for our own workers needs no worker for them.
        status = supervise(embedded_programs(host, port, gpu=bool(settings.GPU_MODELS)), say=self.stdout.write)
        if status:
            sys.exit(status)
        return {"stopped": True}
