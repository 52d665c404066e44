"""Choosing how people's votes become one answer."""

from django.db import transaction

from annotation.errors import AnnotationError
from annotation.models import Method, Project
from annotation.publishing import publish
from judges.gating import LABELS_OUTDATED


def choose_method(project: Project, method: str) -> bool:
    """Set a project's method of aggregation and have all labels made again; say whether that changed anything.

    Raises `AnnotationError` for a method that does not exist. The setting and the message that asks for the labels are
    stored together.
    """
    if method not in Method.values:
        raise AnnotationError(
            f"{method!r} is no way to make one answer of people's votes; known: {', '.join(Method.values)}."
        )
    with transaction.atomic():
        changed = Project.objects.filter(pk=project.pk).exclude(aggregation=method).update(aggregation=method)
        if changed:
            publish(LABELS_OUTDATED, {"project_id": str(project.pk)})
    project.aggregation = method
    return bool(changed)
