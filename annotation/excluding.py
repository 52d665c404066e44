"""Taking a person's answers out of the count, with a reason, and back into it.

They are kept and marked, count for no label, and stay paid. Their slots are free again in the same transaction, so that
somebody else is asked; labels are made again by who hears of it in the outbox.
"""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet

from annotation.errors import AnnotationError
from annotation.leasing import take_slot
from annotation.models import (
    Assignment,
    AssignmentState,
    Exclusion,
    Preference,
    Ranking,
    Rater,
    Task,
    TaskState,
    User,
)
from annotation.publishing import publish
from annotation.voting import count_answer

LABELS_OUTDATED = "labels_outdated"
# Rows a statement: SQLite binds at most 32,766 values.
BATCH = 1000


def open_exclusion(rater: Rater) -> Exclusion | None:
    """Return the exclusion that keeps a person's answers out of the count now, the newest of several."""
    return Exclusion.objects.filter(rater=rater, undone_at__isnull=True).order_by("-created_at").first()


def exclude_answers(rater: Rater, *, reason: str, by: User | None, now: datetime) -> int:
    """Take a person's answers so far out of the count; return how many counted until now.

    One transaction, which locks the tasks in the order of pairs, as plans do, and then the assignments. Raises
    `AnnotationError` without a reason. Where nothing counted, nothing is stored.
    """
    if not (reason := reason.strip()):
        raise AnnotationError(f"Say why the answers of {rater} are not to count.")
    with transaction.atomic():
        tasks = _locked_tasks(rater, AssignmentState.SUBMITTED)
        standing = {"rater": rater, "is_current": True, "is_extra": False}
        number = Preference.objects.filter(criterion__isnull=True, **standing).count()
        if not number and not tasks:
            return 0
        exclusion = Exclusion.objects.create(rater=rater, reason=reason, by=by, created_at=now)
        for ids in _batches([task.pk for task in tasks]):
            _holding(rater, AssignmentState.SUBMITTED).filter(task__in=ids).update(
                state=AssignmentState.EXTRA, slot=None
            )
            Task.objects.filter(pk__in=ids).update(
                taken=F("taken") - 1, answered=F("answered") - 1, state=TaskState.OPEN
            )
        Preference.objects.filter(**standing).update(is_extra=True, exclusion=exclusion)
        Ranking.objects.filter(**standing).update(is_extra=True, exclusion=exclusion)
        publish(LABELS_OUTDATED, {"project_id": str(rater.project_id)})
    return number


def include_answers(rater: Rater, *, by: User | None, now: datetime) -> int:
    """Undo the exclusions of a person; return how many answers count again.

    Those whose slot somebody else has taken meanwhile stay beside the count, as answers that came too late do. Locks
    as `exclude_answers` does.
    """
    with transaction.atomic():
        tasks = {task.pk: task for task in _locked_tasks(rater, AssignmentState.EXTRA)}
        undone = Exclusion.objects.filter(rater=rater, undone_at__isnull=True)
        exclusions = list(undone.values_list("pk", flat=True))
        if not exclusions:
            return 0
        taken = [one for one in _excluded(rater, exclusions) if _take_again(one, tasks[one.task_id])]
        excluded = Preference.objects.filter(rater=rater, exclusion__in=exclusions)
        # What no lease brought, an import did: it never held a slot.
        recorded = excluded.filter(assignment__isnull=True, ranking__isnull=True).exclude(
            pair__tasks__assignments__in=Assignment.objects.filter(rater=rater, preference__isnull=False)
        )
        counting = [one.task.pair_id for one in taken] + list(recorded.values_list("pair_id", flat=True).distinct())
        back = 0
        for ids in _batches(counting):
            again = excluded.filter(pair__in=ids, ranking__isnull=True)
            back += again.filter(criterion__isnull=True, is_current=True).count()
            again.update(is_extra=False)
        orders = [one.ranking_id for one in taken if one.ranking_id]
        back += Preference.objects.filter(ranking__in=orders).update(is_extra=False)
        Ranking.objects.filter(pk__in=orders).update(is_extra=False)
        excluded.update(exclusion=None)
        Ranking.objects.filter(rater=rater, exclusion__in=exclusions).update(exclusion=None)
        undone.update(undone_at=now, undone_by=by)
        publish(LABELS_OUTDATED, {"project_id": str(rater.project_id)})
    return back


def _holding(rater: Rater, state: AssignmentState) -> "QuerySet[Assignment]":
    return Assignment.objects.filter(rater=rater, state=state, repeats__isnull=True, gold__isnull=True)


def _locked_tasks(rater: Rater, state: AssignmentState) -> list[Task]:
    """Lock and return the tasks that a person's answers of this state are to."""
    mine = Task.objects.filter(pk__in=_holding(rater, state).values("task"))
    return list(mine.select_for_update(of=("self",), no_key=True).order_by("pair_id"))


def _excluded(rater: Rater, exclusions: list[UUID]) -> list[Assignment]:
    answered = _holding(rater, AssignmentState.EXTRA).select_related("task")
    by_either = Q(preference__exclusion__in=exclusions) | Q(ranking__exclusion__in=exclusions)
    return list(answered.filter(by_either).order_by("finished_at", "pk"))


def _take_again(assignment: Assignment, task: Task) -> bool:
    """Give an answer a slot of its task where one is free, and count it; say whether there was one."""
    assignment.slot = take_slot(task)
    if assignment.slot is None:
        return False
    assignment.state = AssignmentState.SUBMITTED
    assignment.save(update_fields=["slot", "state"])
    count_answer(task)
    return True


def _batches(ids: list[UUID]) -> Iterator[list[UUID]]:
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
