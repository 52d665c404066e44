"""Who answers which pair: leases on slots, taken and given back so that no pair gets more answers than wanted.

A person holds the pair they read and a few ahead of it, each at a place of their own (`Assignment.place`), so that the
next is there at once and a tunnel stops nobody. Two tabs that reach for one place find it taken in the database. What a
slot is and how it is locked stands in `annotation.leasing`; how an answer comes in, in `annotation.submitting`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import partial
from itertools import count
from sys import maxsize
from typing import Any, NamedTuple
from uuid import UUID

from django.core.cache import cache
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet, Subquery
from django.utils.translation import gettext as _

from annotation.answering import NOTE_LIMIT, Answer, is_settled, storable, storable_draft, stored_choice
from annotation.errors import AlreadyAnswered, AnswerInvalid, LeaseLost, NotAMember
from annotation.learning import Stage, stage_of
from annotation.leasing import ANSWERED, give_back, give_back_if, lease_end, locked
from annotation.limiting import share_left
from annotation.mixing_in import draw_gold, is_gold_due
from annotation.models import (
    Assignment,
    AssignmentState,
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
from annotation.models.tasks import TaskQuerySet
from annotation.money.booking import earned_by
from annotation.opening import Opening, close_untouched, open_tasks, reprioritise
from annotation.pausing import unpaused
from annotation.preparing import Prepared, PreparedSave, PreparedUpdate
from annotation.pricing import pay_for
from annotation.promising import PurseEmpty, affordable, promise
from annotation.qualifying import end_try, first_gold_answered, gold_left, is_qualified, lock_try
from annotation.repeating import MIRRORED, is_due, repeatable
from annotation.retrying import in_transaction
from annotation.skilling import Skills, skills_of
from annotation.standards import Standards, standards_of
from annotation.submitting import revise, submit

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
    "progress_after",
    "progress_of",
    "rater_for",
    "release",
    "renew",
    "reprioritise",
    "revise",
    "save_draft",
    "skip",
    "stored_choice",
    "submit",
]

# How far open pairs are counted: a person wants to know whether ten are left or many, and a count of a million is slow.
COUNTED = 100
# Tabs of one person that reach for the same place at the same moment: each round one of them gets it.
ROUNDS = 8
# How old a count of open pairs may be in the midst of somebody's work.
PROGRESS_SECONDS = 30
# From how many answers on a person is served from where they were served last, and for how long at a time.
MANY_ANSWERS = 100
QUEUE_SECONDS = 20


class Waiting(StrEnum):
    """Why there is no pair for a person now."""

    NONE_FREE = "none_free"  # what is left is in other people's hands and may come back
    ALL_DONE = "all_done"
    PAUSED = "paused"  # the project
    PERSON_PAUSED = "person_paused"
    SHARE_DONE = "share_done"  # as many answers as one person may give
    DAY_DONE = "day_done"  # as many as one person may give in a day
    BUDGET_SPENT = "budget_spent"
    BREAK = "break"  # the person's own
    FINISHED = "finished"  # a guest gave the answers that their visit asks for
    TRAINING = "training"  # guidelines, practice or the gate come first


class Next(NamedTuple):
    """The lease to work on and those ahead of it, or why there is none. Only a new one has its task loaded."""

    assignment: Assignment | None
    waiting: Waiting | None
    ahead: tuple[Assignment, ...] = ()
    # Of a pause, as its manager wrote it.
    reason: str = ""

    @property
    def held(self) -> tuple[Assignment, ...]:
        """Return all leases, the one to work on first."""
        return () if self.assignment is None else (self.assignment, *self.ahead)


class Progress(NamedTuple):
    """A person's answers in a project, the pairs they could answer now (held ones included) and what they earned.

    With `more`, at least `available` are open: they are counted up to a limit.
    """

    done: int
    available: int
    earned_usd: Decimal
    more: bool = False


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


def tiers_of(project: Project, rater: Rater) -> tuple[Tier, ...]:
    """Return the tiers a person works in, the one to serve first first. A rater without a user is of the crowd.

    Who adjudicates does nothing else: a vote of theirs would be one they rule on.

    Raises `NotAMember`.
    """
    if rater.project_id != project.pk or rater.kind != RaterKind.PERSON:
        raise NotAMember(f"{rater} is not one of the people of {project}.")
    if rater.user_id is None:
        return (Tier.CROWD,)
    role = rater.role
    if role is None:
        members = Membership.objects.filter(project=project, user_id=rater.user_id)
        role = members.values_list("role", flat=True).first()
    if role is None:
        raise NotAMember(f"{rater} is no longer a member of {project}. Its manager can add people again.")
    if role == Role.ADJUDICATOR:
        return (Tier.FINAL,)
    return (Tier.EXPERT, Tier.CROWD) if role == Role.EXPERT else (Tier.CROWD,)


# --- Serving --------------------------------------------------------------------------------------------------------


class _Overtaken(Exception):
    """Another tab of a person was faster with one of their own leases, or a manager who paused this person."""


class _TryEnded(Exception):
    """Nothing is left to lease in a person's try at the first gold pairs."""


