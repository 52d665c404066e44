"""Many people at once, each with a connection of their own: no pair gets too many answers, and none is lost.

These tests run on SQLite and on PostgreSQL. The last one takes the lock away and shows that they would notice.
"""

import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Count, F, Q

from annotation import submitting
from annotation.assigning import (
    Answer,
    Opening,
    Waiting,
    close_untouched,
    expire_leases,
    is_settled,
    next_assignment,
    open_tasks,
    rater_for,
    submit,
)
from annotation.checking import Check, check_invariants
from annotation.models import (
    Assignment,
    AssignmentState,
    Membership,
    OutboxEvent,
    Preference,
    Project,
    Rater,
    Role,
    Task,
    TaskState,
)
from tests.builders import make_pair, make_project, make_user

pytestmark = [pytest.mark.django_db(transaction=True)]

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
AFTER_ALL_LEASES = NOW + timedelta(hours=1)
PAIRS, VOTES, TABS = 40, 3, 16


@pytest.fixture
def study(settings: Any) -> Project:
    """Return a project of 40 pairs that want three answers each; nobody hears of the answers."""
    settings.OUTBOX_CONSUMERS = {}
    project = make_project(with_people=False, lease_seconds=600)
    pairs = [make_pair(project) for _ in range(PAIRS)]
    open_tasks(project, [Opening(pair.id) for pair in pairs], votes_wanted=VOTES)
    return project


def people(project: Project, number: int) -> list[Rater]:
    raters = []
    for index in range(number):
        user = make_user(f"person{index}")
        Membership.objects.create(project=project, user=user, role=Role.ANNOTATOR)
        raters.append(rater_for(project, user))
    return raters


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Start every call in a thread at the same moment and return the results; an error of one is raised here."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            gate.wait()
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(run, call) for call in calls]]


def broken(now: datetime) -> list[Check]:
    return [check for check in check_invariants(now=now) if check.broken]


def work(project: Project, rater: Rater, *, leave_after: int | None) -> int:
    """Answer all there is and return how many answers came back; or walk away holding a pair."""
    stored = 0
    while True:
        found = next_assignment(project, rater, now=NOW)
        if found.assignment is None:
            if found.waiting == Waiting.ALL_DONE:
                return stored
            continue
        if stored == leave_after:
            return stored
        submit(found.assignment.id, rater, Answer("a"), now=NOW)
        stored += 1


def test_hammering_people_fill_every_slot_and_not_one_more(study: Project) -> None:
    """Twelve people in sixteen tabs, two of whom walk away, while leases are taken from them at random moments."""
    raters = people(study, 12)
    tabs = [*raters, *raters[:4]]
    assert len(tabs) == TABS
    working = threading.Semaphore(0)
    seen: list[Check] = []

    def tab(rater: Rater) -> int:
        try:
            return work(study, rater, leave_after=2 if rater in raters[-2:] else None)
        finally:
            working.release()

    def watch_and_reap() -> int:
        """Recount over and over, and end every lease that is held at that moment."""
        finished = rounds = 0
        while finished < TABS:
            seen.extend(check for check in broken(NOW) if check.name in {"no_overshoot", "counters"})
            expire_leases(now=AFTER_ALL_LEASES)
            rounds += 1
            while working.acquire(timeout=0.02):
                finished += 1
        return rounds

    calls: list[Callable[[], int]] = [lambda rater=rater: tab(rater) for rater in tabs]  # type: ignore[misc]
    rounds = at_once([*calls, watch_and_reap])[-1]

    assert rounds > 1
    assert seen == []
    assert broken(NOW) == []
    assert set(Task.objects.values_list("state", "taken", "answered")) == {(TaskState.DONE, VOTES, VOTES)}
    counted = Preference.objects.counted()
    assert counted.count() == PAIRS * VOTES
    assert counted.values("pair", "rater").distinct().count() == PAIRS * VOTES
    # Whatever was answered is there: an assignment each, an event each.
    finished = Assignment.objects.filter(state__in=[AssignmentState.SUBMITTED, AssignmentState.EXTRA])
    assert Preference.objects.count() == finished.count() == OutboxEvent.objects.count()


