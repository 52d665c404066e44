"""A manager's word on submissions: approved, rejected, screened out, by the platform's rules.

On Prolific the platform is told first, outside of any transaction; what it then says is kept as its state. Elsewhere
the word is only noted here, and the manager gives it on the platform's own page.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from django.utils import timezone

from annotation.crowd.errors import CrowdError, OutcomeUnclear
from annotation.crowd.prolific.client import ProlificClient
from annotation.crowd.states import note_state
from annotation.models import CompletionCode, CrowdStudy, Platform, Submission

# Prolific's own (docs.prolific.com, transition-submission).
LEAST_MESSAGE = 100
CATEGORIES: dict[str, str] = {
    "TOO_QUICKLY": "Answered too quickly to have read",
    "TOO_SLOWLY": "Took far longer than stated",
    "FAILED_INSTRUCTIONS": "Did not follow the instructions",
    "INCOMP_LONGITUDINAL": "Left a study of several parts",
    "FAILED_CHECK": "Failed attention checks",
    "LOW_EFFORT": "Answered with little effort",
    "MALINGERING": "Answered falsely on purpose",
    "NO_CODE": "Handed in no code",
    "BAD_CODE": "Handed in a wrong code",
    "NO_DATA": "Left no answers here",
    "UNSUPP_DEVICE": "Used a device that was ruled out",
    "OTHER": "Another reason",
}
# A study that takes longer than this needs two failed attention checks for a rejection, a shorter one.
SHORT_MINUTES = 5
State = Submission.State


class Rejection(NamedTuple):
    """Why submissions are rejected. `failed_checks` counts the attention checks that each of them failed."""

    category: str
    message: str
    failed_checks: int = 0


def approve(study: CrowdStudy, submissions: Sequence[Submission]) -> int:
    """Approve submissions that wait for review: their people are paid. Returns how many; raises `CrowdError`."""
    chosen = _checked(study, submissions, (State.AWAITING_REVIEW,), "approved")
    if study.platform == Platform.PROLIFIC:
        ProlificClient.configured().bulk_approve(study.external_id, [one.external_id for one in chosen])
    return _note(chosen, State.APPROVED)


def reject(study: CrowdStudy, submissions: Sequence[Submission], rejection: Rejection) -> int:
    """Reject submissions that wait for review: their people are not paid, and it counts against them there.

    To leave a person's answers out of the data is another thing, and needs no rejection. Raises `CrowdError`; what was
    rejected before one that failed stays so.
    """
    chosen = _checked(study, submissions, (State.AWAITING_REVIEW,), "rejected")
    message = _checked_rejection(study, chosen, rejection)
    client = ProlificClient.configured() if study.platform == Platform.PROLIFIC else None

    def tell(one: Submission) -> None:
        if client is not None:
            client.transition(one.external_id, "REJECT", message=message, rejection_category=rejection.category)

    return _each(chosen, tell, State.REJECTED)


def screen_out(study: CrowdStudy, submissions: Sequence[Submission], *, add_places: bool) -> int:
    """Let people go who are at it and do not fit, for the study's screen-out reward. Raises `CrowdError`."""
    if study.platform == Platform.PROLIFIC and not study.settings.get("screen_out_reward"):
        raise CrowdError(
            f"{study.name} has no reward for a screen-out, so Prolific takes none. Ask people to return it."
        )
    chosen = _checked(study, submissions, (State.ACTIVE, State.RESERVED), "screened out")
    if study.platform == Platform.PROLIFIC:
        ids = [one.external_id for one in chosen]
        ProlificClient.configured().screen_out(study.external_id, ids, add_places=add_places)
    return _note(chosen, State.SCREENED_OUT)


def _checked(
    study: CrowdStudy, submissions: Sequence[Submission], states: Sequence[State], done: str
) -> list[Submission]:
    """Return the submissions, or refuse them whole where one is of another study or in another state."""
    if not submissions:
        raise CrowdError("Choose at least one submission.")
    if any(one.study_id != study.pk for one in submissions):
        raise CrowdError("Some of these submissions are of another study.")
    allowed = " or ".join(state.label.lower() for state in states)
    for one in submissions:
        if one.state not in states:
            raise CrowdError(
                f"{one.guest} is {one.get_state_display().lower()}; only what is {allowed} can be {done}. "
                "Nothing was done."
            )
    return list(submissions)


def _checked_rejection(study: CrowdStudy, chosen: Sequence[Submission], rejection: Rejection) -> str:
    message = rejection.message.strip()
    if rejection.category not in CATEGORIES:
        raise CrowdError(f"Choose a category: {', '.join(CATEGORIES)}.")
    if len(message) < LEAST_MESSAGE:
        raise CrowdError(
            f"The message has {len(message)} characters and needs at least {LEAST_MESSAGE}: it tells a person why they "
            "are not paid."
        )
    if rejection.category == "FAILED_CHECK":
        needed = 1 if study.settings.get("minutes", 0) <= SHORT_MINUTES else 2
        if rejection.failed_checks < needed:
            raise CrowdError(
                f"A study of this length rejects for attention checks after {needed} failed; {rejection.failed_checks} "
                "is too few. Leave the answers out of the data instead."
            )
    if any(one.ended_as == CompletionCode.Kind.SCREENED_OUT for one in chosen):
        raise CrowdError(
            "Who did not pass the questions before the first pair is screened out or asked to return, never rejected. "
            "Nothing was done."
        )
    return message


def _note(chosen: Sequence[Submission], state: State) -> int:
    now = timezone.now()
    return sum(note_state(one, state, said_at=now) for one in chosen)


def _each(chosen: Sequence[Submission], tell: Callable[[Submission], None], state: State) -> int:
    """Tell the platform of one after the other and keep each at once; say how far it came where one fails."""
    done = 0
    for one in chosen:
        try:
            tell(one)
        except CrowdError as error:
            kind = OutcomeUnclear if isinstance(error, OutcomeUnclear) else CrowdError
            raise kind(f"{done} of {len(chosen)} were done, then {one.guest} was not: {error}") from error
        done += _note([one], state)
    return done
