"""Stopping one person, or one pair, beside the whole project; and going on.

Who is paused gets no pair and gives no answer from the moment this is stored: what they held is free for others at
once, and what they gave before stays theirs, counted and paid. A paused pair goes to nobody new; who holds it finishes.
"""

from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from annotation.answering import storable
from annotation.errors import AnnotationError
from annotation.leasing import give_back_if
from annotation.models import Assignment, AssignmentState, Rater, RaterKind, Task

REASON_LIMIT = 500


def pause_person(rater: Rater, *, reason: str, now: datetime) -> int:
    """Pause a person and return how many pairs they had to give back. The reason is what they read.

    A lease that is taken at the same moment is either stored first, and given back here, or finds them paused
    (`unpaused`). Raises `AnnotationError` without a reason and for a judge.
    """
    reason = storable(reason, field="reason", limit=REASON_LIMIT).strip()
    if not reason:
        raise AnnotationError(f"{rater} was not paused: say why, since they read it.")
    if rater.kind != RaterKind.PERSON:
        raise AnnotationError(f"{rater} is a judge; only people are paused.")
    with transaction.atomic():
        stored = Rater.objects.select_for_update().get(pk=rater.pk)
        stored.paused_at = stored.paused_at or now
        stored.paused_reason = reason
        stored.save(update_fields=["paused_at", "paused_reason"])
    rater.paused_at, rater.paused_reason = stored.paused_at, reason
    held = Assignment.objects.filter(rater=rater, state=AssignmentState.LEASED).values_list("pk", flat=True)
    return sum(give_back_if(pk, rater, lambda _assignment: True) for pk in list(held))


def resume_person(rater: Rater) -> bool:
    """Let a paused person go on; say whether they were paused."""
    paused = Rater.objects.filter(pk=rater.pk, paused_at__isnull=False)
    rater.paused_at, rater.paused_reason = None, ""
    return bool(paused.update(paused_at=None, paused_reason=""))


def unpaused(rater: UUID) -> "QuerySet[Rater]":
    """Return a person's row, locked, unless they are paused by now: who pauses them waits for this transaction.

    As a condition of another statement it costs no query. On SQLite the transaction has the whole database.
    """
    return Rater.objects.select_for_update(no_key=True).filter(pk=rater, paused_at__isnull=True)


def pause_task(task: Task) -> bool:
    """Hand a pair out to nobody new; say whether that is news."""
    return _set_paused(task, True)


def resume_task(task: Task) -> bool:
    """Hand a pair out again; say whether that is news."""
    return _set_paused(task, False)


def _set_paused(task: Task, paused: bool) -> bool:
    task.is_paused = paused
    return bool(Task.objects.filter(pk=task.pk, is_paused=not paused).update(is_paused=paused))
