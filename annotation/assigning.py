"""Who answers which pair: leases on slots, taken and given back so that no pair gets more answers than wanted.

A task has `votes_wanted` slots. Every change of a slot happens in one short transaction that holds the task's row, so
`taken` is always the number of slots held or answered; the database checks `taken <= votes_wanted` on top. A task whose
answers differ gets one slot more, up to its `most_votes`, in the transaction of the answer that shows it. Rows are
locked in one order, rater, task, assignment, which leaves no room for a deadlock. SQLite has no row locks: there each
transaction begins IMMEDIATE, so that writers wait in line, and Django leaves `FOR UPDATE` out.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from annotation.answering import NOTE_LIMIT, Answer, storable, storable_draft, stored_choice
from annotation.errors import (
    AlreadyAnswered,
    AnswerInvalid,
    LeaseLost,
    LeaseNotYours,
    NotAMember,
)
from annotation.models import (
    Assignment,
    AssignmentState,
    Choice,
    Membership,
    Pair,
    Preference,
    Project,
    Rater,
    RaterKind,
    Role,
    ShownOrder,
    SkipReason,
    Task,
    TaskState,
    Tier,
    User,
)
from annotation.opening import Opening, close_untouched, open_tasks
from annotation.publishing import publish

__all__ = [
    "Answer",
    "Next",
    "Opening",
    "Progress",
    "Waiting",
    "close_untouched",
    "expire_leases",
    "is_settled",
    "next_assignment",
    "open_tasks",
    "progress_of",
    "rater_for",
    "renew",
    "save_draft",
    "skip",
    "stored_choice",
    "submit",
]

ANSWERED = (AssignmentState.SUBMITTED, AssignmentState.EXTRA)
# Two people who agree settle a pair; one alone never does.
AGREEING = 2


class Waiting(StrEnum):
    """Why there is no pair for a person now."""

    NONE_FREE = "none_free"  # what is left is in other people's hands and may come back
    ALL_DONE = "all_done"
    PAUSED = "paused"


class Next(NamedTuple):
    """A lease (with `task.pair` loaded), or why there is none."""

    assignment: Assignment | None
    waiting: Waiting | None


class Progress(NamedTuple):
    """A person's answers in a project, the pairs they could answer now (the held one included) and what they earned."""

    done: int
    available: int
    earned_usd: Decimal


# --- People ---------------------------------------------------------------------------------------------------------


def rater_for(project: Project, user: User) -> Rater:
    """Return the rater that stands for a user in a project, made on first use. Raises `NotAMember`."""
    if not Membership.objects.filter(project=project, user=user).exists():
        raise NotAMember(f"{user} is not a member of {project}. Its manager can add people on the project's page.")
    for number in count(1):
        rater = Rater.objects.filter(project=project, user=user).first()
        if rater is not None:
            return rater
        # A recorded rater may bear the same name; it is somebody else until a manager says otherwise.
        name = user.get_username() if number == 1 else f"{user.get_username()} ({number})"
        try:
            with transaction.atomic():
                return Rater.objects.create(project=project, user=user, kind=RaterKind.PERSON, name=name)
        except IntegrityError:
            continue  # the name is taken, or another request has just made this rater: look again
    raise AssertionError("count() does not end")


def _tiers_of(project: Project, rater: Rater) -> tuple[Tier, ...]:
    """Return the tiers a person works in, the one to serve first first. A rater without a user is of the crowd."""
    if rater.project_id != project.pk or rater.kind != RaterKind.PERSON:
        raise NotAMember(f"{rater} is not one of the people of {project}.")
    if rater.user_id is None:
        return (Tier.CROWD,)
    role = Membership.objects.filter(project=project, user_id=rater.user_id).values_list("role", flat=True).first()
    if role is None:
        raise NotAMember(f"{rater} is no longer a member of {project}. Its manager can add people again.")
    return (Tier.EXPERT, Tier.CROWD) if role == Role.EXPERT else (Tier.CROWD,)


# --- Serving --------------------------------------------------------------------------------------------------------


def next_assignment(project: Project, rater: Rater, *, now: datetime) -> Next:
    """Return the pair a person works on: the one they hold, or else a new lease on the best free one.

    Nobody gets a pair they answered or passed on. A lease of theirs that ran out may come again. One transaction of
    about eight queries; raises `NotAMember`.
    """
    tiers = _tiers_of(project, rater)
    found = _next_once(project, rater, tiers, now)
    if found.waiting is Waiting.NONE_FREE and expire_leases(now=now, project=project):
        # What others held had run out, and the reaper had not come by yet.
        found = _next_once(project, rater, tiers, now)
    return found


