"""`manage.py end_second_step`."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from annotation.commanding import TiebreakCommand
from annotation.joining.errors import JoiningError
from annotation.joining.second_step import end_second_step
from annotation.models import User


class Command(TiebreakCommand):
    help = "Let somebody in who lost the app of their second step and its recovery codes. Make sure that it is they."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username")

    def run(self, **options: Any) -> Mapping[str, Any]:
        user = User.objects.filter(username=options["username"]).first()
        if user is None or not end_second_step(user):
            raise JoiningError(f"{options['username']} has no second step.")
        self.stdout.write(f"{user} signs in without a second step now.")
        return {"username": user.get_username()}
