"""Hidden repeats: drawn by seed, sides swapped, paid, and counted for nothing but consistency."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from annotation import repeating
from annotation.aggregating import vote_frame
from annotation.assigning import Answer, Opening, next_assignment, open_tasks, progress_of, revise, skip, submit
from annotation.checking import check_invariants
from annotation.models import Assignment, AssignmentState, OutboxEvent, Preference, Project, Rater, Task
from annotation.repeating import GAP, is_due
from tests.builders import make_pair, make_person, make_project

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def project() -> Project:
    project = make_project(lease_seconds=600)
    open_tasks(project, [Opening(make_pair(project).pk, float(-number)) for number in range(60)], votes_wanted=1)
    return project


@pytest.fixture
def ben(project: Project) -> Rater:
    return make_person(project)


def answer(project: Project, rater: Rater, times: int, *, percent: float = 0.0, since: int = 0) -> None:
    for number in range(times):
        now = NOW + timedelta(minutes=since + number)
        one = next_assignment(project, rater, now=now, repeat_percent=percent).assignment
        assert one is not None
        submit(one.pk, rater, Answer("a", 2), now=now)


def lease_repeat(project: Project, rater: Rater, minute: int = 100) -> Assignment:
    one = next_assignment(project, rater, now=NOW + timedelta(minutes=minute), repeat_percent=50.0).assignment
    assert one is not None
    return one


@pytest.fixture
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotation.assigning.is_due", lambda *args, **options: True)


def test_about_as_many_leases_are_repeats_as_asked(project: Project, ben: Rater) -> None:
    due = [number for number in range(10_000) if is_due(project, ben, number, percent=3.0)]
    assert 250 < len(due) < 350
    assert min(due) >= GAP
    assert due == [number for number in range(10_000) if is_due(project, ben, number, percent=3.0)]


def test_the_same_pair_comes_again_with_the_sides_swapped(project: Project, ben: Rater, always_due: None) -> None:
    answer(project, ben, GAP + 5)
    repeat = lease_repeat(project, ben)
    first = repeat.repeats
    assert first is not None
    assert first.task_id == repeat.task_id
    assert first.shown_order == repeat.shown_order[::-1]
    assert repeat.slot is None
    # One of the five before the last twenty: nobody remembers it.
    assert first.finished_at is not None
    assert first.finished_at < NOW + timedelta(minutes=5)


def test_its_answer_counts_for_nothing_but_is_work(project: Project, ben: Rater, always_due: None) -> None:
    answer(project, ben, GAP + 5)
    events, tasks = OutboxEvent.objects.count(), list(Task.objects.order_by("pk").values())
    votes = len(vote_frame(project))
    repeat = lease_repeat(project, ben)
    stored = submit(repeat.pk, ben, Answer("b", 1), now=NOW + timedelta(minutes=101))
    assert isinstance(stored, Preference)
    assert repeat.repeats is not None
    assert (stored.is_current, stored.repeats) == (False, repeat.repeats.preference)
    assert OutboxEvent.objects.count() == events
    assert list(Task.objects.order_by("pk").values()) == tasks
    assert len(vote_frame(project)) == votes
    assert progress_of(project, ben).done == GAP + 6
    assert [check for check in check_invariants(now=NOW) if check.broken] == []


def test_nothing_is_repeated_twice(project: Project, ben: Rater, always_due: None) -> None:
    answer(project, ben, GAP + 2)
    again = set()
    for minute in (100, 101):
        repeat = lease_repeat(project, ben, minute)
        again.add(repeat.repeats_id)
        submit(repeat.pk, ben, Answer("a"), now=NOW + timedelta(minutes=minute))
    assert len(again - {None}) == 2
    # Nothing else is old enough.
    assert lease_repeat(project, ben, 102).repeats is None


def test_a_repeat_can_be_skipped_and_changed_like_any_pair(project: Project, ben: Rater, always_due: None) -> None:
    answer(project, ben, GAP + 5)
    skipped = lease_repeat(project, ben)
    skip(skipped.pk, ben, reason="unclear", now=NOW + timedelta(minutes=101))
    assert Assignment.objects.get(pk=skipped.pk).state == AssignmentState.SKIPPED
    answer(project, ben, 1, since=102)
    repeat = lease_repeat(project, ben, 103)
    first = submit(repeat.pk, ben, Answer("b"), now=NOW + timedelta(minutes=104))
    changed = revise(repeat.pk, ben, Answer("tie"), now=NOW + timedelta(minutes=105))
    assert isinstance(changed, Preference)
    assert (changed.replaces, changed.is_current, changed.repeats_id is not None) == (first, False, True)
    assert [check for check in check_invariants(now=NOW) if check.broken] == []


def test_who_skips_a_repeat_does_not_get_the_next_one(project: Project, ben: Rater, always_due: None) -> None:
    answer(project, ben, GAP + 5)
    skip(lease_repeat(project, ben).pk, ben, reason="unclear", now=NOW + timedelta(minutes=101))
    assert lease_repeat(project, ben, 102).repeats is None
    assert Assignment.objects.filter(repeats__isnull=False).count() == 1


def test_there_is_nothing_to_repeat_in_the_first_answers(project: Project, ben: Rater) -> None:
    answer(project, ben, GAP, percent=50.0)
    assert not Assignment.objects.filter(repeats__isnull=False).exists()


def test_a_lost_draw_leases_a_new_pair(project: Project, ben: Rater, monkeypatch: Any) -> None:
    monkeypatch.setattr(repeating, "GAP", 0)
    monkeypatch.setattr("annotation.assigning.is_due", lambda *args, **options: False)
    answer(project, ben, 3)
    assert lease_repeat(project, ben).repeats is None
