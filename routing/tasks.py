"""The Celery tasks of routing; each takes ids and calls one function."""

from celery import shared_task

from annotation.models import Pair
from routing.resolving import resolve_labels


@shared_task(name="routing.tasks.resolve_pair")
def resolve_pair(pair_id: str) -> None:
    """Make a pair's label again after an answer. Idempotent; a pair that was deleted meanwhile needs none."""
    pair = Pair.objects.select_related("project").filter(pk=pair_id).first()
    if pair is not None:
        resolve_labels(pair.project, [pair.pk])
