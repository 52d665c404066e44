"""Answers come in: once, whatever is clicked or retried, and changed later without losing what was said before."""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from annotation.answering import Answer, storable_draft
from annotation.errors import AlreadyAnswered, AnswerInvalid, BudgetSpent, LeaseLost, PersonPaused, TooLate
from annotation.keeping import Kept, keep, kept_answer
from annotation.leasing import ANSWERED, give_back, locked, take_slot
from annotation.models import (
    Assignment,
    AssignmentState,
    Gold,
    Preference,
    Ranking,
    Rater,
    Task,
    Tier,
)
from annotation.money.booking import book_answer, book_change
from annotation.preparing import PreparedSave
from annotation.pricing import earned_usd, more_usd, pay_for
from annotation.promising import PurseEmpty, affordable, give_change, promise, promise_more
from annotation.publishing import publish
from annotation.retrying import in_transaction
from annotation.suggesting import note_change
from annotation.voting import count_answer, look_again

# How many of their last answers a person may look at again and change.
CHANGEABLE = 10
# The fact that somebody answered a gold pair; `annotation.ruling` looks at them for it.
GOLD_ANSWERED = "gold_answered"
# What changes of an assignment when its answer comes in.
_FINISHED = PreparedSave(
    Assignment, ("slot", "place", "preference", "ranking", "state", "promised_usd", "finished_at", "draft")
)

# What reads an answer once its assignment is known: the order shown decides what a side means.
Reader = Callable[[Assignment], Answer]


class _Elsewhere(Exception):
    """Their answer to the pair is there already, by another way."""


def submit(
    assignment_id: UUID,
    rater: Rater,
    answer: Answer | Reader,
    *,
    now: datetime,
    sent: Mapping[str, Any] | None = None,
) -> Preference | Ranking:
    """Store a person's answer, once, whatever is clicked or retried.

    The same answer again returns the stored one; another one raises `AlreadyAnswered`. After the lease ran out the
    answer takes a free slot again; where none is left it is kept as an extra, which is paid but not counted. What is
    stored is paid, and booked with it: a late answer that the budget has no money for raises `BudgetSpent`, one of
    somebody who was paused `PersonPaused`, and neither is stored. `sent` is the form as sent, shown again where the
    person changes the answer. Raises `LeaseNotYours`, `LeaseLost` (after a skip) or `AnswerInvalid`. Locks the task,
    then the assignment; six queries for a plain choice.
    """
    draft = storable_draft(sent or {})
    answered, earned = rater.answered, rater.earned_usd

    def store() -> Preference | Ranking:
        # What an earlier try counted was not stored.
        rater.answered, rater.earned_usd = answered, earned
        return _store(assignment_id, rater, answer, now=now, draft=draft)

    while True:
        try:
            return in_transaction(store)
        except PurseEmpty as empty:
            if not affordable(rater.project, empty):
                raise BudgetSpent(
                    _(
                        "Your time for this pair ran out, and this project has no money left for one more answer, so "
                        "yours was not stored. Go on with the next one."
                    )
                ) from empty
        except (IntegrityError, _Elsewhere) as error:
            # By the other tier, or by an import; with an error of the database at this moment.
            _let_go(assignment_id, rater)
            raise AlreadyAnswered(
                _("You have answered this pair before, in another task. Go on to the next.")
            ) from error


def _store(
    assignment_id: UUID, rater: Rater, given: Answer | Reader, *, now: datetime, draft: dict[str, Any]
) -> Preference | Ranking:
    """Store an answer, or return the one there is. Caller holds a transaction."""
    task, assignment = locked(assignment_id, rater)
    answer = _checked(given, assignment)
    if assignment.state in ANSWERED:
        return _repeated(assignment, answer)
    if assignment.state == AssignmentState.SKIPPED:
        raise LeaseLost(_("You passed this pair on, so it takes no answer from you. Go on with the next one."))
    _refuse_paused(assignment)
    _refuse_other_kind(task, answer)
    is_late = assignment.state == AssignmentState.EXPIRED
    if is_late:
        # Its promise was given back with the lease.
        assignment.promised_usd = pay_for(rater.project, rater, Tier(task.tier), at=assignment.leased_at)
    promised = assignment.promised_usd
    if (gold_id := assignment.gold_id) is not None:
        _take_gold(task, assignment, answer, now, draft, gold_id)
    elif assignment.repeats_id is None:
        _take(task, assignment, answer, now, draft)
    else:
        _finish(assignment, keep(task, assignment, answer, is_extra=False), now, draft)
    # Last, since purses are locked after tasks. By the minute, less may be earned than was promised.
    if is_late:
        promise(rater.project, rater, [assignment])
    else:
        give_change(rater.project, promised - assignment.promised_usd)
    return _answer_of(assignment)


