"""How many answers a pair wants, where it stands in the queue, and transactions that are begun again."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from annotation.assigning import Answer, Opening, Waiting, next_assignment, open_tasks, reprioritise, skip, submit
from annotation.errors import AnnotationError
from annotation.models import Assignment, Project, Rater, Task, TaskState, Tier
from annotation.retrying import TRIES, in_transaction
from annotation.voting import set_votes
from tests.annotation.test_assigning_races import at_once, broken
from tests.builders import make_pair, make_person, make_project
from tests.faults.servers import wait_until

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def study(pairs: int = 1, **votes: Any) -> tuple[Project, list[Rater]]:
    project = make_project(lease_seconds=600)
    openings = [Opening(make_pair(project).pk, float(-number)) for number in range(pairs)]
    open_tasks(project, openings, **{"votes_wanted": 2, **votes})
    return project, [make_person(project, name) for name in ("ben", "cyd", "ada")]


def lease(project: Project, rater: Rater) -> Assignment:
    held = next_assignment(project, rater, now=NOW).assignment
    assert held is not None
    return held


def answer(project: Project, rater: Rater, choice: str = "a") -> None:
    submit(lease(project, rater).pk, rater, Answer(choice), now=NOW)


def wanted() -> tuple[str, int, int | None]:
    task = Task.objects.get(tier=Tier.CROWD)
    return task.state, task.votes_wanted, task.most_votes


# --- More and fewer answers -----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_more_answers_open_a_pair_again_and_fewer_end_it() -> None:
    project, (ben, cyd, ada) = study()
    answer(project, ben)
    answer(project, cyd)
    assert wanted() == ("done", 2, None)
    assert set_votes(project, votes_wanted=3) == 1
    assert wanted() == ("open", 3, None)
    assert set_votes(project, votes_wanted=2) == 1
    assert wanted() == ("done", 2, None)
    set_votes(project, votes_wanted=3)
    answer(project, ada)
    assert wanted() == ("done", 3, None)
    assert project.votes_wanted == 3
    assert broken(NOW) == []


@pytest.mark.django_db
def test_fewer_answers_take_nothing_from_who_holds_the_pair_or_answered_it() -> None:
    project, (ben, cyd, ada) = study(votes_wanted=4)
    answer(project, ben)
    answer(project, cyd)
    held = lease(project, ada)
    assert set_votes(project, votes_wanted=1) == 1
    assert wanted() == ("open", 3, None)
    skip(held.pk, ada, reason="unclear", now=NOW)
    assert set_votes(project, votes_wanted=1) == 1
    assert wanted() == ("done", 2, None)
    assert set_votes(project, votes_wanted=1) == 0
    assert broken(NOW) == []


@pytest.mark.django_db
def test_a_split_grows_where_it_may_grow_from_now_on() -> None:
    project, (ben, cyd, _ada) = study()
    answer(project, ben, "a")
    answer(project, cyd, "b")
    assert wanted() == ("done", 2, None)
    set_votes(project, votes_wanted=2, most_votes=3)
    assert wanted() == ("open", 3, 3)
    assert broken(NOW) == []


@pytest.mark.django_db
def test_a_split_goes_to_an_expert_where_that_was_said() -> None:
    project, (ben, cyd, _ada) = study(expert_on_split=True, votes_wanted=3, most_votes=4)
    answer(project, ben, "a")
    answer(project, cyd, "b")
    set_votes(project, votes_wanted=2, most_votes=3)
    assert wanted() == ("done", 2, 3)
    assert Task.objects.get(tier=Tier.EXPERT).state == TaskState.OPEN
    assert broken(NOW) == []


@pytest.mark.django_db
def test_numbers_that_cannot_be_and_closed_pairs_change_nothing() -> None:
    project, _ = study()
    for number, most in ((0, None), (100, None), (3, 2)):
        with pytest.raises(AnnotationError):
            set_votes(project, votes_wanted=number, most_votes=most)
    Task.objects.update(state=TaskState.CLOSED)
    assert set_votes(project, votes_wanted=5, pair_ids=[Task.objects.get().pair_id]) == 0
    assert wanted() == ("closed", 2, None)


# --- Another order --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_another_order_moves_what_is_open_and_leaves_what_is_held() -> None:
    project, (ben, cyd, _ada) = study(3, votes_wanted=1)
    held = lease(project, ben)
    first, second, third = Task.objects.order_by("-priority")
    assert held.task_id == first.pk
    moves = [Opening(first.pair_id, -5.0), Opening(second.pair_id, second.priority), Opening(third.pair_id, 9.0)]
    assert reprioritise(project, moves) == 2
    assert list(Task.objects.order_by("-priority")) == [third, second, first]
    assert lease(project, cyd).task_id == third.pk
    assert lease(project, ben) == held
    with pytest.raises(AnnotationError, match="is not a number"):
        reprioritise(project, [Opening(first.pair_id, float("nan"))])


@pytest.mark.django_db
def test_pairs_opened_with_priorities_kept_leave_those_of_what_is_there() -> None:
    project, _ = study()
    task = Task.objects.get()
    new = make_pair(project)
    opened = open_tasks(
        project, [Opening(task.pair_id, 7.0), Opening(new.pk, 8.0)], votes_wanted=1, keep_priorities=True
    )
    assert opened == 1
    assert set(Task.objects.values_list("pair_id", "priority")) == {(task.pair_id, 0.0), (new.pk, 8.0)}


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_long_transaction_that_opens_pairs_lets_people_answer_those_that_are_there() -> None:
    """As a plan is applied: its transaction is not over, and a pair it would move is answered and leased."""
    project, (ben, cyd, _ada) = study(2)
    held = lease(project, ben)
    tasks = list(Task.objects.all())
    opened, answered = threading.Event(), threading.Event()

    def apply() -> None:
        with transaction.atomic():
            openings = [Opening(task.pair_id, 5.0) for task in tasks]
            open_tasks(project, openings, votes_wanted=2, keep_priorities=True)
            opened.set()
            assert answered.wait(timeout=10)
        assert reprioritise(project, openings) == 2

    def work() -> None:
        assert opened.wait(timeout=10)
        submit(held.pk, ben, Answer("a"), now=NOW)
        assert next_assignment(project, cyd, now=NOW).waiting is not Waiting.NONE_FREE
        answered.set()

    at_once([apply, work])
    assert set(Task.objects.values_list("priority", flat=True)) == {5.0}
    assert broken(NOW) == []


# --- Broken off by the database -------------------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_deadlock_that_others_cause_costs_no_answer() -> None:
    """Somebody locks the tasks against our order, holding one that an answer and a lease wait for."""
    project, (ben, _cyd, _ada) = study(2)
    held = lease(project, ben)
    other = Task.objects.exclude(pk=held.task_id).get()
    both = threading.Barrier(2)

    def against_the_order() -> None:
        with transaction.atomic():
            list(Task.objects.select_for_update().filter(pk=held.task_id))
            both.wait(timeout=10)
            # Who waits first is broken off: PostgreSQL looks for a deadlock when somebody has waited for a second.
            wait_until(somebody_waits, seconds=10, what="the other one waits for a row")
            list(Task.objects.select_for_update().filter(pk=other.pk))

    def answer_both() -> None:
        first = []

        def work() -> None:
            list(Task.objects.select_for_update().filter(pk=other.pk))
            first.append(True)
            if len(first) == 1:
                both.wait(timeout=10)
            list(Task.objects.select_for_update().filter(pk=held.task_id))

        in_transaction(work)
        # Begun again, and once more where it took the row before the one who waits for it woke.
        assert len(first) >= 2
        submit(held.pk, ben, Answer("a"), now=NOW)

    at_once([against_the_order, answer_both])
    assert Assignment.objects.answered().count() == 1
    assert broken(NOW) == []


def somebody_waits() -> bool:
    """Say whether a session of this database waits for a lock; `pg_stat_activity` would be read once a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_locks"
            " WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())))"
        )
        (waits,) = cursor.fetchone()
    return bool(waits)


class BrokenOff(Exception):
    sqlstate = "40001"


@pytest.mark.django_db(transaction=True)
def test_a_transaction_is_begun_again_a_few_times_and_only_where_nothing_else_hangs_on_it() -> None:
    tried: list[int] = []

    def work(error: type[Exception] = BrokenOff) -> None:
        tried.append(1)
        raise OperationalError("broken off") from error()

    with pytest.raises(OperationalError):
        in_transaction(work)
    assert len(tried) == TRIES
    tried.clear()
    with pytest.raises(OperationalError):
        in_transaction(lambda: work(ValueError))
    with pytest.raises(OperationalError), transaction.atomic():
        in_transaction(work)
    assert len(tried) == 2
