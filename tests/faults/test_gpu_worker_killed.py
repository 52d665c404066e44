"""A worker with a model in its own process is killed, or computes for longer than heartbeats allow."""

import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import pytest
from celery import current_app
from django.utils import timezone
from pytest_django import Settings

from annotation.models import Preference
from judges.defining import add_judge
from judges.models import JudgeRun, JudgeVersion, RunState, Verdict, VerdictState
from judges.running import start_run, sweep
from tests.builders import make_pair, make_project
from tests.faults.processes import Plant, solo_worker, wait_for_start
from tests.faults.servers import PrivateRabbitMQ, wait_until
from tests.faults.sleeping import TASK
from tests.judges.gpu.tiny_models import save_model

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.rabbitmq,
    pytest.mark.gpu_judge,
    pytest.mark.xdist_group("faults"),
]

PAIRS = 30
GROUP = 8


@pytest.fixture
def model(settings: Settings, tmp_path: Path) -> Mapping[str, str]:
    """Return the environment of a worker with a tiny model; this process has the same settings."""
    settings.GPU_MODELS = {"tiny": save_model(tmp_path / "tiny", max_position_embeddings=4096)}
    settings.GPU_GROUP_SIZE = GROUP
    return {
        "TIEBREAK_GPU_MODELS": json.dumps(settings.GPU_MODELS),
        "TIEBREAK_GPU_DEVICE": "cpu",
        "TIEBREAK_GPU_GROUP_SIZE": str(GROUP),
        # A question a forward pass: so the kill meets a group with some answered and some not.
        "TIEBREAK_GPU_TOKENS_A_BATCH": "1",
        # Its threads spin while they wait, and others want the processors.
        "OMP_NUM_THREADS": "1",
    }


def tiny_judge(pairs: int) -> JudgeVersion:
    project = make_project()
    for number in range(pairs):
        make_pair(project, response_a=f"a long answer {number}", response_b=f"short {number}")
    return add_judge(project, "tiny", kind="gpu", model="tiny", protocol="letter", sampling={"dtype": "float32"})


def answered_at(run: JudgeRun) -> dict[uuid.UUID, datetime | None]:
    return dict(run.verdicts.filter(state=VerdictState.DONE).values_list("pk", "finished_at"))


def is_over(run: JudgeRun) -> bool:
    """Do what the scheduler's sweep does, and say whether the run has ended."""
    sweep(now=timezone.now())
    run.refresh_from_db()
    return run.state != RunState.RUNNING


def test_killed_worker_loses_nothing_and_nothing_is_judged_twice(plant: Plant, model: Mapping[str, str]) -> None:
    run = start_run(tiny_judge(PAIRS))
    at_work = solo_worker(plant._replace(more=model))
    try:
        wait_until(lambda: len(answered_at(run)) >= 8, seconds=120, what="8 verdicts")
        at_work.kill()
        before = answered_at(run)
        assert len(before) < 2 * PAIRS, "the run ended before the worker was killed"
        held = run.verdicts.filter(state=VerdictState.CLAIMED).count()
        assert held > 0, "nothing was under way when the worker was killed"
        at_work.restart()
        wait_until(lambda: is_over(run), seconds=120, what="the run ends")
        at_work.require_alive()
    finally:
        at_work.kill()
    after = answered_at(run)
    assert len(after) == 2 * PAIRS
    assert {pk: after[pk] for pk in before} == before, "an answer that was stored was computed again"
    assert Preference.objects.filter(rater=run.version.rater, is_current=True).count() == PAIRS
    # What it had under way is asked again, and nothing else.
    assert run.verdicts.filter(attempts__gt=1).count() == held <= 2 * GROUP


@pytest.mark.slow
def test_without_sweeps_what_a_killed_worker_held_stays_open(plant: Plant, model: Mapping[str, str]) -> None:
    run = start_run(tiny_judge(PAIRS))
    at_work = solo_worker(plant._replace(more=model))
    try:
        wait_until(lambda: len(answered_at(run)) >= 8, seconds=120, what="8 verdicts")
        at_work.kill()
        held = set(run.verdicts.filter(state=VerdictState.CLAIMED).values_list("pk", flat=True))
        at_work.restart()
        wait_until(lambda: len(answered_at(run)) == 2 * PAIRS - len(held), seconds=120, what="the others are answered")
        assert at_work.stop(seconds=20) < 20
    finally:
        at_work.kill()
    assert held
    assert set(Verdict.objects.filter(run=run).exclude(state=VerdictState.DONE).values_list("pk", flat=True)) == held


@pytest.fixture
def impatient(broker: PrivateRabbitMQ) -> Iterator[PrivateRabbitMQ]:
    """Make RabbitMQ want a sign of life every second of whoever takes part in heartbeats."""
    broker.control("eval", "application:set_env(rabbit, heartbeat, 1).")
    yield broker
    broker.control("eval", "application:set_env(rabbit, heartbeat, 60).")


def deliveries(plant: Plant, queue: str) -> int:
    """Have a task sleep through six heartbeats; return how often its message was delivered until it was done with."""
    at_work = solo_worker(plant, queue=queue, application="tests.faults.sleeping")
    try:
        wait_for_start(at_work)
        current_app.send_task(TASK, [6.0], queue=queue)
        wait_until(lambda: "succeeded" in at_work.log.read_text(), seconds=60, what="the task ends")
        at_work.stop(seconds=30)
    finally:
        at_work.kill()
    return at_work.log.read_text().count(f"{TASK}[") - at_work.log.read_text().count("succeeded")


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_a_task_that_computes_longer_than_heartbeats_allow_keeps_its_connection(plant: Plant) -> None:
    assert deliveries(plant, "judges.gpu") == 1
    assert "Connection" not in (plant.folder / "gpu.log").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_with_heartbeats_the_same_task_loses_its_connection_and_comes_again(plant: Plant) -> None:
    deliveries(plant, "judges")
    assert "Connection" in (plant.folder / "gpu.log").read_text()


@pytest.mark.slow
def test_stopped_worker_stores_its_batch_and_gives_the_rest_back(plant: Plant, model: Mapping[str, str]) -> None:
    run = start_run(tiny_judge(PAIRS))
    at_work = solo_worker(plant._replace(more=model))
    try:
        wait_until(lambda: len(answered_at(run)) >= 8, seconds=120, what="8 verdicts")
        at_work.stop(seconds=60)
        before = answered_at(run)
        assert len(before) < 2 * PAIRS, "the run ended before the worker was stopped"
        waiting = run.verdicts.exclude(state=VerdictState.DONE)
        # As if they had never been asked: the next worker takes them at once, whatever the leases.
        assert set(waiting.values_list("state", "attempts")) == {(VerdictState.PENDING.value, 0)}
        at_work.restart()
        wait_until(lambda: is_over(run), seconds=120, what="the run ends")
    finally:
        at_work.kill()
    after = answered_at(run)
    assert len(after) == 2 * PAIRS
    assert {pk: after[pk] for pk in before} == before
    assert not run.verdicts.filter(attempts__gt=1).exists()