def _refuse_paused(assignment: Assignment) -> None:
    if assignment.is_paused:  # type: ignore[attr-defined]  # set by `locked`
        raise PersonPaused(
            _("You are paused in this project, so it takes no answers from you now. Open the project to see why.")
        )


def _checked(answer: Answer | Reader, assignment: Assignment) -> Answer:
    read = answer if isinstance(answer, Answer) else answer(assignment)
    return read.checked(rationale_required=assignment.rater.project.rationale_required)


def _take(task: Task, assignment: Assignment, answer: Answer, now: datetime, draft: dict[str, Any]) -> None:
    if assignment.answered_before:  # type: ignore[attr-defined]  # set by `locked`
        raise _Elsewhere
    if assignment.slot is None:
        assignment.slot = take_slot(task)
    counts = assignment.slot is not None
    # An adjudicator's look is no vote; what they decide after it becomes the label (routing.labels.adjudicating).
    kept = keep(task, assignment, answer, is_extra=not counts or task.tier == Tier.FINAL)
    _finish(assignment, kept, now, draft, state=AssignmentState.SUBMITTED if counts else AssignmentState.EXTRA)
    if counts:
        count_answer(task)
    for pair_id in kept.pair_ids:
        publish("preference_submitted", {"pair_id": str(pair_id)})


def _take_gold(
    task: Task, assignment: Assignment, answer: Answer, now: datetime, draft: dict[str, Any], gold_id: UUID
) -> None:
    """Store an answer to a gold pair beside the slots; as many statements as any other answer takes."""
    if assignment.answered_before:  # type: ignore[attr-defined]  # set by `locked`
        raise _Elsewhere
    _finish(assignment, keep(task, assignment, answer, is_extra=True), now, draft)
    Gold.objects.filter(pk=gold_id).update(answers=F("answers") + 1)
    publish(GOLD_ANSWERED, {"rater_id": str(assignment.rater_id)})


def _finish(
    assignment: Assignment,
    kept: Kept,
    now: datetime,
    draft: dict[str, Any],
    *,
    state: AssignmentState = AssignmentState.SUBMITTED,
) -> None:
    _point_to(assignment, kept)
    if assignment.rater.answered is not None:
        assignment.rater.answered += 1
    assignment.state = state
    assignment.place = None
    assignment.finished_at = now
    assignment.draft = draft
    assignment.promised_usd = earned_usd(assignment, kept.answer.seconds, now=now)
    _FINISHED.save(assignment)
    book_answer(assignment, now=now)


def _point_to(assignment: Assignment, kept: Kept) -> None:
    if isinstance(kept.answer, Ranking):
        assignment.ranking = kept.answer
    else:
        assignment.preference = kept.answer


def _answer_of(assignment: Assignment) -> Preference | Ranking:
    answer = assignment.ranking or assignment.preference
    assert answer is not None  # noqa: S101  (the database says so of every answered assignment)
    return answer


def _repeated(assignment: Assignment, answer: Answer) -> Preference | Ranking:
    if _says_the_same(assignment, answer):
        return _answer_of(assignment)
    raise AlreadyAnswered(
        _("Your answer to this pair is already stored. To change it, open it from your last answers.")
    )


def _says_the_same(assignment: Assignment, answer: Answer) -> bool:
    stored, new = kept_answer(assignment).said(), answer.said()
    if assignment.repeats_id is not None:
        stored, new = stored._replace(ratings=()), new._replace(ratings=())
    return stored == new._replace(by_criterion=tuple(sorted(new.by_criterion)), ratings=tuple(sorted(new.ratings)))


def _refuse_other_kind(task: Task, answer: Answer) -> None:
    if (task.slate_id is not None) != answer.is_order:
        raise AnswerInvalid(
            _("This task was opened with other questions than these. Reload the page to see the ones it asks.")
        )


