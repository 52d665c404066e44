"""RabbitMQ is killed, stays away, or takes nothing in; the run finishes, and the web site goes on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from celery.signals import after_task_publish
from django.test import Client
from kombu import Connection

from annotation.publishing import CONFIRM_SECONDS, wake
from config.celery import DEAD_LETTERS, DELIVERY_LIMIT, QUEUES
from dashboard import waiting
from judges.models import JudgeRun, RunState, Verdict, VerdictState
from judges.running import start_run
from tests.builders import make_pair
from tests.faults.books import Books, read_books
from tests.faults.conftest import judged_project
from tests.faults.processes import Plant, scheduler, wait_for_start, worker
from tests.faults.servers import PrivateRabbitMQ, amqp_channel, wait_until
from tests.judge_server import JudgeServer

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq]

TASKS = 2
# What one click may take while the broker is away: two tries to send, each of two seconds at most.
CLICK_SECONDS = 5.0


def answered() -> int:
    return Verdict.objects.filter(state=VerdictState.DONE).count()


def is_over(run: JudgeRun) -> bool:
    run.refresh_from_db()
    return run.state != RunState.RUNNING


@contextmanager
def broker_dies_after(messages: int, broker: PrivateRabbitMQ) -> Iterator[None]:
    """Kill the broker as soon as this process has sent so many messages."""
    sent = 0

    def count(**_kwargs: Any) -> None:
        nonlocal sent
        sent += 1
        if sent == messages:
            broker.kill()

    after_task_publish.connect(count, weak=False)
    try:
        yield
    finally:
        after_task_publish.disconnect(count)
    assert sent == messages, "the broker did not die while messages were sent"


@pytest.mark.xdist_group("faults")
@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_broker_killed_while_messages_are_sent_and_in_the_run(
    plant: Plant, judge: JudgeServer, broker: PrivateRabbitMQ, kills: int
) -> None:
    pairs, before = 15 + 15 * kills, 4
    version = judged_project(judge, pairs)
    with scheduler(plant):
        at_work = worker(plant, size=TASKS)
        try:
            # A broker in use: one that dies within a moment of its very first declaration loses the queue itself.
            first_run = start_run(version, limit=before)
            wait_until(lambda: is_over(first_run), seconds=120, what="a first run ends")
            with broker_dies_after(3, broker):
                run = start_run(version)
            broker.start()
            for kill in range(1, kills + 1):
                wanted = 2 * before + 20 * kill
                wait_until(lambda: answered() >= wanted, seconds=120, what=f"{wanted} verdicts")  # noqa: B023
                broker.kill()
                assert not is_over(run), "the run ended before the broker was killed"
                broker.start()
            wait_until(lambda: is_over(run), seconds=120, what="the run ends")
            at_work.require_alive()
        finally:
            at_work.kill()
    # No process that asks was harmed: not one call is made twice.
    assert read_books([first_run, run], judge.calls) == Books(2 * pairs, 2 * pairs, 0, 0, 0, 0, 0, pairs)


@pytest.mark.xdist_group("faults-outage")
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("away_seconds", "patience_seconds"), [(15, 5), pytest.param(120, 60, marks=pytest.mark.slow)])
def test_broker_away_for_long(
    plant: Plant,
    judge: JudgeServer,
    broker: PrivateRabbitMQ,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    away_seconds: float,
    patience_seconds: float,
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", timedelta(seconds=patience_seconds))
    pairs = 40
    version = judged_project(judge, pairs)
    project = version.judge.project
    ada = project.memberships.get(user__username="ada").user
    client.force_login(ada)
    run = start_run(version)
    with scheduler(plant):
        at_work = worker(plant, size=TASKS)
        try:
            wait_until(lambda: answered() >= 20, seconds=120, what="20 verdicts")
            broker.kill()
            gone = time.monotonic()
            assert client.get("/readyz").text == "down: broker"

            # A manager imports another pair and starts another run; nothing fails, and nothing hangs.
            make_pair(project, response_a="a long answer that came late", response_b="short and late")
            begun = time.monotonic()
            late_run = start_run(version)
            assert time.monotonic() - begun < CLICK_SECONDS
            slowest = 0.0
            while time.monotonic() - gone < away_seconds:
                for page in ("/", f"/projects/{project.slug}/", f"/projects/{project.slug}/judges/", "/livez"):
                    begun = time.monotonic()
                    assert client.get(page).status_code == 200
                    slowest = max(slowest, time.monotonic() - begun)
                time.sleep(min(5.0, away_seconds / 5))
            assert slowest < CLICK_SECONDS
            assert "Waiting for a worker since" in client.get(f"/projects/{project.slug}/").text
            assert not is_over(late_run)

            broker.start()
            wait_until(lambda: is_over(run) and is_over(late_run), seconds=120, what="both runs end")
            at_work.require_alive()
            assert client.get("/readyz").text == "ok"
            assert "Waiting for a worker since" not in client.get(f"/projects/{project.slug}/").text
        finally:
            at_work.kill()
    pairs += 1
    assert read_books([run, late_run], judge.calls) == Books(2 * pairs, 2 * pairs, 0, 0, 0, 0, 0, pairs)


@pytest.mark.slow
@pytest.mark.xdist_group("faults")
def test_broker_without_memory_keeps_no_click_waiting(
    plant: Plant, judge: JudgeServer, broker: PrivateRabbitMQ
) -> None:
    version = judged_project(judge, 4)
    at_work = worker(plant, size=1)
    try:
        wait_for_start(at_work)
        nothing = {"run_id": str(version.pk), "verdict_ids": []}
        assert wake(["judges.tasks.judge_chunk"], nothing) is True
        broker.control("set_vm_memory_high_watermark", "0.000001")
        # Over the connection kept from before, and over a new one.
        for _click in range(2):
            begun = time.monotonic()
            # The broker takes the message off the wire, and says nothing until it has memory again.
            assert wake(["judges.tasks.judge_chunk"], nothing) is False
            assert time.monotonic() - begun < CONFIRM_SECONDS + 1
        run = start_run(version)
        broker.control("set_vm_memory_high_watermark", "0.9")
        with scheduler(plant):
            wait_until(lambda: is_over(run), seconds=120, what="the run ends")
    finally:
        at_work.kill()
        broker.control("set_vm_memory_high_watermark", "0.9")
    assert read_books(run, judge.calls) == Books(8, 8, 0, 0, 0, 0, 0, 4)


@pytest.mark.xdist_group("faults")
def test_first_worker_of_a_new_broker_declares_every_queue(plant: Plant, broker: PrivateRabbitMQ) -> None:
    at_work = worker(plant, size=1)
    try:
        wait_for_start(at_work)
    finally:
        at_work.kill()
    for queue in (*QUEUES, DEAD_LETTERS.name):
        assert broker.waiting(queue) == 0
    said = at_work.log.read_text()
    assert "CRITICAL" not in said
    assert "ERROR" not in said


@pytest.mark.xdist_group("faults")
def test_queue_of_an_older_version_is_named_with_what_to_do(plant: Plant, broker: PrivateRabbitMQ) -> None:
    with Connection(broker.url) as connection:
        amqp_channel(connection).queue_declare("judges", durable=True, auto_delete=False)
    assert wake(["judges.tasks.judge_chunk"], {"run_id": "1", "verdict_ids": []}) is False
    at_work = worker(plant, size=1)
    try:
        assert at_work.process.wait(timeout=60) != 0
    finally:
        at_work.kill()
    assert "The queue judges exists with other arguments" in at_work.log.read_text()
    assert "rabbitmqctl delete_queue judges" in at_work.log.read_text()


@pytest.mark.xdist_group("faults")
def test_message_whose_worker_dies_each_time_is_set_aside(plant: Plant, broker: PrivateRabbitMQ) -> None:
    at_work = worker(plant, size=1)
    try:
        wait_for_start(at_work)
    finally:
        at_work.kill()
    assert wake(["judges.tasks.judge_chunk"], {"run_id": "1", "verdict_ids": []}) is True
    for _delivery in range(DELIVERY_LIMIT + 1):
        wait_until(lambda: broker.waiting("judges") == 1, seconds=10, what="the message is there again")
        with Connection(broker.url) as connection:
            # Taken, and never acknowledged: the connection ends as a killed worker's does.
            assert amqp_channel(connection).basic_get("judges", no_ack=False) is not None
            connection.collect()
    wait_until(lambda: broker.waiting(DEAD_LETTERS.name) == 1, seconds=10, what="the message is set aside")
    assert broker.waiting("judges") == 0


@pytest.mark.xdist_group("faults")
def test_message_sent_over_a_connection_from_before_a_restart_arrives(plant: Plant, broker: PrivateRabbitMQ) -> None:
    payload = {"run_id": "1", "verdict_ids": []}
    assert wake(["judges.tasks.judge_chunk"], payload) is True
    wait_until(lambda: broker.waiting("judges") == 1, seconds=10, what="the first message waits")
    broker.control("stop_app")
    assert wake(["judges.tasks.judge_chunk"], payload) is False
    broker.control("start_app")
    assert wake(["judges.tasks.judge_chunk"], payload) is True
    wait_until(lambda: broker.waiting("judges") == 2, seconds=10, what="both messages wait")
