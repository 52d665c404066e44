"""`manage.py prolific_events`."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.urls import reverse

from annotation.commanding import TiebreakCommand
from annotation.crowd.errors import CrowdError
from annotation.crowd.prolific.client import ProlificClient
from annotation.crowd.prolific.hooks import subscribe


class Command(TiebreakCommand):
    help = "Subscribe this site to Prolific's events, once each; or make the secret that signs them."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--site", help="this site's address, as https://tiebreak.example.org: subscribe")
        what.add_argument(
            "--new-secret",
            action="store_true",
            help="make the workspace's signing secret and print it, once; the one before is void from then on",
        )

    def run(self, **options: Any) -> Mapping[str, Any]:
        if options["new_secret"]:
            if not settings.PROLIFIC_WORKSPACE:
                raise CrowdError("A secret belongs to a workspace, and none is named: set TIEBREAK_PROLIFIC_WORKSPACE.")
            secret = ProlificClient.configured().create_hook_secret(settings.PROLIFIC_WORKSPACE)
            self.stdout.write(f"TIEBREAK_PROLIFIC_HOOK_SECRET={secret}")
            return {"secret": secret}
        found = subscribe(options["site"].rstrip("/") + reverse("prolific_events"))
        for one in found:
            self.stdout.write(f"{one.event_type} is sent to {one.target_url}")
        return {"subscriptions": [{"event_type": one.event_type, "target_url": one.target_url} for one in found]}
