"""The screen under many hands: several pairs held at a time, taken back, passed on, changed and asked again at once.

Every person works in two tabs that see the same leases. Whatever happens, no pair gets more answers than wanted, none
is lost and none is stored twice. The last tests break the code on purpose and show that these would notice.
"""

import random
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import Count, UniqueConstraint

from annotation import assigning, repeating, submitting
from annotation.assigning import (
    Answer,
    Opening,
    Waiting,
    expire_leases,
    next_assignment,
    open_tasks,
    progress_of,
    release,
    renew,
    revise,
    skip,
    submit,
)
from annotation.checking import check_invariants
from annotation.errors import AlreadyAnswered, LeaseLost, TooLate
from annotation.leasing import ANSWERED
from annotation.models import Assignment, AssignmentState, OutboxEvent, Preference, Project, Rater, Slate, Task
from tests.annotation.test_assigning_races import at_once, broken, people, without_lock
from tests.builders import make_pair, make_project, make_prompt

pytestmark = [pytest.mark.django_db(transaction=True)]

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LATE = NOW + timedelta(hours=1)
PAIRS, VOTES, MOST, PEOPLE, AHEAD = 30, 3, 4, 12, 2
# What another tab, the reaper or a person's own earlier click may have made true meanwhile; anything else is a fault.
EXPECTED = (AlreadyAnswered, LeaseLost, TooLate)
WATCHED = {"no_overshoot", "counters", "one_answer", "answers_belong", "states", "leases_are_fresh"}


@pytest.fixture
def quiet(settings: Any) -> None:
    settings.OUTBOX_CONSUMERS = {}


def make_study(slug: str = "study", pairs: int = PAIRS, votes: int = VOTES, **votes_beside: Any) -> Project:
    project = make_project(slug, with_people=False, lease_seconds=600)
    openings = [Opening(make_pair(project).pk, float(-number)) for number in range(pairs)]
    open_tasks(project, openings, votes_wanted=votes, **votes_beside)
    return project


class Clock:
    """Moves on with every look, so that the last answers have an order; far less than a lease in all."""

    def __init__(self) -> None:
        self._ticks = count()

    def now(self) -> datetime:
        return NOW + timedelta(milliseconds=next(self._ticks))


class Tab:
    """One tab of one person, who does what its seed says until there is nothing left to do."""

    def __init__(self, project: Project, rater: Rater, seed: int, clock: Clock) -> None:
        self.project, self.rater, self.clock = project, rater, clock
        self.random = random.Random(seed)
        self.stored: list[tuple[Any, Any]] = []  # assignment and answer, for each that came back as stored
        self.changes = 0

    def work(self, until: float) -> None:
        while time.monotonic() < until:
            found = next_assignment(self.project, self.rater, now=self.clock.now(), ahead=AHEAD, repeat_percent=30)
            if found.waiting is Waiting.ALL_DONE:
                return
            if found.held:
                self.act(self.random.choice(found.held))
        raise AssertionError(f"{self.rater} waits for ever: {found.waiting}")

    def act(self, held: Assignment) -> None:
        draw = self.random.random()
        try:
            if draw < 0.03:
                skip(held.pk, self.rater, reason="unclear", now=self.clock.now())
            elif draw < 0.08:
                release(self.project, self.rater)
            elif draw < 0.2:
                renew(held.pk, self.rater, now=self.clock.now())
            elif draw < 0.3:
                self.change()
            else:
                for _click in range(self.random.choice((1, 1, 2))):
                    self.store(submit, held, self.opinion(held))
        except EXPECTED:
            pass

    def change(self) -> None:
        mine = Assignment.objects.filter(rater=self.rater, state__in=ANSWERED).order_by("-finished_at")
        if recent := list(mine[:12]):
            self.store(revise, self.random.choice(recent), self.random.choice(("a", "b", "tie", "both_bad")))

    def store(self, verb: Callable[..., Any], held: Assignment, choice: str) -> None:
        stored = verb(held.pk, self.rater, Answer(choice), now=self.clock.now())
        self.stored.append((held.pk, stored.pk))

    def opinion(self, held: Assignment) -> str:
        """Return the same in both tabs, so that the same pair sent from both is one answer."""
        return ("a", "b", "tie")[zlib.crc32(f"{held.task_id} {self.rater.name}".encode()) % 3]


