"""Many people at the real application: no pair over its votes at any instant, nothing asked twice or lost.

The sizes of the promise (200 people on PostgreSQL, 10 on SQLite, 2,000 pairs with three answers each) take minutes a
run and are run by: pytest -m slow tests/annotation/test_crowd_races.py .
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from annotation import assigning, leasing, repeating, submitting
from annotation.assigning import Opening, open_tasks
from annotation.checking import check_invariants
from annotation.models import Assignment, LedgerEntry, Preference, Project, Task
from annotation.preparing import Prepared
from tests.annotation.crowd import Crowd, InProcess, OverHttp, Server, found_in_export, let_work
from tests.annotation.test_assigning_races import people, without_lock
from tests.builders import make_pair, make_project

pytestmark = [pytest.mark.django_db(transaction=True)]

VOTES = 3


@pytest.fixture(autouse=True)
def _quiet(settings: Any) -> None:
    settings.OUTBOX_CONSUMERS = {}


def crowd_at_work(server: Server, *, size: int, pairs: int, pauses: int, seed: int, seconds: float = 900) -> Crowd:
    project = make_project(f"study{seed}", with_people=False, lease_seconds=600, people_budget_usd=10 * pairs)
    open_tasks(project, [Opening(make_pair(project).pk) for _ in range(pairs)], votes_wanted=VOTES)
    return let_work(project, people(project, size), server, seed=seed, pauses=pauses, seconds=seconds)


def assert_the_promise(crowd: Crowd) -> None:
    project = Project.objects.get()
    assert crowd.looks > 3
    assert crowd.faults == []
    assert crowd.seen == []
    assert [check for check in check_invariants(project, now=timezone.now()) if check.broken] == []
    # None over, none short: at rest every pair has exactly what it wants.
    assert set(Task.objects.values_list("state", "taken", "answered")) == {("done", VOTES, VOTES)}
    counted = Preference.objects.counted()
    assert counted.count() == counted.values("pair", "rater").distinct().count() == VOTES * Task.objects.count()
    # Whatever came back as stored is in the export once, and everything that is stored was told or broken off.
    told = {stored for person in crowd.people for stored in person.ledger}
    times = found_in_export(project)
    assert {times(stored) for stored in told} == {1}
    answered = {str(pk) for pk in Assignment.objects.answered().values_list("pk", flat=True)}
    assert {stored.assignment for stored in told} <= answered
    assert answered <= {assignment for person in crowd.people for assignment in person.said}
    assert Preference.objects.count() == len(answered)


def test_ten_people_who_do_anything_break_no_promise(live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "GAP", 1)
    monkeypatch.setattr(assigning, "is_due", lambda *args, percent: percent > 0)
    crowd = crowd_at_work(OverHttp(live_server.url), size=10, pairs=15, pauses=2, seed=1)
    assert_the_promise(crowd)
    assert crowd.paused
    assert Assignment.objects.answered().filter(repeats__isnull=False).exists()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_thousand_pairs_and_all_the_people_there_can_be(seed: int) -> None:
    """Two hundred on PostgreSQL, ten on SQLite, three runs."""
    size, pauses = (200, 20) if connection.vendor == "postgresql" else (10, 2)
    crowd = crowd_at_work(InProcess(), size=size, pairs=2000, pauses=pauses, seed=seed, seconds=3000)
    assert_the_promise(crowd)


# --- Would these tests notice? --------------------------------------------------------------------------------------


@contextmanager
def without_constraints() -> Iterator[None]:
    """Take away what the database itself refuses of slots given twice."""
    named = {
        "task_takes_no_more_than_wanted": Task,
        "task_answers_hold_slots": Task,
        "one_assignment_per_task_and_slot": Assignment,
    }
    constraints = [(model, one) for model in {Task, Assignment} for one in model._meta.constraints if one.name in named]
    assert len(constraints) == len(named)
    with connection.schema_editor() as editor:
        for model, constraint in constraints:
            editor.remove_constraint(model, constraint)
    try:
        yield
    finally:
        LedgerEntry.objects.all()._raw_delete(connection.alias)
        Assignment.objects.all().delete()
        Task.objects.all().delete()
        with connection.schema_editor() as editor:
            for model, constraint in constraints:
                editor.add_constraint(model, constraint)


def free_tasks_without_lock(*shape: Any, **values: Any) -> Any:
    tasks = assigning._free_tasks(*shape, **values)
    tasks.query.select_for_update = False
    return tasks


def run_without_lock(monkeypatch: pytest.MonkeyPatch, *, size: int, pairs: int, seconds: float) -> Crowd:
    monkeypatch.setattr(assigning, "_FREE", Prepared(free_tasks_without_lock))
    for module in (leasing, assigning, submitting):
        monkeypatch.setattr(module, "locked", without_lock)
    return crowd_at_work(InProcess(), size=size, pairs=pairs, pauses=0, seed=1, seconds=seconds)


@pytest.mark.postgres
def test_without_the_lock_a_pair_gets_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    with without_constraints():
        crowd = run_without_lock(monkeypatch, size=12, pairs=8, seconds=10)
        assert "no_overshoot" in crowd.seen + [c.name for c in check_invariants(now=timezone.now()) if c.broken]


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(3600)
def test_without_the_lock_two_hundred_people_break_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    with without_constraints():
        crowd = run_without_lock(monkeypatch, size=200, pairs=2000, seconds=120)
        assert "no_overshoot" in crowd.seen
