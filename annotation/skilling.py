"""Skills: which languages and domains a pair needs, and which a person has.

A pair's language is that of its prompt, its domain the prompt's category; a project says which of the two its pairs
need. Both are compared word for word, as the file has them. A task carries what it needs, so that looking for the next
one joins no other table.
"""

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Count

from annotation.errors import AnnotationError
from annotation.models import Pair, Project, Prompt, Rater, RaterKind, Task

# Tasks a transaction: nobody waits for more than these.
BATCH = 500
# As long as what a prompt says of itself (`annotation.models.Prompt`).
LONGEST = {"language": 16, "category": 120}


class Skills(NamedTuple):
    """What a person may be asked: values of `Task.language` and `Task.domain`, the empty one included."""

    languages: tuple[str, ...] = ("",)
    domains: tuple[str, ...] = ("",)


class Needs(NamedTuple):
    """What a task needs; empty: nothing."""

    language: str = ""
    domain: str = ""


def skills_of(rater: Rater) -> Skills:
    """Return a person's skills as conditions of a query; no query."""
    return Skills(("", *sorted(rater.languages)), ("", *sorted(rater.domains)))


def needs_of(project: Project, pair_ids: Iterable[UUID]) -> dict[UUID, Needs]:
    """Return what each pair needs; no query where the project's pairs need nothing."""
    if not (project.needs_language or project.needs_domain):
        return {}
    rows = Pair.objects.filter(pk__in=pair_ids).values_list("pk", "prompt__language", "prompt__category")
    return {
        pk: Needs(language if project.needs_language else "", domain if project.needs_domain else "")
        for pk, language, domain in rows
    }


def set_needs(project: Project, *, language: bool, domain: bool) -> None:
    """Say whether the project's pairs need their prompt's language, and its category as a domain.

    Leases that are held stay held. The tasks follow in short transactions, `BATCH` at a time.
    """
    project.needs_language, project.needs_domain = language, domain
    project.save(update_fields=["needs_language", "needs_domain"])
    tasks = list(Task.objects.filter(project=project).order_by("pair_id").values_list("pk", "pair_id"))
    for start in range(0, len(tasks), BATCH):
        batch = tasks[start : start + BATCH]
        needs = needs_of(project, [pair_id for _, pair_id in batch])
        with transaction.atomic():
            changed = []
            # By pair, as others lock them.
            rows = Task.objects.filter(pk__in=[pk for pk, _ in batch]).order_by("pair_id")
            for task in rows.select_for_update(no_key=True):
                wanted = needs.get(task.pair_id, Needs())
                if wanted != (task.language, task.domain):
                    task.language, task.domain = wanted
                    changed.append(task)
            Task.objects.bulk_update(changed, ["language", "domain"])


def set_skills(rater: Rater, *, languages: Iterable[str], domains: Iterable[str]) -> None:
    """Say which languages a person reads and which domains they know; what they hold stays held.

    Raises `AnnotationError` for a judge and for a skill longer than a prompt's language or category may be.
    """
    if rater.kind != RaterKind.PERSON:
        raise AnnotationError(f"{rater} is a judge; only people have skills.")
    rater.languages = _clean(languages, "language")
    rater.domains = _clean(domains, "category")
    rater.save(update_fields=["languages", "domains"])


def known_skills(project: Project) -> tuple[list[str], list[str]]:
    """Return the languages and the domains that the project's prompts name, the most frequent first. Two queries."""
    languages, domains = (
        list(
            Prompt.objects.filter(project=project)
            .exclude(**{field: ""})
            .values_list(field, flat=True)
            .annotate(prompts=Count("pk"))
            .order_by("-prompts", field)
        )
        for field in ("language", "category")
    )
    return languages, domains


def _clean(skills: Iterable[str], field: str) -> list[str]:
    limit = LONGEST[field]
    cleaned = sorted({skill.strip() for skill in skills} - {""})
    for skill in cleaned:
        if len(skill) > limit or "\x00" in skill:
            raise AnnotationError(f"{skill[:40]!r} is no skill: a prompt's {field} has at most {limit} characters.")
    return cleaned
