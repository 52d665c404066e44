"""Opening pairs to people, and closing those that nobody has touched."""

from collections.abc import Iterable
from functools import partial
from math import isfinite
from typing import NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from annotation.errors import AnnotationError
from annotation.models import Assignment, AssignmentState, Pair, Project, Task, TaskState, Template, Tier
from annotation.retrying import in_transaction
from annotation.skilling import Needs, needs_of
from annotation.slating import slates_of

# Rows a statement: SQLite binds at most 32,766 values, and an opened task has fifteen.
BATCH = 1000
# Tasks a transaction that changes what is open already: nobody's answer waits for more than these.
SHORT_BATCH = 200
SLATES = (Template.RANKING, Template.BEST_WORST)


class Opening(NamedTuple):
    """A pair to open to people; the higher `priority` is served first."""

    pair_id: UUID
    priority: float = 0.0


def open_tasks(
    project: Project,
    openings: Iterable[Opening],
    *,
    votes_wanted: int,
    most_votes: int | None = None,
    expert_on_split: bool = False,
    tier: Tier = Tier.CROWD,
    keep_priorities: bool = False,
) -> int:
    """Open pairs to people and return how many were not open in this tier before.

    With `most_votes` a task whose answers differ wants one more, up to that many (`annotation.voting`); with
    `expert_on_split` that one more is an expert's. A pair that has a task keeps it, with its leases, answers and votes
    wanted, and takes the new priority; one whose task was closed untouched is opened again as asked now. A pair named
    twice takes the last priority. A task needs the skills that the project says (`annotation.skilling`). In a project
    that asks for orders, each pair's slate is opened, once.

    With `keep_priorities` the tasks that are there keep theirs and none of them is locked: a long transaction may open
    pairs so, and `reprioritise` follows it. Raises `AnnotationError` for a pair of another project, and then opens
    nothing.
    """
    if votes_wanted < 1:
        raise AnnotationError(f"{votes_wanted} votes a pair were asked for; at least 1 is needed.")
    if most_votes is not None and most_votes < votes_wanted:
        raise AnnotationError(f"A pair may get at most {most_votes} votes, but {votes_wanted} are wanted at first.")
    priorities = _priorities(openings)
    votes = {"votes_wanted": votes_wanted, "most_votes": most_votes, "expert_on_split": expert_on_split}
    # By id, so that two calls lock the rows they share in the same order.
    pair_ids = sorted(priorities)
    opened = 0
    with transaction.atomic():
        if project.template in SLATES:
            # Two that open pairs of one prompt wait here for each other: what one makes a slate of is what the other
            # finds.
            Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        for start in range(0, len(pair_ids), BATCH):
            batch = pair_ids[start : start + BATCH]
            _refuse_strangers(project, batch)
            slates: dict[UUID, UUID] = {}
            if project.template in SLATES:
                batch, slates = _one_a_slate(project, batch, priorities, tier)
            needs = needs_of(project, batch)
            there = Task.objects.filter(pair_id__in=batch, tier=tier)
            opened += len(batch) - there.count()
            opened += there.filter(state=TaskState.CLOSED).update(state=TaskState.OPEN, **votes)
            Task.objects.bulk_create(
                [
                    Task(
                        project=project,
                        pair_id=pair_id,
                        slate_id=slates.get(pair_id),
                        tier=tier,
                        priority=priorities[pair_id],
                        **needs.get(pair_id, Needs())._asdict(),
                        **votes,
                    )
                    for pair_id in batch
                ],
                ignore_conflicts=True,
            )
    if not keep_priorities:
        reprioritise(project, [Opening(pair_id, priority) for pair_id, priority in priorities.items()], tier=tier)
    return opened