class _Serving(NamedTuple):
    """For whom leases are taken, and how; `affordable` is the most new ones that the budget pays for, once known."""

    project: Project
    rater: Rater
    tiers: tuple[Tier, ...]
    now: datetime
    places: int
    repeat_percent: float
    standards: Standards
    affordable: int = maxsize


def next_assignment(
    project: Project,
    rater: Rater,
    *,
    now: datetime,
    ahead: int = 0,
    repeat_percent: float = 0.0,
) -> Next:
    """Return the pairs a person works on, 1 + `ahead` in all: those they hold, and new leases on the best free ones.

    Nobody gets a pair they answered or passed on, but for hidden repeats, so many percent of the leases. A lease of
    theirs that ran out may come again. Nobody holds and answers more than their share, and all leases and answers
    together never cost more than the project's budget for people. Gold is mixed in as the project's standards say.

    One transaction, of four queries where one pair is taken, five in a project with a budget; raises `NotAMember`.
    """
    if rater.paused_at is not None:
        return Next(None, Waiting.PERSON_PAUSED, reason=rater.paused_reason)
    if stage_of(project, rater) is not Stage.WORK:
        return Next(None, Waiting.TRAINING)
    serving = _Serving(project, rater, tiers_of(project, rater), now, 1 + ahead, repeat_percent, standards_of(project))
    found = _next_once(serving)
    if found.waiting in (Waiting.NONE_FREE, Waiting.BUDGET_SPENT) and expire_leases(now=now, project=project):
        # What others held had run out, and the reaper had not come by yet.
        found = _next_once(serving)
    return found


def _next_once(serving: _Serving) -> Next:
    overtaken = 0
    while overtaken < ROUNDS:
        try:
            return in_transaction(partial(_served, serving))
        except _TryEnded:
            # In a transaction of its own, so that what is known of the person here is what was stored.
            if not end_try(serving.rater, serving.standards, now=serving.now):
                return Next(None, Waiting.PERSON_PAUSED)
        except PurseEmpty as empty:
            # Others may take what is left first; then there is less of it, so this ends.
            serving = serving._replace(affordable=affordable(serving.project, empty))
        except (IntegrityError, _Overtaken):
            # Another tab of this person took the place or the pair: what it took is theirs now.
            overtaken += 1
            serving.rater.gold_asked = None  # that tab may have been led to gold as well: counted anew
            serving.rater.refresh_from_db(fields=["paused_at", "paused_reason"])
            if serving.rater.paused_at is not None:
                return Next(None, Waiting.PERSON_PAUSED, reason=serving.rater.paused_reason)
    raise AssertionError(f"{serving.rater} reached for pairs in more tabs than {ROUNDS} at once.")