def hammer(project: Project, seed: int, *, seconds: float = 120) -> tuple[list[Tab], list[str]]:
    """Let twelve people in two tabs each work to the end while leases end at random; return what a watcher saw."""
    clock = Clock()
    raters = people(project, PEOPLE)
    tabs = [Tab(project, rater, seed * 1000 + number, clock) for number, rater in enumerate([*raters, *raters])]
    working = threading.Semaphore(0)
    seen: list[str] = []
    until = time.monotonic() + seconds

    def run(tab: Tab) -> None:
        try:
            tab.work(until)
        finally:
            working.release()

    def watch_and_reap() -> None:
        finished, draw = 0, random.Random(seed)
        while finished < len(tabs):
            seen.extend(check.name for check in check_invariants(now=NOW) if check.broken and check.name in WATCHED)
            holding = Assignment.objects.filter(state=AssignmentState.LEASED).values("rater").annotate(n=Count("pk"))
            seen.extend("hands" for one in holding if one["n"] > 1 + AHEAD)
            if draw.random() < 0.4:
                expire_leases(now=LATE)
            while working.acquire(timeout=0.02):
                finished += 1

    at_once([*(partial(run, tab) for tab in tabs), watch_and_reap])
    return tabs, seen


def assert_nothing_lost(project: Project, tabs: list[Tab]) -> None:
    expire_leases(now=LATE)
    assert broken(LATE) == []
    answered = Assignment.objects.answered()
    whole = Preference.objects.filter(criterion__isnull=True)
    # Every answer that came back as stored is there, and is the one that its assignment names or one that it replaced.
    ledger = {(assignment, answer) for tab in tabs for assignment, answer in tab.stored}
    now_named = dict(answered.values_list("pk", "preference"))
    replaced_by = dict(whole.filter(replaces__isnull=False).values_list("replaces", "pk"))
    for assignment, answer in ledger:
        while (newer := replaced_by.get(answer)) is not None:
            answer = newer
        assert now_named[assignment] == answer
    # And nothing else: an answer each, with what it replaced.
    assert whole.filter(replaces__isnull=True).count() == len(now_named) == len({one for one, _ in ledger})
    assert whole.filter(replaced_by__isnull=True).count() == len(now_named)
    counted = Preference.objects.counted()
    assert counted.count() == counted.values("pair", "rater").distinct().count()
    assert counted.count() == sum(Task.objects.values_list("answered", flat=True))
    assert OutboxEvent.objects.count() == whole.filter(repeats__isnull=True).count()
    for rater in {tab.rater for tab in tabs}:
        assert progress_of(project, rater).done == answered.filter(rater=rater).count()


@pytest.mark.parametrize("seed", [1, 2])
def test_two_tabs_a_person_that_do_anything_lose_nothing(
    seed: int, quiet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeating, "GAP", 4)
    project = make_study(most_votes=MOST)
    tabs, seen = hammer(project, seed)
    assert seen == []
    assert_nothing_lost(project, tabs)
    # What the test is about did happen.
    assert Assignment.objects.filter(repeats__isnull=False, state=AssignmentState.SUBMITTED).exists()
    assert Preference.objects.filter(replaces__isnull=False).exists()
    assert Assignment.objects.filter(state=AssignmentState.SKIPPED).exists()
    unfinished = Task.objects.exclude(state="done")
    assert all(task.assignments.filter(state="skipped").exists() for task in unfinished)


# --- One lease, two tabs --------------------------------------------------------------------------------------------


def until_somebody_waits_for_a_lock() -> None:
    """Hold this transaction until PostgreSQL says that another one waits for it."""
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    until = time.monotonic() + 10
    with connection.cursor() as cursor:
        while time.monotonic() < until:
            cursor.execute("select pg_stat_clear_snapshot()")
            cursor.execute(waiting)
            if cursor.fetchone()[0]:
                return
    pytest.fail("Nobody came to wait.")