def reprioritise(project: Project, openings: Iterable[Opening], *, tier: Tier = Tier.CROWD) -> int:
    """Put open tasks at another place of the queue and return how many moved; what is held stays as it is.

    In short transactions, `SHORT_BATCH` tasks at a time, so that with thousands of tasks people answer meanwhile.
    """
    priorities = _priorities(openings)
    if project.template in SLATES:
        _one_a_slate(project, sorted(priorities), priorities, tier)
    pair_ids = sorted(priorities)
    moved = 0
    for start in range(0, len(pair_ids), SHORT_BATCH):
        batch = Task.objects.filter(
            project=project, tier=tier, state=TaskState.OPEN, pair_id__in=pair_ids[start : start + SHORT_BATCH]
        )
        there = dict(batch.values_list("pair_id", "priority"))
        if changed := [pair_id for pair_id, priority in there.items() if priority != priorities[pair_id]]:
            moved += in_transaction(partial(_move, batch.filter(pair_id__in=changed), priorities))
    return moved


def _priorities(openings: Iterable[Opening]) -> dict[UUID, float]:
    priorities = {UUID(str(opening.pair_id)): float(opening.priority) for opening in openings}
    odd = [str(pair_id) for pair_id, priority in priorities.items() if not isfinite(priority)]
    if odd:
        raise AnnotationError(f"The priority of {len(odd)} pairs is not a number, the first is pair {odd[0]}.")
    return priorities


def _move(tasks: "QuerySet[Task]", priorities: dict[UUID, float]) -> int:
    # By pair, as others lock them.
    rows = list(tasks.order_by("pair_id").select_for_update(no_key=True).only("pair_id"))
    for task in rows:
        task.priority = priorities[task.pair_id]
    return Task.objects.bulk_update(rows, ["priority"])


def _one_a_slate(
    project: Project, pair_ids: list[UUID], priorities: dict[UUID, float], tier: Tier
) -> tuple[list[UUID], dict[UUID, UUID]]:
    """Return one pair for each slate that these pairs are part of, and its slate; it has the highest priority of them.

    A slate that has a task, of whichever tier, keeps the pair that this was opened for: by it a person who ordered the
    slate for one tier is known in the other.
    """
    slate_of = slates_of(project, pair_ids)
    anchors = dict(Task.objects.filter(slate__in=set(slate_of.values())).values_list("slate_id", "pair_id"))
    for pair_id in pair_ids:
        anchor = anchors.setdefault(slate_of[pair_id], pair_id)
        priorities[anchor] = max(priorities.get(anchor, priorities[pair_id]), priorities[pair_id])
    return sorted(anchors.values()), {anchor: slate for slate, anchor in anchors.items()}


def untouched_tasks(project: Project, tier: Tier = Tier.CROWD) -> "QuerySet[Task]":
    """Return the open tasks that nobody holds and nobody has answered."""
    extras = Assignment.objects.filter(task=OuterRef("pk"), state=AssignmentState.EXTRA)
    tasks = Task.objects.filter(project=project, tier=tier, state=TaskState.OPEN, taken=0, answered=0)
    return tasks.filter(~Exists(extras))


def close_untouched(project: Project, pair_ids: Iterable[UUID | str]) -> set[UUID]:
    """Close the crowd tasks of these pairs that nobody holds and nobody has answered; return the pairs it closed.

    A conditional update under each task's row lock: a lease that is taken at the same moment either comes first, and
    the task stays open, or finds it closed. What was closed can be opened again (`open_tasks`).
    """
    ids = sorted({UUID(str(pair_id)) for pair_id in pair_ids})
    closed: set[UUID] = set()
    with transaction.atomic():
        for start in range(0, len(ids), BATCH):
            batch = untouched_tasks(project).filter(pair_id__in=ids[start : start + BATCH])
            # Locked in the order that `open_tasks` locks them in, and read again under the lock.
            free = batch.select_for_update(of=("self",), no_key=True).order_by("pair_id")
            rows = list(free.values_list("pk", "pair_id"))
            Task.objects.filter(pk__in=[pk for pk, _ in rows]).update(state=TaskState.CLOSED)
            closed |= {pair_id for _, pair_id in rows}
    return closed


def _refuse_strangers(project: Project, pair_ids: list[UUID]) -> None:
    known = set(Pair.objects.filter(project=project, pk__in=pair_ids).values_list("pk", flat=True))
    strange = [str(pair_id) for pair_id in pair_ids if pair_id not in known]
    if strange:
        message = f"{len(strange)} pairs are not in {project}, the first is {strange[0]}. No task was opened."
        raise AnnotationError(message)
