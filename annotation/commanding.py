"""What every management command of Tiebreak shares: the project argument, `--json`, errors without a traceback."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotation.errors import TiebreakError
from annotation.models import Project, Rater, RaterKind, Task, User


class TiebreakCommand(BaseCommand):
    """A command that prints for a person, and with `--json` one JSON object on the last line for a machine."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--json`; subclasses extend this."""
        parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command and print its result. A `TiebreakError` becomes a message and exit status 1."""
        try:
            result = self.run(**options)
        except TiebreakError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(result, sort_keys=True, default=str, ensure_ascii=False))

    def run(self, **options: Any) -> Mapping[str, Any]:
        """Do the work, write for a person to `self.stdout`, and return what `--json` prints."""
        raise NotImplementedError


class ProjectCommand(TiebreakCommand):
    """A command about one project, named by its slug."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the project's slug; subclasses extend this."""
        super().add_arguments(parser)
        parser.add_argument("slug", help="the project's short name")

    def project(self, slug: str) -> Project:
        """Return the project of that slug, or end with the names that exist."""
        try:
            return Project.objects.get(slug=slug)
        except Project.DoesNotExist:
            known = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)[:10]) or "none yet"
            message = f"There is no project {slug!r}. Projects: {known}. Make one with: manage.py create_project {slug}"
            raise CommandError(message) from None


def manager_of(project: Project, name: str | None) -> User:
    """Return the manager of that user name, who answers for what is done. Raises `CommandError`."""
    if not name:
        raise CommandError("Say with --by which manager does this; it is written down with it.")
    user = User.objects.filter(username=name).first()
    if user is None or not Project.objects.managed_by(user).filter(pk=project.pk).exists():
        raise CommandError(f"{name} manages no project {project.slug!r}.")
    return user


def text_of_file(path: Path) -> str:
    """Return a text file's content, or the standard input's for '-'. Raises `CommandError` in words."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CommandError(f"{path} is no text in UTF-8.") from None


def parse_mapping(pairs: list[str], option: str) -> dict[str, str]:
    """Return `["a=b", ...]` as a dict. Raises `CommandError` naming the option and the part without '='."""
    mapping = {}
    for part in pairs:
        key, sign, value = part.partition("=")
        if not sign or not key or not value:
            raise CommandError(f"{option} takes name=value, not {part!r}.")
        mapping[key] = value
    return mapping


def person_named(project: Project, name: str) -> Rater:
    """Return the person of that name in a project, or end with the names there are."""
    people = Rater.objects.filter(project=project, kind=RaterKind.PERSON)
    rater = people.filter(name=name).first()
    if rater is None:
        known = ", ".join(people.order_by("name").values_list("name", flat=True)[:10]) or "nobody yet"
        raise CommandError(f"There is nobody called {name!r} in {project}. People: {known}.")
    return rater


def tasks_of_pair(project: Project, external_id: str) -> list[Task]:
    """Return the tasks by which a pair, named as its file names it, was opened; or end in words."""
    tasks = list(Task.objects.filter(project=project, pair__external_id=external_id).order_by("tier"))
    if not tasks:
        raise CommandError(f"No pair {external_id!r} of {project} was opened to people.")
    return tasks