def test_double_click_stores_one_answer(study: Project) -> None:
    (rater,) = people(study, 1)
    for _ in range(10):
        held = next_assignment(study, rater, now=NOW).assignment
        assert held is not None
        click = lambda key=held.id: submit(key, rater, Answer("b", 2, "Twice."), now=NOW)  # noqa: E731
        first, second = at_once([click, click])
        assert first == second
    assert Preference.objects.count() == 10
    assert Task.objects.filter(answered=1, taken=1).count() == 10


def test_two_tabs_of_one_person_hold_one_pair(study: Project) -> None:
    (rater,) = people(study, 1)
    found = at_once([lambda: next_assignment(study, rater, now=NOW).assignment] * 8)
    assert len({assignment.id for assignment in found}) == 1
    assert Assignment.objects.count() == 1


def test_user_who_comes_in_with_many_requests_is_one_rater(study: Project) -> None:
    user = make_user("newcomer")
    Membership.objects.create(project=study, user=user, role=Role.ANNOTATOR)
    found = at_once([lambda: rater_for(study, user).id] * 8)
    assert len(set(found)) == 1


def test_answer_and_reaper_at_the_same_moment_lose_nothing(study: Project) -> None:
    raters = people(study, 8)
    held = [next_assignment(study, rater, now=NOW).assignment for rater in raters]
    answers = [
        lambda key=assignment.id, rater=rater: submit(key, rater, Answer("a"), now=AFTER_ALL_LEASES)
        for assignment, rater in zip(held, raters, strict=True)
        if assignment is not None
    ]
    at_once([*answers, lambda: expire_leases(now=AFTER_ALL_LEASES)])
    assert Preference.objects.counted().count() == len(raters)
    assert broken(AFTER_ALL_LEASES) == []


# --- Votes that grow, and tasks that are closed -----------------------------------------------------------------------


@pytest.fixture
def adaptive(study: Project) -> Project:
    """Return the project with 16 pairs that want two answers each, and a third where those differ."""
    Task.objects.exclude(pk__in=Task.objects.order_by("id")[:16].values("pk")).delete()
    Task.objects.update(votes_wanted=2, most_votes=3)
    return study


def opinion(task_id: Any, rater: Rater) -> str:
    return ("a", "b", "tie")[zlib.crc32(f"{task_id} {rater.name}".encode()) % 3]


def test_votes_grow_exactly_where_people_differ_whoever_answers_when(adaptive: Project) -> None:
    def tab(rater: Rater) -> None:
        while (found := next_assignment(adaptive, rater, now=NOW)).waiting != Waiting.ALL_DONE:
            if found.assignment is not None:
                choice = opinion(found.assignment.task_id, rater)
                submit(found.assignment.id, rater, Answer(choice), now=NOW)

    at_once([lambda rater=rater: tab(rater) for rater in people(adaptive, TABS)])  # type: ignore[misc]
    assert broken(NOW) == []
    sizes = set()
    for task in Task.objects.prefetch_related("assignments__preference"):
        answers = [one.preference.choice for one in task.assignments.all() if one.preference is not None]
        assert task.state == TaskState.DONE
        assert len(answers) == task.votes_wanted == task.taken == task.answered
        assert is_settled(answers) or len(answers) == 3
        sizes.add(len(answers))
    assert sizes == {2, 3}


def split_at_once(project: Project) -> None:
    """Let two people answer every pair at the same moment, and differently."""
    ann, bob = people(project, 2)
    for _ in range(Task.objects.count()):
        held = [next_assignment(project, rater, now=NOW).assignment for rater in (ann, bob)]
        at_once(
            [
                lambda rater=rater, key=one.id, choice=choice: submit(key, rater, Answer(choice), now=NOW)  # type: ignore[misc]
                for rater, one, choice in zip((ann, bob), held, "ab", strict=True)
                if one is not None
            ]
        )


def test_two_last_answers_that_differ_open_one_slot_more(adaptive: Project) -> None:
    split_at_once(adaptive)
    assert set(Task.objects.values_list("state", "votes_wanted", "taken", "answered")) == {("open", 3, 2, 2)}
    assert broken(NOW) == []