def _next_once(project: Project, rater: Rater, tiers: tuple[Tier, ...], now: datetime) -> Next:
    with transaction.atomic():
        # Two tabs of one person wait here for each other, so that nobody holds two pairs.
        Rater.objects.select_for_update(no_key=True).values_list("pk").get(pk=rater.pk)
        held = _held(project, rater).select_related("task__pair").first()
        if held is not None and held.lease_until > now:
            return Next(held, None)
        if project.status == Project.Status.PAUSED:
            return Next(None, Waiting.PAUSED)
        if held is not None and _hold_on(held, rater, now):
            return Next(held, None)
        if taken := _take_best(project, rater, tiers, now):
            return Next(taken, None)
        left = any(_open_to(project, rater, tier).exists() for tier in tiers)
        return Next(None, Waiting.NONE_FREE if left else Waiting.ALL_DONE)


def _held(project: Project, rater: Rater) -> "QuerySet[Assignment]":
    held = Assignment.objects.filter(rater=rater, state=AssignmentState.LEASED, task__project=project)
    return held.order_by("leased_at")


def _hold_on(lapsed: Assignment, rater: Rater, now: datetime) -> bool:
    """Lengthen a person's own lease that ran out; say no if the reaper was faster."""
    _, assignment = _locked(lapsed.pk, rater.pk)
    if assignment.state != AssignmentState.LEASED:
        return False
    lapsed.lease_until = _lease_end(rater.project, now)
    lapsed.save(update_fields=["lease_until"])
    return True


def _open_to(project: Project, rater: Rater, tier: Tier) -> "QuerySet[Task]":
    """Return the open tasks of a tier but for pairs this person answered, passed on, or has in the other tier.

    Each condition is one look-up in a unique index, so that a person with thousands of answers waits no longer.
    """
    other_tier = Tier.CROWD if tier == Tier.EXPERT else Tier.EXPERT
    mine = Assignment.objects.filter(rater=rater)
    seen = mine.filter(task=OuterRef("pk")).exclude(state=AssignmentState.EXPIRED)
    seen_elsewhere = mine.filter(task__pair_id=OuterRef("pair_id"), task__tier=other_tier)
    answered = Preference.objects.current().filter(rater=rater, pair_id=OuterRef("pair_id"), criterion__isnull=True)
    tasks = Task.objects.filter(project=project, tier=tier, state=TaskState.OPEN)
    return tasks.filter(~Exists(seen), ~Exists(seen_elsewhere), ~Exists(answered))


def _free_for(project: Project, rater: Rater, tier: Tier) -> "QuerySet[Task]":
    """Return the tasks with a free slot for a person, best first; the index `task_queue` serves it without a sort."""
    free = _open_to(project, rater, tier).filter(taken__lt=F("votes_wanted"))
    return free.order_by(F("priority").desc(), "id")


def _take_best(project: Project, rater: Rater, tiers: tuple[Tier, ...], now: datetime) -> Assignment | None:
    """Lease a slot of the best free task. Caller holds a transaction and the rater's row."""
    # Others' rows are passed over; when only such rows are left we wait for them, since they may still have a slot.
    rounds = (True, False) if connection.features.has_select_for_update_skip_locked else (False,)
    for skip_locked in rounds:
        for tier in tiers:
            free = _free_for(project, rater, tier).select_related("pair")
            task = free.select_for_update(of=("self",), no_key=True, skip_locked=skip_locked).first()
            if task is not None and (slot := _take_slot(task)) is not None:
                return _lease(project, task, rater, slot, now)
    return None


def _take_slot(task: Task) -> int | None:
    """Count one more slot as taken and return the lowest free one, or None. Caller holds the task's row."""
    free = Task.objects.filter(pk=task.pk, state=TaskState.OPEN, taken__lt=F("votes_wanted"))
    if not free.update(taken=F("taken") + 1):
        return None
    used = set(task.assignments.filter(slot__isnull=False).values_list("slot", flat=True))
    return next(slot for slot in count() if slot not in used)


def _lease(project: Project, task: Task, rater: Rater, slot: int, now: datetime) -> Assignment:
    """Give the slot to a person; their own lease that ran out keeps its row, its draft and the order shown."""
    assignment = Assignment.objects.filter(task=task, rater=rater).first()
    if assignment is None:
        assignment = Assignment(task=task, rater=rater, shown_order=drawn_order(project, task.pair, rater))
    assignment.state = AssignmentState.LEASED
    assignment.slot = slot
    assignment.leased_at = now
    assignment.lease_until = _lease_end(project, now)
    assignment.save()
    assignment.task = task
    return assignment


