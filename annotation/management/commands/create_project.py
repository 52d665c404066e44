"""`manage.py create_project`."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotation.commanding import TiebreakCommand
from annotation.creating import create_project
from annotation.models import Project, User
from annotation.screen_arguments import add_set_argument, read_file, with_changes


class Command(TiebreakCommand):
    help = "Make a project."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("slug", help="its short name: letters a-z, digits, '-' and '_'")
        parser.add_argument("--title", default="", help="its name on pages (default: made of the short name)")
        parser.add_argument("--template", choices=Project.Template.values, help="what people are asked (pairwise)")
        parser.add_argument("--screen", metavar="FILE.json", help="settings of the screen, as configure_screen prints")
        add_set_argument(parser)
        parser.add_argument("--manager", metavar="USERNAME", help="who manages it")
        parser.add_argument("--votes", type=int, default=3, metavar="N", help="people's answers wanted per pair")
        parser.add_argument(
            "--criterion",
            action="append",
            default=[],
            metavar="NAME=MEANING",
            help='asked beside "overall", as in "tone=Is it friendly?"; may be repeated',
        )
        parser.add_argument("--rationale-required", action="store_true", help="people must say why")

    def run(self, **options: Any) -> Mapping[str, Any]:
        manager = self._user(options["manager"])
        screen = with_changes(read_file(options["screen"]) if options["screen"] else {}, options["changes"])
        given = {name: options[name] for name in ("template", "rationale_required") if options[name]}
        criteria = dict(one.partition("=")[::2] for one in options["criterion"])
        project = create_project(
            slug=options["slug"],
            title=options["title"],
            manager=manager,
            criteria=criteria or None,
            screen=screen,
            votes_wanted=options["votes"],
            **given,
        )
        self.stdout.write(f"Made the project {project.slug} ({project.title}).")
        if manager is None:
            self.stdout.write("It has no manager yet: only a superuser sees it, and names one on its page People.")
        self.stdout.write(f"Next: manage.py import_pairs {project.slug} FILE")
        return {
            "id": str(project.id),
            "slug": project.slug,
            "title": project.title,
            "template": project.template,
            "screen": project.questionnaire,
            "votes_wanted": project.votes_wanted,
            "rationale_required": project.rationale_required,
            "criteria": list(project.criteria.values_list("name", flat=True)),
            "manager": manager.username if manager else None,
        }

    def _user(self, username: str | None) -> User | None:
        if username is None:
            return None
        try:
            return User.objects.get(username=username)
        except User.DoesNotExist:
            raise CommandError(f"There is no user {username!r}. Make one with: manage.py createsuperuser") from None
