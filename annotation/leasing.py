"""The slots of a task and the rows that hold them: what serving and answering do under one lock.

A task has `votes_wanted` slots. Every change of a slot happens in one short transaction that holds the task's row, so
`taken` is always the number of slots held or answered; the database checks `taken <= votes_wanted` on top. Rows are
locked in one order, task, then assignment, which leaves no room for a deadlock. SQLite has no row locks: there each
transaction begins IMMEDIATE, so that writers wait in line, and Django leaves `FOR UPDATE` out.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils.translation import gettext as _

from annotation.errors import LeaseNotYours
from annotation.models import Assignment, AssignmentState, Preference, Project, Rater, Task, TaskState
from annotation.preparing import Prepared
from annotation.promising import return_promise
from annotation.retrying import in_transaction

ANSWERED = (AssignmentState.SUBMITTED, AssignmentState.EXTRA)


def locked(assignment_id: UUID, rater: Rater) -> tuple[Task, Assignment]:
    """Lock and return a person's assignment and its task. Caller holds a transaction. One query.

    `answered_before` on the assignment says whether this person's answer to the pair is there already, given in the
    other tier or brought by an import; `is_paused` whether a manager has paused the person. Raises `LeaseNotYours`.
    """
    found = _LOCKED.fetch(assignment=assignment_id, rater=rater.pk)
    if not found:
        raise LeaseNotYours(_("This pair is not held for you. Open the project again to get one."))
    assignment = found[0]
    assignment.rater = rater
    return assignment.task, assignment


def _locked_rows(*, assignment: UUID, rater: UUID) -> "QuerySet[Assignment]":
    earlier = Preference.objects.current().filter(
        pair_id=OuterRef("task__pair_id"), rater_id=OuterRef("rater_id"), criterion__isnull=True
    )
    rows = Assignment.objects.select_related("task").annotate(
        answered_before=Exists(earlier),
        is_paused=Exists(Rater.objects.filter(pk=OuterRef("rater_id"), paused_at__isnull=False)),
    )
    # The task first: the order of this list is the order of the locks.
    return rows.select_for_update(of=("task", "self"), no_key=True).filter(pk=assignment, rater=rater)


_LOCKED = Prepared(_locked_rows)


def take_slot(task: Task) -> int | None:
    """Count one more slot as taken and return its number, or None where none is free. Caller holds the task's row.

    Numbers are never used again, so that the database notices a slot given twice.
    """
    free = Task.objects.filter(pk=task.pk, state=TaskState.OPEN, taken__lt=F("votes_wanted"))
    if not free.update(taken=F("taken") + 1, next_slot=F("next_slot") + 1):
        return None
    task.taken += 1
    task.next_slot += 1
    return task.next_slot - 1


def give_back(task: Task, assignment: Assignment, state: AssignmentState) -> None:
    """Leave an assignment without a slot, and what it promised to the budget. Caller holds both rows."""
    if assignment.slot is not None:
        Task.objects.filter(pk=task.pk).update(taken=F("taken") - 1)
    return_promise(assignment, assignment.rater.project)
    assignment.slot = None
    assignment.place = None
    assignment.state = state
    assignment.save()


def give_back_if(assignment_id: UUID, rater: Rater, wanted: Callable[[Assignment], bool]) -> bool:
    """End a lease, if it is still held and `wanted` as it is by now; say whether. A transaction of its own."""

    def give_back_now() -> bool:
        task, assignment = locked(assignment_id, rater)
        if assignment.state != AssignmentState.LEASED or not wanted(assignment):
            return False
        give_back(task, assignment, AssignmentState.EXPIRED)
        return True

    return in_transaction(give_back_now)


def lease_end(project: Project, now: datetime) -> datetime:
    """Return until when a lease that begins or is renewed now is held."""
    return now + timedelta(seconds=project.lease_seconds)
