"""Making projects."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from annotation.configuring import configure, read_screen
from annotation.criteria import OVERALL, CriterionRow
from annotation.errors import AnnotationError
from annotation.guiding import begin_guidelines, normalised
from annotation.models import Criterion, Membership, Project, Role, User
from annotation.training import read_training

SET_ELSEWHERE = {"id", "slug", "title", "created_at", "guidelines_number", "questionnaire", "rate"}


def create_project(
    *,
    slug: str,
    title: str = "",
    manager: User | None = None,
    criteria: Mapping[str, str] | None = None,
    screen: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Project:
    """Make a project, its criterion "overall", its manager's membership and version 1 of its guidelines, all or none.

    `criteria` are further ones, by name, with what they mean; `screen` is what the annotation screen asks, in the form
    of `annotation.configuring.read_screen`, before which `criteria` and `settings` (fields of `Project`, its template
    among them) go. Raises `AnnotationError` in words for a slug that is taken or no slug, for a setting that does not
    exist and for a value out of range, and then makes nothing.
    """
    asked = read_screen(screen or {})
    rows = asked.criteria if criteria is None else [CriterionRow(*one) for one in criteria.items()]
    beside = {"template": asked.template, "rationale_required": asked.rationale_required}
    settings = {**{name: value for name, value in beside.items() if value is not None}, **settings}
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
        configure(project, settings=asked.settings, criteria=rows)
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
