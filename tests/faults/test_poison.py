"""One question ends the process that asks it, every time; the others are answered and it fails with its reason."""

import os
import signal
import time

import pytest

from judges.models import RunState, Verdict, VerdictState
from judges.running import retry_failed, start_run
from judges.working import MAX_ATTEMPTS
from tests.faults.books import Books, read_books
from tests.faults.conftest import judged_project
from tests.faults.processes import CeleryProcess, Plant, scheduler, worker
from tests.faults.servers import wait_until
from tests.judge_server import Call, JudgeServer, Served, prefer_longer

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.xdist_group("faults")]

PAIRS = 15
TASKS = 2
POISON = "a long answer 7"


def test_poisonous_question_fails_with_its_reason_and_can_be_asked_again(plant: Plant, judge: JudgeServer) -> None:
    deaths: list[float] = []
    at_work: CeleryProcess

    def die_of_poison(call: Call) -> Served:
        # In one order only: the other order of the same pair must get its answer.
        if call.first == POISON:
            deaths.append(time.monotonic())
            os.killpg(at_work.process.pid, signal.SIGKILL)
        return prefer_longer(call)

    judge.behave = die_of_poison
    run = start_run(judged_project(judge, PAIRS))

    def is_over() -> bool:
        # The worker's supervisor starts it again; nobody else lifts a hand.
        at_work.revive()
        run.refresh_from_db()
        return run.state != RunState.RUNNING

    with scheduler(plant):
        at_work = worker(plant, size=TASKS)
        try:
            wait_until(is_over, seconds=200, what="the run ends")
            poisoned = Verdict.objects.get(state=VerdictState.FAILED)
            assert (poisoned.pair.response_a.text, poisoned.order) == (POISON, "ab")
            assert poisoned.attempts == MAX_ATTEMPTS
            assert poisoned.error == "Gave up after 5 attempts: each worker that asked ended before the answer."
            # On a busy machine an attempt may also end with its lease, before the call.
            assert 2 <= len(deaths) <= MAX_ATTEMPTS
            books = read_books(run, judge.calls)
            assert books == Books(2 * PAIRS, 2 * PAIRS - 1, 1, 0, 0, books.extra_calls, 0, PAIRS - 1)
            # Each death cost the poisonous call and the others under way.
            assert books.extra_calls <= len(deaths) * TASKS * plant.calls_a_task

            judge.behave = prefer_longer
            assert retry_failed(run) == 1
            wait_until(is_over, seconds=60, what="the run ends again")
        finally:
            at_work.kill()
    assert Verdict.objects.get(pk=poisoned.pk).state == VerdictState.DONE
    assert read_books(run, judge.calls).answered == 2 * PAIRS
