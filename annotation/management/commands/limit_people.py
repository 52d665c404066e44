"""`manage.py limit_people`."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotation.commanding import ProjectCommand, person_named
from annotation.limiting import LIMITS, set_limits
from annotation.models import Project, Rater
from annotation.promising import committed_usd, set_people_budget
from annotation.skilling import set_needs, set_skills

NONE = "none"


class Command(ProjectCommand):
    help = "Show and set how much people may do in a project, or one person of it; 'none' lifts a limit."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--person", metavar="NAME", help="set limits and skills of this person")
        parser.add_argument("--most-answers", metavar="N", help="answers a person gives in all")
        parser.add_argument("--most-answers-a-day", metavar="N", help="answers a person gives in a day (UTC)")
        parser.add_argument("--budget-usd", metavar="X", help="what people may cost in all; a hard stop")
        parser.add_argument(
            "--needs", metavar="SKILLS", help="what a pair needs: language, domain, both with a comma, or none"
        )
        parser.add_argument("--languages", metavar="LIST", help="which languages the person reads, as in de,en")
        parser.add_argument("--domains", metavar="LIST", help="which categories of prompts the person knows")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        limits = {name: _number(name, options[name]) for name in LIMITS if options[name] is not None}
        if options["person"] is None:
            return self._limit_project(project, limits, options)
        return self._limit_person(person_named(project, options["person"]), limits, options)

    def _limit_project(self, project: Project, limits: dict[str, int | None], given: dict[str, Any]) -> dict[str, Any]:
        if given["languages"] is not None or given["domains"] is not None:
            raise CommandError("--languages and --domains are a person's: name them with --person.")
        needs = None if given["needs"] is None else _skills(given["needs"])
        if needs is not None and (unknown := set(needs) - {"language", "domain"}):
            raise CommandError(f"--needs takes language, domain or none, not {', '.join(sorted(unknown))}.")
        if given["budget_usd"] is not None:
            set_people_budget(project, _usd(given["budget_usd"]))
        set_limits(project, limits)
        if needs is not None:
            set_needs(project, language="language" in needs, domain="domain" in needs)
        said = {
            "people_budget_usd": project.people_budget_usd,
            "committed_usd": committed_usd(project),
            **{name: getattr(project, name) for name in LIMITS},
            "needs_language": project.needs_language,
            "needs_domain": project.needs_domain,
        }
        return self._told(str(project), said)

    def _limit_person(self, rater: Rater, limits: dict[str, int | None], given: dict[str, Any]) -> dict[str, Any]:
        if given["budget_usd"] is not None or given["needs"] is not None:
            raise CommandError("--budget-usd and --needs are the project's: leave --person out.")
        set_limits(rater, limits)
        if given["languages"] is not None or given["domains"] is not None:
            skills = {
                name: getattr(rater, name) if given[name] is None else _skills(given[name])
                for name in ("languages", "domains")
            }
            set_skills(rater, **skills)
        said = {name: getattr(rater, name) for name in (*LIMITS, "languages", "domains")}
        return self._told(rater.name, said)

    def _told(self, whose: str, said: dict[str, Any]) -> dict[str, Any]:
        for name, value in said.items():
            shown = NONE if value in (None, []) else ", ".join(value) if isinstance(value, list) else value
            self.stdout.write(f"{whose}: {name} {shown}")
        return said


def _number(name: str, text: str) -> int | None:
    if text == NONE:
        return None
    try:
        return int(text)
    except ValueError:
        raise CommandError(f"--{name.replace('_', '-')} takes a whole number or none, not {text!r}.") from None


def _usd(text: str) -> Decimal | None:
    try:
        return None if text == NONE else round(Decimal(text), 4)
    except InvalidOperation:
        raise CommandError(f"--budget-usd takes US dollars or none, not {text!r}.") from None


def _skills(text: str) -> list[str]:
    return [] if text == NONE else [skill.strip() for skill in text.split(",")]
