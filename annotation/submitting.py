"""Answers come in: once, whatever is clicked or retried, and changed later without losing what was said before."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from annotation.answering import Answer, is_settled, storable_draft
from annotation.errors import AlreadyAnswered, AnswerInvalid, LeaseLost, TooLate
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
    TaskState,
    Tier,
)
from annotation.opening import Opening, open_tasks
from annotation.publishing import publish
from annotation.suggesting import note_change

# How many of their last answers a person may look at again and change.
CHANGEABLE = 10
# The fact that somebody answered a gold pair; `annotation.ruling` looks at them for it.
GOLD_ANSWERED = "gold_answered"


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
    answer takes a free slot again; where none is left it is kept as an extra, which is paid but not counted. `sent` is
    the form as sent, shown again where the person changes the answer. Raises `LeaseNotYours`, `LeaseLost` (after a
    skip) or `AnswerInvalid`. Locks the task, then the assignment; five queries for a plain choice.
    """
    draft = storable_draft(sent or {})
    try:
        with transaction.atomic():
            task, assignment = locked(assignment_id, rater)
            answer = _checked(answer, assignment)
            if assignment.state in ANSWERED:
                return _repeated(assignment, answer)
            if assignment.state == AssignmentState.SKIPPED:
                raise LeaseLost(_("You passed this pair on, so it takes no answer from you. Go on with the next one."))
            _refuse_other_kind(task, answer)
            if (gold_id := assignment.gold_id) is not None:
                _take_gold(task, assignment, answer, now, draft, gold_id)
            elif assignment.repeats_id is None:
                _take(task, assignment, answer, now, draft)
            else:
                _finish(assignment, keep(task, assignment, answer, is_extra=False), now, draft)
            return _answer_of(assignment)
    except (IntegrityError, _Elsewhere) as error:
        # By the other tier, or by an import; with an error of the database at this moment.
        _let_go(assignment_id, rater)
        raise AlreadyAnswered(_("You have answered this pair before, in another task. Go on to the next.")) from error


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
    assignment.save(update_fields=["slot", "place", "preference", "ranking", "state", "finished_at", "draft"])


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

    The time is added up. The same answer again changes nothing. Where a judge's answer had been suggested, the new
    answer says so. Raises `LeaseNotYours`, `TooLate` for an older one, `LeaseLost` where there is no answer yet, or
    `AnswerInvalid`.
    """
    draft = storable_draft(sent or {})
    with transaction.atomic():
        task, assignment = locked(assignment_id, rater)
        answer = _checked(answer, assignment)
        if assignment.state not in ANSWERED:
            raise LeaseLost(_("There is no answer of yours to change here. Go on with the next pair."))
        if not is_changeable(assignment):
            raise TooLate(
                _("This answer is not among your last %(number)d any more, so it stays as it is.")
                % {"number": CHANGEABLE}
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
        assignment.save(update_fields=["preference", "ranking", "draft"])
        if assignment.gold_id is not None:
            publish(GOLD_ANSWERED, {"rater_id": str(assignment.rater_id)})
        elif assignment.repeats_id is None:
            _look_again(task)
            for pair_id in kept.pair_ids:
                publish("preference_submitted", {"pair_id": str(pair_id)})
        return kept.answer


def is_changeable(assignment: Assignment) -> bool:
    """Say whether an answered assignment is among its person's last ten. One query."""
    later = Assignment.objects.filter(
        rater_id=assignment.rater_id, state__in=ANSWERED, finished_at__gt=assignment.finished_at
    )
    return later.count() < CHANGEABLE


def _added(before: float | None, more: float | None) -> float | None:
    return more if before is None else before + (more or 0.0)


# --- Counting -------------------------------------------------------------------------------------------------------


def count_answer(task: Task) -> None:
    """Count an answer that was just stored; with the last one wanted the task is done, or grows where people differ.

    Caller holds the task's row, so that of two last answers the later one sees both.
    """
    counted = {"answered": F("answered") + 1}
    rows = Task.objects.filter(pk=task.pk)
    if task.state != TaskState.OPEN or task.answered + 1 < task.votes_wanted:
        rows.update(**counted)
    elif not _may_grow(task) or is_settled(_choices_of(task)):
        rows.update(**counted, state=TaskState.DONE)
    elif task.expert_on_split:
        rows.update(**counted, state=TaskState.DONE)
        _ask_expert(task)
    else:
        rows.update(**counted, votes_wanted=F("votes_wanted") + 1)


def _look_again(task: Task) -> None:
    """After a changed answer: a task that ended agreed and is not any more grows now. Caller holds its row."""
    if task.state != TaskState.DONE or not _may_grow(task) or is_settled(_choices_of(task)):
        return
    if task.expert_on_split:
        _ask_expert(task)
    else:
        Task.objects.filter(pk=task.pk).update(votes_wanted=F("votes_wanted") + 1, state=TaskState.OPEN)


def _ask_expert(task: Task) -> None:
    open_tasks(task.project, [Opening(task.pair_id, task.priority)], votes_wanted=1, tier=Tier.EXPERT)


def _may_grow(task: Task) -> bool:
    # Orders of a slate have no one answer to agree on: they get the votes that were asked for.
    return task.slate_id is None and task.most_votes is not None and task.votes_wanted < task.most_votes


def _choices_of(task: Task) -> list[str]:
    counted = Assignment.objects.filter(
        task=task, state=AssignmentState.SUBMITTED, repeats__isnull=True, gold__isnull=True
    )
    return list(counted.values_list("preference__choice", flat=True))
