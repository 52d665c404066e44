"""What a platform says of submissions and studies, and what of it is news here."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from annotation.assigning import release
from annotation.crowd.paying import book_reward_of
from annotation.crowd.prolific.client import ProlificClient
from annotation.models import CrowdStudy, Platform, Submission

State = Submission.State
# As Prolific writes them. "PROCESSING" and what else may come is no state to store: another follows.
STATES: dict[str, State] = {
    "RESERVED": State.RESERVED,
    "ACTIVE": State.ACTIVE,
    "AWAITING REVIEW": State.AWAITING_REVIEW,
    "APPROVED": State.APPROVED,
    "PARTIALLY APPROVED": State.PARTIALLY_APPROVED,
    "REJECTED": State.REJECTED,
    "RETURNED": State.RETURNED,
    "TIMED-OUT": State.TIMED_OUT,
    "SCREENED OUT": State.SCREENED_OUT,
}
# Whoever is in one of these answers nothing more, and what they held is somebody else's.
OVER = (State.REJECTED, State.RETURNED, State.TIMED_OUT, State.SCREENED_OUT)


class Refreshed(NamedTuple):
    """What a look at the platform's list brought: changed here, and there without ever arriving here."""

    changed: int
    never_arrived: int


def state_of(said: str) -> State | None:
    """Return a state as Prolific writes it; None for one that is not known."""
    return STATES.get(said.upper().replace("_", " ").replace("TIMED OUT", "TIMED-OUT"))


def note_state(submission: Submission, state: State, *, said_at: datetime) -> bool:
    """Keep what the platform says of a submission, unless it said something newer; say whether anything changed.

    One conditional update, and with it what the platform pays for that by itself. Pairs that somebody holds who is
    gone are given back.
    """
    older = Submission.objects.filter(pk=submission.pk, state_at__lt=said_at).exclude(state=state)
    with transaction.atomic():
        if not older.update(state=state, state_at=said_at):
            # The same state again is no change, but what is older than this one no longer counts.
            Submission.objects.filter(pk=submission.pk, state=state, state_at__lt=said_at).update(state_at=said_at)
            return False
        submission.state, submission.state_at = state, said_at
        book_reward_of(submission, now=said_at)
    if state in OVER:
        release(submission.study.project, submission.guest.rater)
    return True


def note_study_state(study: CrowdStudy, said: str, *, said_at: datetime) -> bool:
    """Keep what the platform says of a study, unless it said something newer."""
    older = CrowdStudy.objects.filter(pk=study.pk).filter(
        Q(platform_state_at__isnull=True) | Q(platform_state_at__lt=said_at)
    )
    return bool(older.update(platform_state=said[:32], platform_state_at=said_at))


def refresh(study: CrowdStudy) -> Refreshed:
    """Ask Prolific for every submission of a study and keep what is news. Raises `CrowdError`."""
    asked_at = timezone.now()
    client = ProlificClient.configured()
    note_study_state(study, client.read_study(study.external_id).state, said_at=asked_at)
    there = client.list_submissions(study.external_id)
    here = submissions_by_id(study, (one.id for one in there))
    changed = 0
    for one in there:
        state, submission = state_of(one.state), here.get(one.id)
        if submission is not None and state is not None:
            changed += note_state(submission, state, said_at=asked_at)
    return Refreshed(changed, sum(one.id not in here for one in there))


def submissions_by_id(study: CrowdStudy, external_ids: Iterable[str]) -> dict[str, Submission]:
    """Return a study's submissions by the platform's ids."""
    rows = Submission.objects.select_related("study__project", "guest__rater").filter(study=study)
    return {row.external_id: row for row in rows.filter(external_id__in=list(external_ids))}


def from_prolific(submission_id: str, participant_id: str) -> Submission | None:
    """Return a submission by Prolific's ids, which tell no study; None where it did not arrive here."""
    rows = Submission.objects.select_related("study__project", "guest__rater")
    rows = rows.filter(study__platform=Platform.PROLIFIC, external_id=submission_id)
    return rows.filter(guest__external_id=participant_id).first()