def _served(serving: _Serving) -> Next:
    # First, since it may lock the person's row, which nobody takes who holds a task's.
    share = share_left(serving.project, serving.rater, places=serving.places, now=serving.now)
    if must_pass := _checks_gold(serving) and not is_qualified(serving.rater, serving.standards):
        lock_try(serving.rater)
        must_pass = not is_qualified(serving.rater, serving.standards)
    held = _kept_up(serving)
    paused = serving.project.status == Project.Status.PAUSED
    if not paused:
        most = min(share.left, serving.affordable)
        if must_pass:
            held += _first_gold(serving, held, most=most)
        else:
            held += _filled(serving, held, most=most)
    if held:
        return Next(held[0], None, tuple(held[1:]))
    if paused:
        return Next(None, Waiting.PAUSED)
    if not share.left:
        return Next(None, Waiting.DAY_DONE if share.comes_back else Waiting.SHARE_DONE)
    if not serving.affordable:
        return Next(None, Waiting.BUDGET_SPENT)
    project, rater = serving.project.pk, serving.rater.pk
    left = any(_open_to(project, rater, skills_of(serving.rater), tier).exists() for tier in serving.tiers)
    return Next(None, Waiting.NONE_FREE if left else Waiting.ALL_DONE)


def _held(project: UUID, rater: UUID) -> "QuerySet[Assignment]":
    held = Assignment.objects.filter(rater=rater, state=AssignmentState.LEASED, task__project=project)
    return held.order_by("leased_at", "place")


_HELD = Prepared(_held)


def _kept_up(serving: _Serving) -> list[Assignment]:
    """Return what a person holds, oldest first; a lease of theirs that ran out is lengthened, unless it is lost."""
    held = []
    for assignment in _HELD.fetch(project=serving.project.pk, rater=serving.rater.pk):
        if assignment.lease_until <= serving.now:
            # While the project is paused what ran out stays so.
            if serving.project.status == Project.Status.PAUSED:
                continue
            assignment.lease_until = lease_end(serving.project, serving.now)
            still = Assignment.objects.filter(pk=assignment.pk, state=AssignmentState.LEASED)
            if not still.update(lease_until=assignment.lease_until):
                continue  # the reaper was faster
        held.append(assignment)
    return held


def _open_to(project: UUID, rater: UUID, skills: Skills, tier: Tier) -> TaskQuerySet:
    """Return the open tasks of a tier that this person has the skills for.

    But for pairs they answered, passed on, or have in the other tier, and those that a manager paused.

    Each condition is one look-up in a unique index, so that a person with thousands of answers waits no longer.
    """
    other_tier = Tier.EXPERT if tier == Tier.CROWD else Tier.CROWD
    mine = Assignment.objects.filter(rater=rater)
    seen = mine.filter(task=OuterRef("pk")).exclude(state=AssignmentState.EXPIRED)
    seen_elsewhere = mine.filter(task__pair_id=OuterRef("pair_id"), task__tier=other_tier)
    answered = Preference.objects.current().filter(rater=rater, pair_id=OuterRef("pair_id"), criterion__isnull=True)
    tasks = Task.objects.filter(
        project=project,
        tier=tier,
        state=TaskState.OPEN,
        is_paused=False,
        language__in=skills.languages,
        domain__in=skills.domains,
    )
    return tasks.filter(~Exists(seen), ~Exists(seen_elsewhere), ~Exists(answered))


def _free_for(project: UUID, rater: UUID, skills: Skills, tier: Tier) -> TaskQuerySet:
    """Return the tasks with a free slot for a person, best first; the index `task_queue` serves it without a sort."""
    free = _open_to(project, rater, skills, tier).filter(taken__lt=F("votes_wanted"))
    return free.order_by(F("priority").desc(), "id")


def _checks_gold(serving: _Serving) -> bool:
    """Say whether gold is mixed in for this person: nobody checks who has the last word."""
    return Tier.FINAL not in serving.tiers