@pytest.mark.postgres
@pytest.mark.parametrize("verb", ["submit", "skip"])
def test_a_lease_that_ended_is_not_given_again_while_its_answer_comes_in(verb: str, quiet: None) -> None:
    """The other tab waits for the task's row, and what it then holds is newer than what it had looked up."""
    project = make_study(pairs=1, votes=2)
    (ben,) = people(project, 1)
    held = next_assignment(project, ben, now=NOW).assignment
    assert held is not None
    expire_leases(now=LATE)
    answering = threading.Event()

    def finish() -> None:
        with transaction.atomic():
            if verb == "submit":
                submit(held.pk, ben, Answer("a"), now=LATE)
            else:
                skip(held.pk, ben, reason="unclear", now=LATE)
            answering.set()
            until_somebody_waits_for_a_lock()

    def look() -> Any:
        assert answering.wait(timeout=10)
        return next_assignment(project, ben, now=LATE)

    _, found = at_once([finish, look])
    assert found.waiting is Waiting.ALL_DONE
    assert Assignment.objects.get().state == {"submit": "submitted", "skip": "skipped"}[verb]
    assert broken(LATE) == []


def test_tabs_whose_leases_ended_fill_their_places_without_waiting_for_each_other(quiet: None) -> None:
    """Some of what a tab takes are new leases and some old ones: each tab takes its places from the first on."""
    project = make_study(pairs=24, votes=1)
    (ben,) = people(project, 1)
    held = next_assignment(project, ben, now=NOW, ahead=5).held
    for round_ in range(6):
        expire_leases(now=LATE + round_ * timedelta(hours=1))
        # Half of what is best is the person's own of before.
        Task.objects.filter(pk__in=[one.task_id for one in held[::2]]).update(priority=round_ + 1.0)
        now = LATE + round_ * timedelta(hours=1)
        found = at_once([partial(next_assignment, project, ben, now=now, ahead=5)] * 6)
        # Who had to wait for another tab's rows takes one pair at a time.
        assert all(one.held for one in found)
        held = next_assignment(project, ben, now=now, ahead=5).held
        assert len(held) == Assignment.objects.filter(state=AssignmentState.LEASED).count() == 6
    assert broken(now) == []


# --- Slates ---------------------------------------------------------------------------------------------------------


def test_pairs_of_one_prompt_opened_at_once_are_one_slate_and_one_task() -> None:
    project = make_project(template="ranking")
    prompt = make_prompt(project, "Why?")
    pairs = [
        make_pair(project, prompt=prompt, response_a="Answer 0", response_b=f"Answer {n}", model_b="model-one")
        for n in range(1, 7)
    ]
    at_once([lambda pair=pair: open_tasks(project, [Opening(pair.pk)], votes_wanted=1) for pair in pairs])  # type: ignore[misc]
    assert (Slate.objects.count(), Task.objects.count()) == (1, 1)


# --- Would these tests notice? --------------------------------------------------------------------------------------


@contextmanager
def without_constraint(model: Any, name: str) -> Iterator[None]:
    constraint: UniqueConstraint = next(one for one in model._meta.constraints if one.name == name)
    with connection.schema_editor() as editor:
        editor.remove_constraint(model, constraint)
    try:
        yield
    finally:
        model.objects.all().delete()
        with connection.schema_editor() as editor:
            editor.add_constraint(model, constraint)


@pytest.mark.postgres
def test_without_places_two_tabs_would_hold_twice_as_many(quiet: None) -> None:
    project = make_study(pairs=24, votes=1)
    (ben,) = people(project, 1)
    with without_constraint(Assignment, "one_lease_per_rater_and_place"):
        at_once([lambda: next_assignment(project, ben, now=NOW, ahead=AHEAD).held] * 6)
        assert Assignment.objects.filter(state=AssignmentState.LEASED).count() > 1 + AHEAD


@pytest.mark.postgres
def test_a_slot_taken_without_the_lock_would_be_seen(quiet: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that reads an assignment without locking its task counts slots that are not free."""
    monkeypatch.setattr(assigning, "locked", without_lock)
    monkeypatch.setattr(submitting, "locked", without_lock)
    faults: list[str] = []
    for seed in range(1, 6):
        try:
            _tabs, seen = hammer(make_study(f"study{seed}", pairs=6, votes=2, most_votes=3), seed, seconds=10)
            faults += seen + [check.name for check in broken(LATE)]
        # Tabs that wait for ever, and what the database itself refuses.
        except (AssertionError, DatabaseError) as error:
            faults.append(type(error).__name__)
        if faults:
            break
    assert faults