def _lease_end(project: Project, now: datetime) -> datetime:
    return now + timedelta(seconds=project.lease_seconds)


def drawn_order(project: Project, pair: Pair, rater: Rater) -> ShownOrder:
    """Draw which response stands first: a fair coin that the project's seed, the pair and the person decide.

    Names rather than ids go in, so that importing the same file with the same seed shows the same sides again.
    """
    coin = hashlib.sha256(f"{project.seed}\n{pair.external_id}\n{rater.name}".encode()).digest()[0]
    return ShownOrder.AB if coin % 2 == 0 else ShownOrder.BA


# --- Answering ------------------------------------------------------------------------------------------------------


def submit(assignment_id: UUID, rater: Rater, answer: Answer, *, now: datetime) -> Preference:
    """Store a person's answer, once, whatever is clicked or retried.

    The same answer again returns the stored one; another one raises `AlreadyAnswered`. After the lease ran out the
    answer takes a free slot again; where none is left it is kept as an extra, which is paid but not counted. Raises
    `LeaseNotYours`, `LeaseLost` (after a skip) or `AnswerInvalid`. Locks the task, then the assignment.
    """
    answer = answer.checked(rationale_required=rater.project.rationale_required)
    with transaction.atomic():
        task, assignment = _locked(assignment_id, rater.pk)
        if assignment.preference is not None:
            return _repeated(assignment.preference, answer)
        if assignment.state == AssignmentState.SKIPPED:
            raise LeaseLost("You passed this pair on, so it takes no answer from you. Go on with the next one.")
        _refuse_second_answer(task, rater)
        if assignment.slot is None:
            assignment.slot = _take_slot(task)
        counts = assignment.slot is not None
        assignment.preference = _stored(task, assignment, answer, is_extra=not counts)
        assignment.state = AssignmentState.SUBMITTED if counts else AssignmentState.EXTRA
        assignment.finished_at = now
        assignment.draft = {}
        assignment.save(update_fields=["slot", "preference", "state", "finished_at", "draft"])
        if counts:
            _count_answer(task)
        publish("preference_submitted", {"pair_id": str(task.pair_id)})
        return assignment.preference


def _locked(assignment_id: UUID, rater_id: UUID) -> tuple[Task, Assignment]:
    """Lock and return a person's assignment and its task. Caller holds a transaction."""
    task_id = Assignment.objects.filter(pk=assignment_id, rater_id=rater_id).values_list("task_id", flat=True).first()
    if task_id is None:
        raise LeaseNotYours("This pair is not held for you. Open the project again to get one.")
    task = Task.objects.select_for_update(no_key=True).get(pk=task_id)
    assignment = Assignment.objects.select_for_update(no_key=True).get(pk=assignment_id)
    assignment.task = task
    return task, assignment


def _repeated(stored: Preference, answer: Answer) -> Preference:
    if answer.says_the_same_as(stored):
        return stored
    raise AlreadyAnswered(
        "Your answer to this pair is already stored, and it cannot be changed yet. Go on to the next."
    )


def _refuse_second_answer(task: Task, rater: Rater) -> None:
    # Given in the other tier, or brought by an import.
    earlier = Preference.objects.current().filter(pair_id=task.pair_id, rater=rater, criterion__isnull=True)
    if earlier.exists():
        raise AlreadyAnswered("You have answered this pair before, in another task. Go on to the next.")


def _stored(task: Task, assignment: Assignment, answer: Answer, *, is_extra: bool) -> Preference:
    return Preference.objects.create(
        pair_id=task.pair_id,
        rater_id=assignment.rater_id,
        choice=answer.choice,
        strength=answer.strength,
        rationale=answer.rationale,
        seconds=answer.seconds,
        shown_order=assignment.shown_order,
        is_extra=is_extra,
    )


def is_settled(choices: Collection[str]) -> bool:
    """Say whether answers agree enough for a task to want no more: more than half of those that decide, two at least.

    "Cannot judge" decides nothing.
    """
    deciding = Counter(choice for choice in choices if choice != Choice.UNSURE)
    most = max(deciding.values(), default=0)
    return most >= AGREEING and 2 * most > deciding.total()


def _count_answer(task: Task) -> None:
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
        open_tasks(task.project, [Opening(task.pair_id, task.priority)], votes_wanted=1, tier=Tier.EXPERT)
    else:
        rows.update(**counted, votes_wanted=F("votes_wanted") + 1)


def _may_grow(task: Task) -> bool:
    return task.most_votes is not None and task.votes_wanted < task.most_votes


