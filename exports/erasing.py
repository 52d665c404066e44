"""Erasing a person for good, with the list of what was made before and may still hold what they said.

Exports are never changed, so those stay; they are marked, whoever fetches a file of theirs is told, and none of them is
published any more. `annotation.erasing` takes the person out of the project.
"""

import logging
from datetime import datetime
from functools import partial
from typing import NamedTuple

from django.db import OperationalError
from django.db.models import Q

from annotation.answering import storable
from annotation.erasing import erase_answers
from annotation.errors import AnnotationError
from annotation.models import Preference, Project, Rater, RaterKind, User
from annotation.retrying import in_transaction
from annotation.suppressing import suppress
from exports.models import Erasure, Publication, PublicationState, Snapshot, SnapshotState
from exports.pseudonymising import pseudonym, pseudonym_key

logger = logging.getLogger(__name__)

REASON_LIMIT = 500
# https://www.postgresql.org/docs/current/errcodes-appendix.html
LOCK_NOT_AVAILABLE = "55P03"
# One that is waiting or being written may have begun to read before the person was gone.
MAY_HOLD = (SnapshotState.QUEUED, SnapshotState.RUNNING, SnapshotState.DONE)


class Affected(NamedTuple):
    """What was made after a person's first answer: exports that are still there, and places they were published to."""

    snapshots: list[Snapshot]
    publications: list[Publication]


def affected_by(rater: Rater) -> Affected:
    """Return what may hold a person's answers, the oldest first. Three queries.

    By time, which names too much rather than too little: an export may have left all their pairs out.
    """
    first = Preference.objects.filter(rater=rater).order_by("created_at").values_list("created_at", flat=True).first()
    if first is None:
        return Affected([], [])
    snapshots = Snapshot.objects.filter(project=rater.project_id).defer("report", "files", "counts")
    publications = Publication.objects.filter(project=rater.project_id).filter(
        Q(state=PublicationState.DONE) | ~Q(commit="") | Q(sent_at__isnull=False)
    )
    return Affected(
        list(snapshots.filter(state__in=MAY_HOLD, created_at__gte=first).order_by("number")),
        list(publications.filter(created_at__gte=first).order_by("created_at")),
    )


def erase_person(rater: Rater, *, reason: str, by: User | None, now: datetime) -> Erasure:
    """Erase a person from their project and from every export to come; return what is kept about it.

    Whoever a file brought in under the name that an export gave the person is the same, and erased with them.
    Idempotent: of an erased person the erasure there is. Raises `AnnotationError` without a reason, and with what has
    to be settled before. One transaction, begun again after a deadlock with whoever answers at the moment.
    """
    reason = storable(reason, field="reason", limit=REASON_LIMIT).strip()
    if not reason:
        raise AnnotationError(f"Say why {rater} is erased, as in: asked for it on 3 May.")
    return in_transaction(partial(_erase, rater, reason, by, now))


def _erase(rater: Rater, reason: str, by: User | None, now: datetime) -> Erasure:
    _wait_for_no_import(rater)
    # Without the key: who stores an answer of theirs holds its task, and would wait for us as we do for the task.
    locked = Rater.objects.select_for_update(no_key=True).get(pk=rater.pk)
    if done := Erasure.objects.filter(rater=locked).first():
        return done
    affected = affected_by(locked)
    pseudonyms = _pseudonyms(locked)
    suppress(locked.project, pseudonyms)
    for same in Rater.objects.filter(project=locked.project, kind=RaterKind.PERSON, name__in=pseudonyms):
        _erase(same, reason, by, now)
    erased = erase_answers(locked, by=by, now=now)
    erasure = Erasure.objects.create(
        project=locked.project,
        rater=locked,
        reason=reason,
        answers=erased.answers,
        rationales=erased.rationales,
        account=erased.account,
        by=by,
        at=now,
    )
    erasure.snapshots.set(affected.snapshots)
    erasure.publications.set(affected.publications)
    logger.info(
        "a person of %s was erased as %s by %s; %d exports and %d publications may hold them",
        locked.project.slug, erased.name, by, len(affected.snapshots), len(affected.publications),
    )  # fmt: skip
    return erasure


def _wait_for_no_import(rater: Rater) -> None:
    """Take the lock that an import holds while it writes. Raises `AnnotationError` where one does. No waiting."""
    try:
        Project.objects.select_for_update(no_key=True, nowait=True).get(pk=rater.project_id)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        raise AnnotationError(
            f"{rater} was not erased. The project is being written to, perhaps by an import, which may name them. "
            "Try again once that is done."
        ) from None


def _pseudonyms(rater: Rater) -> set[str]:
    """Return what a person is called in the exports of their project, also in those whose files are gone."""
    seeds = set(Snapshot.objects.filter(project=rater.project_id).values_list("settings__seed", flat=True))
    return {pseudonym(pseudonym_key(rater.project, seed), rater.name) for seed in seeds}


def warning_of(snapshot: Snapshot) -> str:
    """Return what whoever takes a file of an export has to know, or nothing. One query."""
    people = Erasure.objects.filter(snapshots=snapshot).count()
    if not people:
        return ""
    who = "somebody who was" if people == 1 else f"{people:,} people who were"
    return (
        f"Export {snapshot.number} may hold answers of {who} erased since. Do not pass it on: delete it, and export "
        "again."
    )
