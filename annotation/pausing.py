"""Pausing one person: no pair is leased to them until they are resumed, and they can read why."""

from datetime import datetime

from django.db import transaction
from django.db.models.functions import Coalesce

from annotation.errors import AnnotationError
from annotation.leasing import give_back, locked
from annotation.models import Assignment, AssignmentState, Rater


def pause_person(rater: Rater, *, reason: str, now: datetime) -> int:
    """Pause a person, give back what they hold and return how many pairs that were. A transaction a lease.

    The reason is what they read, a rule's name in words. An answer to what was given back is still taken, as one that
    came too late. Raises `AnnotationError` without a reason.
    """
    if not (reason := reason.strip()):
        raise AnnotationError(f"{rater} was not paused: say why, since they read it.")
    Rater.objects.filter(pk=rater.pk).update(paused_at=Coalesce("paused_at", now), paused_reason=reason)
    rater.refresh_from_db(fields=["paused_at", "paused_reason"])
    held = Assignment.objects.filter(rater=rater, state=AssignmentState.LEASED)
    given_back = 0
    for assignment_id in list(held.values_list("pk", flat=True)):
        with transaction.atomic():
            task, assignment = locked(assignment_id, rater)
            if assignment.state == AssignmentState.LEASED:
                give_back(task, assignment, AssignmentState.EXPIRED)
                given_back += 1
    return given_back


def resume_person(rater: Rater) -> bool:
    """Let a paused person go on; say whether they were paused."""
    paused = Rater.objects.filter(pk=rater.pk, paused_at__isnull=False)
    rater.paused_at, rater.paused_reason = None, ""
    return bool(paused.update(paused_at=None, paused_reason=""))
