"""`manage.py configure_screen`."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from annotation.commanding import ProjectCommand
from annotation.configuring import configure, read_screen, settings_of
from annotation.models import Project
from annotation.screen_arguments import add_set_argument, read_file, with_changes


class Command(ProjectCommand):
    help = "Set what a project's annotation screen asks; without a change, print what it asks now."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "file", nargs="?", metavar="FILE.json", help="all settings, as this command prints them with --json"
        )
        parser.add_argument("--template", choices=Project.Template.values, help="before anybody was asked")
        add_set_argument(parser)
        required = parser.add_mutually_exclusive_group()
        required.add_argument("--rationale-required", action="store_true", default=None, help="people must say why")
        required.add_argument(
            "--rationale-optional", action="store_false", dest="rationale_required", default=None, help="they need not"
        )

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        before = read_file(options["file"]) if options["file"] else settings_of(project)
        changes = {name: options[name] for name in ("template", "rationale_required") if options[name] is not None}
        if options["file"] or options["changes"] or changes:
            asked = read_screen({**with_changes(before, options["changes"]), **changes})
            configure(
                project,
                template=asked.template,
                settings=asked.settings,
                criteria=asked.criteria,
                rationale_required=asked.rationale_required,
            )
            self.stdout.write(f"The screen of {project.slug} asks this now:")
        settings = settings_of(project)
        for name, value in settings.items():
            changed = "" if name not in project.questionnaire else "  (changed)"
            self.stdout.write(f"  {name:<18} {_in_words(value)}{changed}")
        return settings


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {text}" for name, text in value.items()) or "-"
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "-"
    return str(value) or "-"
