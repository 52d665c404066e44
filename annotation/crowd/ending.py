"""The end of a visit: how it ended, the code for that, and the one way back to the platform."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from urllib.parse import quote

from annotation.assigning import Progress, Waiting, next_assignment, release
from annotation.crowd.errors import CrowdError
from annotation.crowd.generic import read_generic, return_url
from annotation.learning import Stage, stage_of
from annotation.models import Assignment, CompletionCode, Platform, Rater, Submission

PROLIFIC_COMPLETE = "https://app.prolific.com/submissions/complete?cc="
Kind = CompletionCode.Kind


class NotEnded(CrowdError):
    """There is something to answer yet."""


class Ending(NamedTuple):
    """How a visit ended. `code` and `url` are empty where the platform has none for it."""

    kind: CompletionCode.Kind
    code: str
    url: str
    answers: int


def answers_left(submission: Submission, rater: Rater) -> int:
    """Return how many answers this visit still asks for; one query, or none where `at_work` counted."""
    return max(0, submission.study.answers_wanted - answers_given(submission, rater))


def answers_given(submission: Submission, rater: Rater) -> int:
    """Return how many answers were given in this visit."""
    answered = rater.answered
    if answered is None:
        answered = Assignment.objects.answered().filter(rater=rater).count()
    return answered - submission.answered_before


def visit_progress(submission: Submission, rater: Rater, found: Progress) -> Progress:
    """Return a guest's progress in their visit; what it pays is the platform's to say."""
    given, left = answers_given(submission, rater), answers_left(submission, rater)
    return Progress(given, min(found.available, left), Decimal(0), more=False)


def end(submission: Submission, rater: Rater, *, now: datetime) -> Ending:
    """End a visit in the way it has come to an end, give back what is held, and return its code.

    Who is paused gets the code of failed attention checks, which waits for review. The same again returns the same.
    Raises `NotEnded` where there is work left for this person.
    """
    if not submission.ended_as:
        end_as(submission, _kind(submission, rater, now), now=now)
    return ending_of(submission, rater)


def end_as(submission: Submission, kind: str, *, now: datetime) -> bool:
    """End a visit in a stated way, such as after failed attention checks; say whether it had not ended before.

    One conditional update, so that two tabs get one code.
    """
    open_still = Submission.objects.filter(pk=submission.pk, ended_at=None)
    changed = bool(open_still.update(ended_at=now, ended_as=kind))
    submission.refresh_from_db(fields=["ended_at", "ended_as", "state", "state_at"])
    if changed:
        release(submission.study.project, submission.guest.rater)
        if submission.study.platform != Platform.PROLIFIC:
            # Nobody tells us of other platforms: what is over here waits for its manager.
            waiting = Submission.State.AWAITING_REVIEW
            Submission.objects.filter(pk=submission.pk, state=Submission.State.ACTIVE).update(state=waiting)
            submission.refresh_from_db(fields=["state"])
    return changed


def _kind(submission: Submission, rater: Rater, now: datetime) -> CompletionCode.Kind:
    study = submission.study
    stage = stage_of(study.project, rater)
    if stage is Stage.REFUSED:
        return Kind.SCREENED_OUT
    given = answers_given(submission, rater)
    if given >= study.answers_wanted:
        return Kind.COMPLETED
    if stage is Stage.WORK:
        found = next_assignment(study.project, rater, now=now)
        if found.waiting is Waiting.PERSON_PAUSED:
            return Kind.FAILED_ATTENTION_CHECK
        if found.waiting is not None:
            return Kind.COMPLETED if given else Kind.NOTHING_TO_DO
    raise NotEnded(f"{submission} has {study.answers_wanted - given} answers left to give, and there are pairs for it.")


def ending_of(submission: Submission, rater: Rater) -> Ending:
    """Return how a visit that ended did."""
    kind = CompletionCode.Kind(submission.ended_as)
    study = submission.study
    code = study.codes.filter(kind=kind).values_list("code", flat=True).first() or ""
    url = ""
    if code and study.platform == Platform.PROLIFIC:
        url = PROLIFIC_COMPLETE + quote(code, safe="")
    elif code and study.platform == Platform.GENERIC:
        asked, participant = read_generic(study.settings), submission.guest.external_id
        url = return_url(asked, code=code, participant_id=participant, captured=submission.captured)
    return Ending(kind, code, url, answers_given(submission, rater))