def _first_gold(serving: _Serving, held: list[Assignment], *, most: int) -> list[Assignment]:
    """Lease, to somebody who has to pass them, what is missing of the first gold pairs, and nothing else.

    Raises `_TryEnded` where that is nothing, they hold nothing and might have more. Caller holds a transaction.
    """
    taken = {assignment.place for assignment in held}
    places = [place for place in range(serving.places) if place not in taken]
    answered, asked = first_gold_answered(serving.rater), _gold_asked(serving.rater)
    left = gold_left(serving.rater, serving.standards, answered=answered, held=len(held))
    new: list[Assignment] = []
    for place in places[: max(0, min(left, most))]:
        leased = _lease_gold(serving, asked + len(new), place)
        if leased is None:
            break
        new.append(leased)
    if not held and not new and (most > 0 or left <= 0):
        raise _TryEnded
    promise(serving.project, serving.rater, new)
    return new


def _filled(serving: _Serving, held: list[Assignment], *, most: int) -> list[Assignment]:
    """Lease what is missing to fill a person's places, at most so many. Caller holds a transaction."""
    taken = {assignment.place for assignment in held}
    # Where fewer are to be held than before, those that are held may stand at later places.
    missing = max(0, serving.places - len(held))
    places = [place for place in range(serving.places) if place not in taken][: min(most, missing)]
    new: list[Assignment] = []
    if places and serving.standards.gold_percent > 0 and _checks_gold(serving):
        new += _gold_among(serving, held, places)
        places = places[len(new) :]
    if places and serving.repeat_percent > 0:
        answered = _answered_by(serving.rater)
        for place in list(places):
            number = answered + len(held) + len(new)
            if not is_due(serving.project, serving.rater, number, percent=serving.repeat_percent):
                continue
            if (earlier := repeatable(serving.project, serving.rater, number)) is not None:
                new.append(_repeat(serving, earlier, place))
                places.remove(place)
                break
    new += _take_best(serving, places, others_at_work=not held and not new)
    promise(serving.project, serving.rater, new)
    return new


def _gold_among(serving: _Serving, held: list[Assignment], places: list[int]) -> list[Assignment]:
    """Lease a gold pair where one of the next leases is to be gold: one at most, at the first place. No query else."""
    asked = _gold_asked(serving.rater)
    number = _answered_by(serving.rater) + len(held)
    due = is_gold_due(serving.project, serving.rater, serving.standards, number=number, asked=asked)
    leased = _lease_gold(serving, asked, places[0]) if due else None
    return [] if leased is None else [leased]


def _lease_gold(serving: _Serving, asked: int, place: int) -> Assignment | None:
    """Lease a gold pair to a person, without a slot; None where there is none for them. Raises `_Overtaken`.

    Caller holds a transaction, and promises the pay.
    """
    if not unpaused(serving.rater.pk):
        raise _Overtaken
    found = draw_gold(serving.project, serving.rater, asked)
    if found is None:
        return None
    leased = found.lapsed or Assignment(
        task=found.task, rater=serving.rater, shown_order=order_shown(serving.project, found.task, serving.rater)
    )
    leased.gold = found.gold
    leased.promised_usd = pay_for(serving.project, serving.rater, Tier.CROWD)
    leased.state = AssignmentState.LEASED
    leased.place = place
    leased.leased_at = serving.now
    leased.lease_until = lease_end(serving.project, serving.now)
    leased.save()
    return leased


def _take_best(serving: _Serving, places: list[int], *, others_at_work: bool) -> list[Assignment]:
    """Lease a slot of each of the best free tasks, one a place. Caller holds a transaction."""
    if not places:
        return []
    # Others' rows are passed over; where only such rows are left, and this person has nothing, we wait for them, since
    # they may still have a slot.
    skips = connection.features.has_select_for_update_skip_locked
    rounds = (True, False) if skips and others_at_work else (skips,)
    for skip_locked in rounds:
        # Who waits takes one: to hold a row while waiting for another is how deadlocks begin.
        most = 1 if skips and not skip_locked else len(places)
        for tier in serving.tiers:
            if tasks := _best(serving, tier, skip_locked, most):
                return _lease(serving, tasks, places)
    return []


