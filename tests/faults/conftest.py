"""The broker that the fault tests kill, and a project for a judge to work on."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.app import app_or_default
from kombu import Connection, pools
from pytest_django import Settings

from config.celery import DEAD_LETTERS, QUEUES, Queues
from judges.defining import add_judge
from judges.models import JudgeVersion
from tests.builders import make_pair, make_project
from tests.faults.processes import CALL_SECONDS, LEASE_SECONDS, Plant, database_url
from tests.faults.servers import PrivateRabbitMQ, amqp_channel
from tests.judge_server import JudgeServer

LATENCY_SECONDS = 0.3


@pytest.fixture(scope="session")
def own_rabbitmq() -> Iterator[PrivateRabbitMQ]:
    """Return the session's RabbitMQ node; a test that kills it starts it again."""
    with PrivateRabbitMQ() as node:
        yield node


@pytest.fixture
def broker(own_rabbitmq: PrivateRabbitMQ, settings: Settings) -> Iterator[PrivateRabbitMQ]:
    """Return the node without queues; what this process sends, as the web server does, goes there."""
    if not own_rabbitmq.answers():
        # The test before failed while it had the node down.
        own_rabbitmq.kill()
        own_rabbitmq.start()
    with Connection(own_rabbitmq.url) as connection:
        for queue in (*QUEUES, DEAD_LETTERS.name):
            amqp_channel(connection).queue_delete(queue)
    settings.BROKER_URL = own_rabbitmq.url
    with sending_to(own_rabbitmq.url):
        yield own_rabbitmq


@contextmanager
def sending_to(url: str) -> Iterator[Celery]:
    """Make this process's Celery application one of the same configuration at another broker."""
    own = app_or_default()
    other = Celery("tiebreak", amqp=Queues, set_as_current=True)
    names = ("broker_transport_options", "broker_connection_timeout", "broker_pool_acquire_timeout", "task_queues")
    other.conf.update({name: own.conf[name] for name in (*names, "task_routes", "task_default_queue")}, broker_url=url)
    try:
        yield other
    finally:
        pool: Any = other.pool
        pool.force_close_all()
        # Pools are found again by their address, also when they are closed.
        for group in (pools.producers, pools.connections):
            with suppress(KeyError):
                del group[other.connection_for_write()]
        other.close()
        own.set_current()


@pytest.fixture
def plant(broker: PrivateRabbitMQ, transactional_db: None, settings: Settings, tmp_path: Path) -> Plant:
    """Return what a test's processes share, and give this process the same settings."""
    return shared_settings(Plant(database_url(), broker.url, tmp_path), settings)


def shared_settings(plant: Plant, settings: Settings) -> Plant:
    """Give this process the settings that a plant's processes read from their environment."""
    settings.JUDGE_CHUNK_SIZE = plant.chunk_size
    settings.JUDGE_LEASE_SECONDS = LEASE_SECONDS
    settings.JUDGE_TIMEOUT_SECONDS = CALL_SECONDS
    return plant


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    """Return a judge that takes its time and prefers the longer response."""
    with JudgeServer(latency=LATENCY_SECONDS) as server:
        yield server


def judged_project(judge: JudgeServer, pairs: int) -> JudgeVersion:
    """Return a judge of a new project whose pairs all have texts of their own; response a is the longer one."""
    project = make_project()
    for number in range(pairs):
        make_pair(project, response_a=f"a long answer {number}", response_b=f"short {number}")
    return add_judge(project, "stub", kind="openai", base_url=judge.base_url, model="m")
