"""Making projects."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from annotation.errors import AnnotationError
from annotation.guiding import begin_guidelines, normalised
from annotation.models import Criterion, Membership, Project, Role, User
from annotation.training import read_training

OVERALL = "overall"
LONGEST_NAME = 120
SET_ELSEWHERE = {"id", "slug", "title", "created_at", "guidelines_number"}


def create_project(
    *,
    slug: str,
    title: str = "",
    manager: User | None = None,
    criteria: Mapping[str, str] | None = None,
    **settings: Any,
) -> Project:
    """Make a project, its criterion "overall", its manager's membership and version 1 of its guidelines, all or none.

    `criteria` are further ones, by name, with what they mean; `settings` are fields of `Project`. Raises
    `AnnotationError` in words for a slug that is taken or no slug, for a setting that does not exist, for a value out
    of range and for a criterion without a name or of more than 120 characters.
    """
    further = {name.strip(): meaning.strip() for name, meaning in (criteria or {}).items()}
    if bad := [name for name in further if not name or len(name) > LONGEST_NAME or name == OVERALL]:
        raise AnnotationError(f"{bad[0]!r} cannot be a criterion: it takes 1 to 120 characters, and not {OVERALL!r}.")
    known = {field.name for field in Project._meta.concrete_fields} - SET_ELSEWHERE
    unknown = sorted(set(settings) - known)
    if unknown:
        raise AnnotationError(f"A project has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
    project = Project(slug=slug, title=title or slug.replace("-", " ").replace("_", " ").capitalize(), **settings)
    project.guidelines = normalised(project.guidelines)
    project.training = read_training(project.training).value()
    _validate(project)
    with transaction.atomic():
        project.save(force_insert=True)
        Criterion.objects.create(project=project, name=OVERALL, description="Which response is better, all in all.")
        Criterion.objects.bulk_create(
            Criterion(project=project, name=name, description=meaning, position=position)
            for position, (name, meaning) in enumerate(further.items(), start=1)
        )
        if manager is not None:
            Membership.objects.create(project=project, user=manager, role=Role.MANAGER)
        begin_guidelines(project, by=manager)
    return project


def _validate(project: Project) -> None:
    """Ask the model's own rules, so that the database is never the one to refuse."""
    try:
        project.full_clean()
    except ValidationError as error:
        if any(problem.code == "unique" for problem in error.error_dict.get("slug", [])):
            raise AnnotationError(f"There is a project {project.slug!r} already; choose another short name.") from None
        if "slug" in error.message_dict:
            raise AnnotationError(
                f"{project.slug[:80]!r} cannot be a project's short name: use 1 to 64 letters a-z, digits, '-' and '_'."
            ) from None
        said = "; ".join(
            f"{'' if field == '__all__' else field + ': '}{' '.join(messages)}"
            for field, messages in sorted(error.message_dict.items())
        )
        raise AnnotationError(f"The project {project.slug!r} was not made. {said}") from None