def _choices_of(task: Task) -> list[str]:
    counted = Assignment.objects.filter(task=task, state=AssignmentState.SUBMITTED)
    return list(counted.values_list("preference__choice", flat=True))


# --- Holding and giving back ----------------------------------------------------------------------------------------


def skip(assignment_id: UUID, rater: Rater, *, reason: str, note: str = "", now: datetime) -> Assignment:
    """Pass a pair on: its slot is free at once, and this person never gets it again. Skipping twice changes nothing.

    Raises `LeaseNotYours`, `AlreadyAnswered` or `AnswerInvalid`.
    """
    if reason not in SkipReason.values:
        raise AnswerInvalid(f"The reason {reason!r} is not known. It is one of: {', '.join(SkipReason.values)}.")
    note = storable(note, field="note", limit=NOTE_LIMIT).strip()
    with transaction.atomic():
        task, assignment = _locked(assignment_id, rater.pk)
        if assignment.state in ANSWERED:
            raise AlreadyAnswered("Your answer to this pair is already stored, so it cannot be passed on.")
        if assignment.state != AssignmentState.SKIPPED:
            assignment.skip_reason = reason
            assignment.note = note
            assignment.finished_at = now
            _give_back(task, assignment, AssignmentState.SKIPPED)
    return assignment


def _give_back(task: Task, assignment: Assignment, state: AssignmentState) -> None:
    """Leave an assignment without a slot. Caller holds both rows."""
    if assignment.slot is not None:
        Task.objects.filter(pk=task.pk).update(taken=F("taken") - 1)
    assignment.slot = None
    assignment.state = state
    assignment.save()


def renew(assignment_id: UUID, rater: Rater, *, now: datetime) -> Assignment:
    """Hold a pair for another `lease_seconds` from now. Raises `LeaseNotYours`, `LeaseLost` or `AlreadyAnswered`."""
    with transaction.atomic():
        _, assignment = _locked(assignment_id, rater.pk)
        _refuse_unless_workable(assignment)
        if assignment.state == AssignmentState.EXPIRED:
            raise LeaseLost("Your time for this pair ran out. You can still send your answer, or go on to the next.")
        assignment.lease_until = _lease_end(rater.project, now)
        assignment.save(update_fields=["lease_until"])
    return assignment


def save_draft(assignment_id: UUID, rater: Rater, draft: Mapping[str, Any], *, now: datetime) -> Assignment:
    """Keep what a person has written so far, with the time as `saved_at`; the lease stays as it is.

    A draft is kept after the time ran out too, since the pair may come again. Raises `LeaseNotYours`,
    `LeaseLost` (after a skip), `AlreadyAnswered` or `AnswerInvalid`.
    """
    draft = storable_draft(draft)
    with transaction.atomic():
        _, assignment = _locked(assignment_id, rater.pk)
        _refuse_unless_workable(assignment)
        assignment.draft = {**draft, "saved_at": now.isoformat()}
        assignment.save(update_fields=["draft"])
    return assignment


def _refuse_unless_workable(assignment: Assignment) -> None:
    if assignment.state in ANSWERED:
        raise AlreadyAnswered("Your answer to this pair is already stored. Go on to the next.")
    if assignment.state == AssignmentState.SKIPPED:
        raise LeaseLost("You passed this pair on. Go on with the next one.")


def expire_leases(*, now: datetime, project: Project | None = None) -> int:
    """Give back the slots of leases that ran out before `now`; return how many. A transaction a lease."""
    lapsed = Assignment.objects.filter(state=AssignmentState.LEASED, lease_until__lte=now)
    if project is not None:
        lapsed = lapsed.filter(task__project=project)
    expired = 0
    for assignment_id, rater_id in list(lapsed.order_by("lease_until").values_list("pk", "rater_id")):
        with transaction.atomic():
            task, assignment = _locked(assignment_id, rater_id)
            # Between the list and the lock it may have been answered, passed on or renewed.
            if assignment.state == AssignmentState.LEASED and assignment.lease_until <= now:
                _give_back(task, assignment, AssignmentState.EXPIRED)
                expired += 1
    return expired


def progress_of(project: Project, rater: Rater) -> Progress:
    """Return how far a person is, and what they earned: extras are paid as well."""
    done = Assignment.objects.filter(task__project=project, rater=rater, state__in=ANSWERED).count()
    free = sum(_free_for(project, rater, tier).count() for tier in _tiers_of(project, rater))
    available = free + _held(project, rater).count()
    return Progress(done=done, available=available, earned_usd=done * project.pay_per_answer_usd)