def _best(serving: _Serving, tier: Tier, skip_locked: bool, most: int) -> list[Task]:
    """Return the best free tasks of a tier, locked.

    At the front of the queue stand a person's own answers to pairs that want more votes, and each is looked at in vain.
    Somebody with many of them is therefore served from where they were served last, and from the very front every
    `QUEUE_SECONDS`: that long a pair that comes free or is opened before that place may wait for them.
    """
    whose = {"project": serving.project.pk, "rater": serving.rater.pk}
    skills = skills_of(serving.rater)
    key = f"queue:{serving.rater.pk}:{tier}"
    far = (serving.rater.answered or 0) >= MANY_ANSWERS
    if far and (last := cache.get(key)) is not None:
        priority, task, until = last
        if serving.now < until:
            behind = _FREE.fetch(tier, skills, skip_locked, most, True, **whose, priority=priority, task=task)
            if len(behind) == most:
                cache.set(key, (behind[-1].priority, behind[-1].pk, until), timeout=QUEUE_SECONDS)
                return behind
    tasks = _FREE.fetch(tier, skills, skip_locked, most, False, **whose)
    if far and tasks:
        until = serving.now + timedelta(seconds=QUEUE_SECONDS)
        cache.set(key, (tasks[-1].priority, tasks[-1].pk, until), timeout=QUEUE_SECONDS)
    return tasks


def _free_tasks(
    tier: Tier,
    skills: Skills,
    skip_locked: bool,
    most: int,
    behind: bool,
    *,
    project: UUID,
    rater: UUID,
    priority: float = 0.0,
    task: UUID | None = None,
) -> "QuerySet[Task]":
    """Return the best free tasks, locked, with their texts and the person's own lease of each that ran out.

    With `behind`, those that stand behind a task in the queue.
    """
    lapsed = Assignment.objects.filter(task=OuterRef("pk"), rater=rater, repeats__isnull=True)
    free = _free_for(project, rater, skills, tier)
    if behind:
        free = free.filter(priority__lte=priority).exclude(priority=priority, pk__lte=task)
    free = free.annotate(lapsed=Subquery(lapsed.values("pk")[:1]))
    return free.with_texts().select_for_update(of=("self",), no_key=True, skip_locked=skip_locked)[:most]


_FREE = Prepared(_free_tasks)


def _lease(serving: _Serving, tasks: Sequence[Task], places: list[int]) -> list[Assignment]:
    """Give slots to a person; their own lease that ran out keeps its row, its draft and the order shown.

    Caller holds the tasks' rows, which have a free slot each. Places are taken in order, so that of two tabs that reach
    for the same ones the second waits for the first and never the other way round too. Raises `_Overtaken`.
    """
    # In the same statement, since the person was loaded some time ago.
    if not _TAKE.update(
        len(tasks), rater=serving.rater.pk, **{f"task{place}": task.pk for place, task in enumerate(tasks)}
    ):
        raise _Overtaken
    lapsed_of = {task.pk: task.lapsed for task in tasks}  # type: ignore[attr-defined]  # set by `_take_best`
    ended = Assignment.objects.in_bulk([lapsed for lapsed in lapsed_of.values() if lapsed])
    if any(assignment.state != AssignmentState.EXPIRED for assignment in ended.values()):
        # It was answered or passed on while we waited for its task: the row lock is newer than what was looked up.
        raise _Overtaken
    leased = []
    for task, place in zip(tasks, places, strict=False):
        assignment = ended.get(lapsed_of[task.pk]) or Assignment(
            rater=serving.rater, shown_order=order_shown(serving.project, task, serving.rater)
        )
        assignment.task = task
        # Theirs as gold once, and never answered.
        assignment.gold = None
        assignment.promised_usd = pay_for(serving.project, serving.rater, Tier(task.tier))
        assignment.state = AssignmentState.LEASED
        assignment.slot = task.next_slot
        assignment.place = place
        assignment.leased_at = serving.now
        assignment.lease_until = lease_end(serving.project, serving.now)
        task.taken += 1
        task.next_slot += 1
        leased.append(assignment)
    if ended:
        for assignment in leased:
            assignment.save()
    elif len(leased) == 1:
        _LEASE.save(leased[0])
    else:
        Assignment.objects.bulk_create(leased)
    return leased


