"""Workers and their children are killed in the middle of a run; the scheduler's sweeps finish it."""

import os
import signal

import pytest
from pytest_django import Settings

from judges.models import JudgeRun, RunState, Verdict, VerdictState
from judges.running import start_run
from tests.faults.books import Books, read_books
from tests.faults.conftest import judged_project
from tests.faults.processes import Plant, scheduler, worker
from tests.faults.servers import PrivateRabbitMQ, wait_until
from tests.judge_server import JudgeServer

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.xdist_group("faults")]

PAIRS = 40
TASKS = 2
# One repeat of a fault in every run of the tests, three in the long sweeps.
REPEATS = pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.slow)])


def pairs_for(kills: int) -> int:
    """Return how many pairs keep a run going until its last kill, and well after it."""
    return 4 + 12 * kills


def answered() -> int:
    return Verdict.objects.filter(state=VerdictState.DONE).count()


def is_over(run: JudgeRun) -> bool:
    run.refresh_from_db()
    return run.state != RunState.RUNNING


def all_answered(pairs: int, *, extra_calls: int) -> Books:
    return Books(2 * pairs, 2 * pairs, 0, 0, 0, extra_calls, 0, pairs)


@REPEATS
def test_pool_child_killed(plant: Plant, judge: JudgeServer, kills: int) -> None:
    pairs = pairs_for(kills)
    run = start_run(judged_project(judge, pairs))
    with scheduler(plant):
        at_work = worker(plant, pool="prefork", size=TASKS)
        try:
            for kill in range(1, kills + 1):
                wait_until(lambda: answered() >= 12 * kill, seconds=120, what=f"{12 * kill} verdicts")  # noqa: B023
                os.kill(at_work.children()[-1], signal.SIGKILL)
                assert not is_over(run), "the run ended before the child was killed"
            wait_until(lambda: is_over(run), seconds=120, what="the run ends")
            at_work.require_alive()
        finally:
            at_work.kill()
    books = read_books(run, judge.calls)
    assert books == all_answered(pairs, extra_calls=books.extra_calls)
    # Of a dead child only what it had under way is asked again.
    assert books.extra_calls <= kills * plant.calls_a_task


@REPEATS
def test_worker_killed(plant: Plant, judge: JudgeServer, kills: int) -> None:
    pairs = pairs_for(kills)
    run = start_run(judged_project(judge, pairs))
    with scheduler(plant):
        at_work = worker(plant, size=TASKS)
        try:
            for kill in range(1, kills + 1):
                wait_until(lambda: answered() >= 12 * kill, seconds=120, what=f"{12 * kill} verdicts")  # noqa: B023
                at_work.restart()
                assert not is_over(run), "the run ended before the worker was killed"
            wait_until(lambda: is_over(run), seconds=120, what="the run ends")
        finally:
            at_work.kill()
    books = read_books(run, judge.calls)
    assert books == all_answered(pairs, extra_calls=books.extra_calls)
    assert books.extra_calls <= kills * TASKS * plant.calls_a_task


def test_queue_purged_in_mid_run(plant: Plant, judge: JudgeServer, broker: PrivateRabbitMQ) -> None:
    run = start_run(judged_project(judge, PAIRS))
    with scheduler(plant):
        at_work = worker(plant, size=TASKS)
        try:
            wait_until(lambda: answered() >= 8, seconds=120, what="8 verdicts")
            assert broker.empty("judges") > 0, "nothing waited in the queue"
            wait_until(lambda: is_over(run), seconds=120, what="the run ends")
        finally:
            at_work.kill()
    assert read_books(run, judge.calls) == all_answered(PAIRS, extra_calls=0)


@pytest.mark.slow
def test_stopping_worker_stores_what_it_asked_and_begins_nothing(
    plant: Plant, judge: JudgeServer, settings: Settings
) -> None:
    # A message a task: one that went on after the signal would end the run.
    settings.JUDGE_CHUNK_SIZE = PAIRS
    run = start_run(judged_project(judge, PAIRS))
    with scheduler(plant):
        at_work = worker(plant, size=TASKS)
        try:
            wait_until(lambda: answered() >= 8, seconds=120, what="8 verdicts")
            at_work.stop(seconds=10)
            assert answered() == len(judge.calls), "an answer that was paid for is not stored"
            assert not is_over(run), "the worker went on asking"
            at_work.restart()
            wait_until(lambda: is_over(run), seconds=120, what="the run ends")
        finally:
            at_work.kill()
    assert read_books(run, judge.calls) == all_answered(PAIRS, extra_calls=0)