def _let_go(assignment_id: UUID, rater: Rater) -> None:
    """Give back the slot of a pair that its person has answered by another way: they would be led to it for ever."""
    with transaction.atomic():
        task, assignment = locked(assignment_id, rater)
        answered = assignment.answered_before  # type: ignore[attr-defined]  # set by `locked`
        if answered and assignment.repeats_id is None and assignment.state == AssignmentState.LEASED:
            give_back(task, assignment, AssignmentState.EXPIRED)


# --- Changing an answer ---------------------------------------------------------------------------------------------


def revise(
    assignment_id: UUID,
    rater: Rater,
    answer: Answer | Reader,
    *,
    now: datetime,
    sent: Mapping[str, Any] | None = None,
) -> Preference | Ranking:
    """Put another answer in the place of one of a person's last ten; the earlier one stays as a row that is replaced.

    The time is added up, and by the minute paid as far as the budget goes. The same answer again changes nothing. Where
    a judge's answer had been suggested, the new answer says so. Raises `LeaseNotYours`, `TooLate` for an older one,
    `LeaseLost` where there is no answer yet, `PersonPaused` or `AnswerInvalid`.
    """
    draft = storable_draft(sent or {})
    earned, pays_more = rater.earned_usd, True
    while True:
        try:
            with transaction.atomic():
                return _revise(assignment_id, rater, answer, now=now, draft=draft, pays_more=pays_more)
        except PurseEmpty as empty:
            # What was changed is stored in any case.
            rater.earned_usd = earned
            pays_more = affordable(rater.project, empty) > 0


def _revise(
    assignment_id: UUID,
    rater: Rater,
    given: Answer | Reader,
    *,
    now: datetime,
    draft: dict[str, Any],
    pays_more: bool,
) -> Preference | Ranking:
    """Store a changed answer, and what its time earns beyond the first. Caller holds a transaction."""
    task, assignment = locked(assignment_id, rater)
    answer = _checked(given, assignment)
    _refuse_paused(assignment)
    if assignment.state not in ANSWERED:
        raise LeaseLost(_("There is no answer of yours to change here. Go on with the next pair."))
    if not is_changeable(assignment):
        raise TooLate(
            _("This answer is not among your last %(number)d any more, so it stays as it is.") % {"number": CHANGEABLE}
        )
    _refuse_other_kind(task, answer)
    same = _says_the_same(assignment, answer)
    meta = note_change(assignment, changed=not same, now=now)
    if same:
        return _answer_of(assignment)
    before = _answer_of(assignment)
    longer = answer._replace(
        seconds=_added(before.seconds, answer.seconds),
        reading_seconds=_added(before.reading_seconds, answer.reading_seconds),
        deciding_seconds=_added(before.deciding_seconds, answer.deciding_seconds),
    )
    kept = keep(task, assignment, longer, is_extra=before.is_extra, replaces=before)
    if meta and isinstance(kept.answer, Preference):
        kept.answer.meta = {**kept.answer.meta, **meta}
        kept.answer.save(update_fields=["meta"])
    _point_to(assignment, kept)
    assignment.draft = draft
    more = more_usd(assignment, kept.answer.seconds, now=now) if pays_more else Decimal(0)
    assignment.promised_usd += more
    assignment.save(update_fields=["preference", "ranking", "draft", "promised_usd"])
    if assignment.gold_id is not None:
        publish(GOLD_ANSWERED, {"rater_id": str(assignment.rater_id)})
    elif assignment.repeats_id is None:
        look_again(task)
        for pair_id in kept.pair_ids:
            publish("preference_submitted", {"pair_id": str(pair_id)})
    if more:
        book_change(assignment, more, now=now)
        promise_more(rater.project, rater, more)
    return kept.answer


def is_changeable(assignment: Assignment) -> bool:
    """Say whether an answered assignment is among its person's last ten. One query."""
    later = Assignment.objects.filter(
        rater_id=assignment.rater_id, state__in=ANSWERED, finished_at__gt=assignment.finished_at
    )
    return later.count() < CHANGEABLE


def _added(before: float | None, more: float | None) -> float | None:
    return more if before is None else before + (more or 0.0)
