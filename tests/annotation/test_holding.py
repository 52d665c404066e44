"""Several pairs at a time: the one read and those ahead of it, each at a place of its own."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotation.assigning import (
    Answer,
    Opening,
    Waiting,
    expire_leases,
    next_assignment,
    open_tasks,
    progress_after,
    progress_of,
    release,
    renew,
    save_draft,
    skip,
    submit,
)
from annotation.checking import check_invariants
from annotation.models import Assignment, AssignmentState, Project, Rater, Task
from tests.annotation.test_assigning_races import at_once
from tests.builders import make_pair, make_person, make_project

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


def study(pairs: int) -> tuple[Project, Rater]:
    project = make_project(lease_seconds=600)
    open_tasks(project, [Opening(make_pair(project).pk, float(-number)) for number in range(pairs)], votes_wanted=1)
    return project, make_person(project)


def held(project: Project, rater: Rater, *, ahead: int = 2, now: datetime = NOW) -> tuple[Assignment, ...]:
    return next_assignment(project, rater, now=now, ahead=ahead).held


@pytest.mark.django_db
def test_the_best_pairs_are_held_in_order_with_their_texts() -> None:
    project, rater = study(5)
    found = held(project, rater)
    best = Task.objects.order_by("-priority")[:3]
    assert [one.task_id for one in found] == [task.pk for task in best]
    assert sorted(one.place for one in found if one.place is not None) == [0, 1, 2]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert all(one.task.pair.response_a.text and one.task.pair.prompt.messages for one in found)
    assert len(queries) == 0


@pytest.mark.django_db
def test_an_answer_frees_a_place_and_the_rest_stays_held() -> None:
    project, rater = study(5)
    first, *ahead = held(project, rater)
    submit(first.pk, rater, Answer("a"), now=LATER)
    again = held(project, rater, now=LATER)
    assert [one.pk for one in again[:2]] == [one.pk for one in ahead]
    assert again[2].place == first.place
    assert Task.objects.filter(taken=1).count() == 4


@pytest.mark.django_db
def test_fewer_pairs_than_places_are_all_held() -> None:
    project, rater = study(2)
    assert len(held(project, rater)) == 2
    assert next_assignment(project, make_person(project, "cyd"), now=NOW, ahead=2).waiting is Waiting.NONE_FREE


@pytest.mark.django_db
def test_renewing_one_renews_those_ahead() -> None:
    project, rater = study(3)
    first, *_ahead = held(project, rater)
    renew(first.pk, rater, now=LATER)
    assert set(Assignment.objects.values_list("lease_until", flat=True)) == {LATER + timedelta(seconds=600)}


@pytest.mark.django_db
def test_a_break_gives_back_what_is_not_begun() -> None:
    project, rater = study(3)
    begun, *_rest = held(project, rater)
    save_draft(begun.pk, rater, {"answer": "tie"}, now=NOW)
    assert release(project, rater) == 2
    assert {one.pk for one in held(project, rater, ahead=0)} == {begun.pk}
    assert len(held(project, make_person(project, "cyd"), ahead=1)) == 2
    assert [check for check in check_invariants(now=NOW) if check.broken] == []


@pytest.mark.django_db
def test_a_skipped_pair_ahead_leaves_the_others() -> None:
    project, rater = study(4)
    first, second, third = held(project, rater)
    skip(second.pk, rater, reason="unclear", now=NOW)
    assert {one.pk for one in held(project, rater)} > {first.pk, third.pk}
    assert second.task_id not in {one.task_id for one in held(project, rater)}


@pytest.mark.django_db
def test_pairs_ahead_that_ran_out_are_given_on() -> None:
    project, rater = study(3)
    held(project, rater)
    over = NOW + timedelta(hours=1)
    assert expire_leases(now=over) == 3
    assert set(Assignment.objects.values_list("state", "place")) == {(AssignmentState.EXPIRED, None)}
    assert len(held(project, make_person(project, "cyd"), now=over)) == 3


@pytest.mark.django_db
def test_progress_in_the_midst_of_work_asks_nothing() -> None:
    project, rater = study(4)
    rater.answered = 0
    assert progress_of(project, rater)[:2] == (0, 4)
    rater.answered = 1
    with CaptureQueriesContext(connection) as queries:
        assert progress_after(project, rater)[:2] == (1, 3)
    assert len(queries) == 0


@pytest.mark.django_db
def test_open_pairs_are_counted_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotation.assigning.COUNTED", 3)
    project, rater = study(5)
    progress = progress_of(project, rater)
    assert (progress.available, progress.more) == (3, True)
    held(project, rater)
    assert progress_of(project, rater)[:2] == (0, 5)


@pytest.mark.django_db(transaction=True)
def test_tabs_of_one_person_fill_each_place_once() -> None:
    project, rater = study(20)
    found = at_once([lambda: held(project, rater)] * 6)
    assert Assignment.objects.count() == 3
    assert set(Assignment.objects.values_list("place", flat=True)) == {0, 1, 2}
    assert {one.pk for many in found for one in many} == set(Assignment.objects.values_list("pk", flat=True))
    assert [check for check in check_invariants(now=NOW) if check.broken] == []


@pytest.mark.django_db
def test_somebody_with_many_answers_is_served_from_where_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotation.assigning.MANY_ANSWERS", 2)
    project, rater = study(6)
    rater.answered = 2
    first, *_ahead = held(project, rater)
    pair = make_pair(project)
    open_tasks(project, [Opening(pair.pk, 10.0)], votes_wanted=1)
    submit(first.pk, rater, Answer("a"), now=NOW)
    # The new pair stands before all others, and is not looked for yet.
    assert pair.pk not in {one.task.pair_id for one in held(project, rater)}
    second = held(project, rater)[0]
    submit(second.pk, rater, Answer("a"), now=NOW)
    assert pair.pk in {one.task.pair_id for one in held(project, rater, now=NOW + timedelta(seconds=20))}


@pytest.mark.django_db
def test_the_front_is_looked_at_where_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotation.assigning.MANY_ANSWERS", 0)
    project, rater = study(2)
    rater.answered = 0
    assert len(held(project, rater)) == 2
    pair = make_pair(project)
    open_tasks(project, [Opening(pair.pk, 10.0)], votes_wanted=1)
    assert pair.pk in {one.task.pair_id for one in held(project, rater)}