def _taken(_number: int, *, rater: UUID, **tasks: UUID) -> "tuple[QuerySet[Task], dict[str, Any]]":
    rows = Task.objects.filter(Exists(unpaused(rater)), pk__in=list(tasks.values()))
    return rows, {"taken": F("taken") + 1, "next_slot": F("next_slot") + 1}


_TAKE = PreparedUpdate(_taken)
_LEASE = PreparedSave(Assignment)


def _repeat(serving: _Serving, earlier: Assignment, place: int) -> Assignment:
    """Lease a pair again to the person who answered it, with the sides swapped. Raises `_Overtaken`."""
    if not unpaused(serving.rater.pk):
        raise _Overtaken
    return Assignment.objects.create(
        task=earlier.task,
        rater=serving.rater,
        repeats=earlier,
        promised_usd=pay_for(serving.project, serving.rater, Tier(earlier.task.tier)),
        state=AssignmentState.LEASED,
        place=place,
        shown_order=MIRRORED[ShownOrder(earlier.shown_order)],
        leased_at=serving.now,
        lease_until=lease_end(serving.project, serving.now),
    )


def order_shown(project: Project, task: Task, rater: Rater) -> str:
    """Draw the order in which a person sees the responses of a task, as `Assignment.shown_order` holds it."""
    if task.slate_id is None:
        return drawn_order(project, task.pair, rater)
    size = task.slate.entries.count() if task.slate is not None else 0
    coins = {position: _coin(project, task.pair, rater, position) for position in range(size)}
    return "".join(str(position) for position in sorted(coins, key=lambda position: coins[position]))


def drawn_order(project: Project, pair: Pair, rater: Rater) -> ShownOrder:
    """Draw which response stands first: a fair coin that the project's seed, the pair and the person decide.

    Names rather than ids go in, so that importing the same file with the same seed shows the same sides again.
    """
    return ShownOrder.AB if _coin(project, pair, rater)[0] % 2 == 0 else ShownOrder.BA


def _coin(project: Project, pair: Pair, rater: Rater, *more: int) -> bytes:
    named = "\n".join(map(str, (project.seed, pair.external_id, rater.name, *more)))
    return hashlib.sha256(named.encode()).digest()


# --- Holding and giving back ----------------------------------------------------------------------------------------


def skip(assignment_id: UUID, rater: Rater, *, reason: str, note: str = "", now: datetime) -> Assignment:
    """Pass a pair on: its slot is free at once, and this person never gets it again. Skipping twice changes nothing.

    Raises `LeaseNotYours`, `AlreadyAnswered` or `AnswerInvalid`.
    """
    if reason not in SkipReason.values:
        raise AnswerInvalid(f"The reason {reason!r} is not known. It is one of: {', '.join(SkipReason.values)}.")
    note = storable(note, field="note", limit=NOTE_LIMIT).strip()

    def pass_on() -> Assignment:
        task, assignment = locked(assignment_id, rater)
        if assignment.state in ANSWERED:
            raise AlreadyAnswered(_("Your answer to this pair is already stored, so it cannot be passed on."))
        if assignment.state != AssignmentState.SKIPPED:
            assignment.skip_reason = reason
            assignment.note = note
            assignment.finished_at = now
            give_back(task, assignment, AssignmentState.SKIPPED)
        return assignment

    return in_transaction(pass_on)


def release(project: Project, rater: Rater) -> int:
    """Give back, for a break, the pairs a person holds and has written nothing on; return how many.

    What they began stays theirs until its time runs out. A transaction a lease.
    """
    held = list(_held(project.pk, rater.pk).filter(draft={}).values_list("pk", flat=True))
    return sum(give_back_if(pk, rater, lambda assignment: not assignment.draft) for pk in held)


