"""With one safeguard off, the faults do their harm: so the tests beside this one can fail."""

from collections.abc import Iterator

import pytest
from django.db import connection

from annotation.publishing import wake
from judges.models import JudgeRun, RunState, Verdict
from judges.running import start_run
from tests.faults.books import Books, read_books
from tests.faults.conftest import judged_project
from tests.faults.processes import Plant, scheduler, wait_for_start, worker
from tests.faults.servers import PrivateRabbitMQ, wait_until
from tests.judge_server import JudgeServer

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.rabbitmq,
    pytest.mark.slow,
    pytest.mark.xdist_group("faults"),
]

PAIRS = 20
TASKS = 2
# PostgreSQL forgets that a row was claimed, whatever the worker believes.
FORGET_CLAIMS = """
CREATE FUNCTION forget_claim() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.state = OLD.state;
    NEW.attempts = OLD.attempts;
    RETURN NEW;
END $$;
CREATE TRIGGER forget_claim BEFORE UPDATE ON judges_verdict
FOR EACH ROW WHEN (NEW.state = 'claimed') EXECUTE FUNCTION forget_claim();
"""


def is_over(run: JudgeRun) -> bool:
    run.refresh_from_db()
    return run.state != RunState.RUNNING


@pytest.fixture
def forgotten_claims(transactional_db: None) -> Iterator[None]:
    """Make every claim of a verdict go unnoticed."""
    with connection.cursor() as cursor:
        cursor.execute(FORGET_CLAIMS)
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION forget_claim CASCADE")


def ask_everything_twice_at_once(plant: Plant, judge: JudgeServer) -> Books:
    """Send one message for the whole run twice, to two threads."""
    plant = plant._replace(chunk_size=2 * PAIRS)
    run = start_run(judged_project(judge, PAIRS), send=False)
    ids = [str(pk) for pk in Verdict.objects.order_by("pk").values_list("pk", flat=True)]
    for _copy in range(2):
        assert wake(["judges.tasks.judge_chunk"], {"run_id": str(run.pk), "verdict_ids": ids})
    with scheduler(plant):
        at_work = worker(plant, size=2)
        try:
            wait_until(lambda: is_over(run), seconds=120, what="the run ends")
        finally:
            at_work.kill()
    return read_books(run, judge.calls)


def test_message_delivered_twice_asks_nothing_twice(plant: Plant, judge: JudgeServer) -> None:
    assert ask_everything_twice_at_once(plant, judge) == Books(2 * PAIRS, 2 * PAIRS, 0, 0, 0, 0, 0, PAIRS)


@pytest.mark.usefixtures("forgotten_claims")
def test_without_claims_a_message_delivered_twice_is_paid_twice(plant: Plant, judge: JudgeServer) -> None:
    assert ask_everything_twice_at_once(plant, judge).extra_calls > TASKS * plant.calls_a_task


def test_without_late_acknowledgement_and_sweeps_a_killed_workers_questions_are_lost(
    plant: Plant, judge: JudgeServer, broker: PrivateRabbitMQ
) -> None:
    run = start_run(judged_project(judge, PAIRS))
    at_work = worker(plant, size=TASKS, application="tests.faults.careless")
    try:
        wait_until(lambda: len(judge.calls) >= 8, seconds=120, what="8 calls")
        at_work.restart()
        wait_until(lambda: broker.waiting("judges") == 0, seconds=120, what="every message is taken")
        at_work.stop(seconds=20)
    finally:
        at_work.kill()
    books = read_books(run, judge.calls)
    assert books.never_asked > 0
    assert books.open > 0


def test_without_sweeps_a_purged_queue_stops_the_run(plant: Plant, judge: JudgeServer, broker: PrivateRabbitMQ) -> None:
    run = start_run(judged_project(judge, PAIRS))
    assert broker.empty("judges") > 0
    at_work = worker(plant, size=TASKS)
    try:
        wait_for_start(at_work)
        assert at_work.stop(seconds=20) < 10
    finally:
        at_work.kill()
    assert read_books(run, judge.calls) == Books(2 * PAIRS, 0, 0, 2 * PAIRS, 2 * PAIRS, 0, 0, 0)