def without_lock(assignment_id: Any, rater: Rater) -> tuple[Task, Any]:
    """Read what `annotation.leasing.locked` reads, and lock nothing."""
    assignment: Any = Assignment.objects.select_related("task").get(pk=assignment_id, rater=rater)
    assignment.answered_before = assignment.is_paused = False
    assignment.rater = rater
    return assignment.task, assignment


@pytest.mark.postgres
def test_without_the_lock_on_the_task_splits_would_be_missed(
    adaptive: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = threading.Barrier(2)

    def meet_without_lock(assignment_id: Any, rater: Rater) -> tuple[Task, Any]:
        found = without_lock(assignment_id, rater)
        meeting.wait(timeout=10)
        return found

    monkeypatch.setattr(submitting, "locked", meet_without_lock)
    split_at_once(adaptive)
    assert {check.name for check in broken(NOW)} >= {"states"}


def test_closing_takes_nothing_from_anybody_who_takes_it_at_that_moment(study: Project) -> None:
    pairs = list(Task.objects.values_list("pair_id", flat=True))
    Task.objects.update(votes_wanted=1)
    raters = people(study, TABS)
    lease: list[Callable[[], Any]] = [
        lambda rater=rater: next_assignment(study, rater, now=NOW).assignment  # type: ignore[misc]
        for rater in raters
    ]
    *held, closed = at_once([*lease, lambda: close_untouched(study, pairs)])
    assert broken(NOW) == []
    tasks = dict(Task.objects.values_list("pair_id", "state"))
    taken = {assignment.task.pair_id for assignment in held if assignment is not None}
    assert all(tasks[pair_id] == TaskState.OPEN for pair_id in taken)
    assert {pair_id for pair_id, state in tasks.items() if state == TaskState.CLOSED} == closed
    assert closed | taken == set(pairs)
    # What was taken can be answered, whatever was closed around it.
    for rater, assignment in zip(raters, held, strict=True):
        if assignment is not None:
            assert not submit(assignment.id, rater, Answer("a"), now=NOW).is_extra


def test_read_then_close_would_take_pairs_from_people(study: Project) -> None:
    """What closing does without its lock: between the look and the write people take pairs."""
    looked, leased = threading.Event(), threading.Event()

    def look_then_close() -> None:
        free = list(Task.objects.filter(taken=0).values_list("pk", flat=True))
        looked.set()
        leased.wait(timeout=30)
        Task.objects.filter(pk__in=free).update(state=TaskState.CLOSED)

    def take() -> None:
        looked.wait(timeout=30)
        next_assignment(study, people(study, 1)[0], now=NOW)
        leased.set()

    at_once([look_then_close, take])
    assert [check.name for check in broken(NOW)] == ["closed_are_free"]


def count_then_insert(project: Project, rater: Rater, slot: int) -> bool:
    """Lease like a program without the lock: look for a pair with a free slot, then write the lease."""
    holding = Count("assignments", filter=Q(assignments__state__in=["leased", "submitted"]))
    free = Task.objects.annotate(held=holding).filter(project=project, held__lt=F("votes_wanted"))
    task = free.exclude(assignments__rater=rater).order_by("id").first()
    if task is None:
        return False
    Assignment.objects.create(
        task=task,
        rater=rater,
        slot=slot,
        # This program does not know of places either: each lease takes the next.
        place=rater.assignments.count(),
        shown_order="ab",
        leased_at=NOW,
        lease_until=AFTER_ALL_LEASES,
    )
    return True


@pytest.mark.postgres
def test_without_the_lock_these_tests_would_fail(study: Project) -> None:
    def rush(rater: Rater, slot: int) -> None:
        while count_then_insert(study, rater, slot):
            pass

    calls: list[Callable[[], None]] = [
        lambda rater=rater, slot=slot: rush(rater, slot)  # type: ignore[misc]
        for slot, rater in enumerate(people(study, TABS))
    ]
    at_once(calls)
    overshooting = {check.name: check.broken for check in broken(NOW)}["no_overshoot"]
    assert overshooting > 0
    assert Assignment.objects.count() > PAIRS * VOTES
