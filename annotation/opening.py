"""Opening pairs to people."""

from collections.abc import Iterable
from math import isfinite
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from annotation.errors import AnnotationError
from annotation.models import Pair, Project, Task, Tier

# Rows a statement: SQLite binds at most 32,766 values, and an opened task has ten.
BATCH = 1000


class Opening(NamedTuple):
    """A pair to open to people; the higher `priority` is served first."""

    pair_id: UUID
    priority: float = 0.0


def open_tasks(project: Project, openings: Iterable[Opening], *, votes_wanted: int, tier: Tier = Tier.CROWD) -> int:
    """Open pairs to people and return how many were not open in this tier before.

    A pair that has a task keeps it, with its leases, answers and votes wanted, and takes the new priority. A pair named
    twice takes the last priority. Raises `AnnotationError` for a pair of another project, and then opens nothing.
    """
    if votes_wanted < 1:
        raise AnnotationError(f"{votes_wanted} votes a pair were asked for; at least 1 is needed.")
    priorities = {UUID(str(opening.pair_id)): float(opening.priority) for opening in openings}
    odd = [str(pair_id) for pair_id, priority in priorities.items() if not isfinite(priority)]
    if odd:
        raise AnnotationError(f"The priority of {len(odd)} pairs is not a number, the first is pair {odd[0]}.")
    # By id, so that two calls lock the rows they share in the same order.
    pair_ids = sorted(priorities)
    opened = 0
    with transaction.atomic():
        for start in range(0, len(pair_ids), BATCH):
            batch = pair_ids[start : start + BATCH]
            _refuse_strangers(project, batch)
            opened += len(batch) - Task.objects.filter(pair_id__in=batch, tier=tier).count()
            Task.objects.bulk_create(
                [
                    Task(
                        project=project,
                        pair_id=pair_id,
                        tier=tier,
                        votes_wanted=votes_wanted,
                        priority=priorities[pair_id],
                    )
                    for pair_id in batch
                ],
                update_conflicts=True,
                unique_fields=["pair", "tier"],
                update_fields=["priority"],
            )
    return opened


def _refuse_strangers(project: Project, pair_ids: list[UUID]) -> None:
    known = set(Pair.objects.filter(project=project, pk__in=pair_ids).values_list("pk", flat=True))
    strange = [str(pair_id) for pair_id in pair_ids if pair_id not in known]
    if strange:
        message = f"{len(strange)} pairs are not in {project}, the first is {strange[0]}. No task was opened."
        raise AnnotationError(message)