def renew(assignment_id: UUID, rater: Rater, *, now: datetime) -> Assignment:
    """Hold a pair, and those ahead of it, for another `lease_seconds` from now.

    Raises `LeaseNotYours`, `LeaseLost` or `AlreadyAnswered`.
    """
    with transaction.atomic():
        _task, assignment = locked(assignment_id, rater)
        _refuse_unless_workable(assignment)
        if assignment.state == AssignmentState.EXPIRED:
            raise LeaseLost(_("Your time for this pair ran out. You can still send your answer, or go on to the next."))
        assignment.lease_until = lease_end(rater.project, now)
        assignment.save(update_fields=["lease_until"])
    # Those ahead, apart: a conditional update each, so that no two of a person's tabs wait for each other.
    for other in Assignment.objects.filter(rater=rater, state=AssignmentState.LEASED).exclude(pk=assignment.pk):
        Assignment.objects.filter(pk=other.pk, state=AssignmentState.LEASED).update(lease_until=assignment.lease_until)
    return assignment


def save_draft(assignment_id: UUID, rater: Rater, draft: Mapping[str, Any], *, now: datetime) -> Assignment:
    """Keep what a person has written so far, with the time as `saved_at`; the lease stays as it is.

    A draft is kept after the time ran out too, since the pair may come again. Raises `LeaseNotYours`,
    `LeaseLost` (after a skip), `AlreadyAnswered` or `AnswerInvalid`.
    """
    draft = storable_draft(draft)
    with transaction.atomic():
        _task, assignment = locked(assignment_id, rater)
        _refuse_unless_workable(assignment)
        assignment.draft = {**draft, "saved_at": now.isoformat()}
        assignment.save(update_fields=["draft"])
    return assignment


def _refuse_unless_workable(assignment: Assignment) -> None:
    if assignment.state in ANSWERED:
        raise AlreadyAnswered(_("Your answer to this pair is already stored. Go on to the next."))
    if assignment.state == AssignmentState.SKIPPED:
        raise LeaseLost(_("You passed this pair on. Go on with the next one."))


def expire_leases(*, now: datetime, project: Project | None = None) -> int:
    """Give back the slots of leases that ran out before `now`; return how many. A transaction a lease."""
    lapsed = Assignment.objects.filter(state=AssignmentState.LEASED, lease_until__lte=now)
    if project is not None:
        lapsed = lapsed.filter(task__project=project)
    # Between the list and the lock one may have been answered, passed on or renewed.
    return sum(
        give_back_if(one.pk, one.rater, lambda assignment: assignment.lease_until <= now)
        for one in list(lapsed.order_by("lease_until").select_related("rater__project"))
    )


def progress_of(project: Project, rater: Rater) -> Progress:
    """Return how far a person is, and what they earned by the book: extras and hidden repeats are paid as well."""
    done = _answered_by(rater)
    held = _held(project.pk, rater.pk).count()
    tiers = tiers_of(project, rater)
    skills = skills_of(rater)
    free = sum(len(_free_for(project.pk, rater.pk, skills, tier).values_list("pk")[: COUNTED + 1]) for tier in tiers)
    available = min(free, COUNTED) + held
    cache.set(_progress_key(rater), (done + available, free > COUNTED), timeout=PROGRESS_SECONDS)
    return Progress(done, available, earned_usd=earned_by(rater), more=free > COUNTED)


def progress_after(project: Project, rater: Rater) -> Progress:
    """Return a person's progress in the midst of their work: how many pairs were open is looked up once in a while.

    No query but for the first time in half a minute, in each process.
    """
    total, more = cache.get(_progress_key(rater)) or (0, False)
    done = _answered_by(rater)
    if total <= done:
        return progress_of(project, rater)
    return Progress(done, total - done, earned_by(rater), more)


def _progress_key(rater: Rater) -> str:
    return f"open-to:{rater.pk}"


def _answered_by(rater: Rater) -> int:
    if rater.answered is None:
        return Assignment.objects.filter(rater=rater, state__in=ANSWERED).count()
    return rater.answered


def _gold_asked(rater: Rater) -> int:
    if rater.gold_asked is None:
        asked = Assignment.objects.filter(rater=rater, gold__isnull=False)
        return asked.exclude(state=AssignmentState.EXPIRED).count()
    return rater.gold_asked
