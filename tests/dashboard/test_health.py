"""The two addresses a supervisor asks."""

from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from pytest_django.fixtures import DjangoAssertNumQueries, Settings

from tests.judge_server import JudgeServer, Served, failure


def test_a_process_lives_without_asking_the_database(
    client: Client, db: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        response = client.get("/livez")
    assert (response.status_code, response.text) == (200, "ok")


def test_ready_when_database_tables_and_broker_answer(
    client: Client, db: None, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "messages").mkdir()
    settings.BROKER_URL, settings.BROKER_DIR = "filesystem://", tmp_path
    response = client.get("/readyz")
    assert (response.status_code, response.text) == (200, "ok")


def test_a_missing_broker_folder_is_named(client: Client, db: None, settings: Settings, tmp_path: Path) -> None:
    settings.BROKER_URL, settings.BROKER_DIR = "filesystem://", tmp_path / "gone"
    response = client.get("/readyz")
    assert (response.status_code, response.text) == (503, "down: broker")


@pytest.mark.django_db
def test_tables_of_another_version_are_named(client: Client, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "messages").mkdir()
    settings.BROKER_URL, settings.BROKER_DIR = "filesystem://", tmp_path
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'exports'")
    response = client.get("/readyz")
    assert (response.status_code, response.text) == (503, "down: migrations")


def test_a_broker_that_refuses_connections_is_down_within_seconds() -> None:
    import time

    from celery import Celery

    from dashboard.probing import connects

    begun = time.monotonic()
    assert connects(Celery("test", broker="amqp://guest:guest@127.0.0.1:1//")) is False
    assert time.monotonic() - begun < 10


@pytest.mark.rabbitmq
def test_a_broker_that_listens_is_up() -> None:
    from celery import Celery

    from dashboard.probing import connects
    from tests.services import RABBITMQ_URL

    assert connects(Celery("test", broker=RABBITMQ_URL)) is True


def test_helpers_that_only_judges_wait_for_are_named_beside_ok(
    client: Client, db: None, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "messages").mkdir()
    settings.BROKER_URL, settings.BROKER_DIR = "filesystem://", tmp_path
    settings.VLLM_URL = "http://127.0.0.1:1"
    response = client.get("/readyz")
    assert (response.status_code, response.text) == (200, "ok, without: vllm")
    with JudgeServer() as server:
        settings.VLLM_URL = server.base_url.removesuffix("/v1")
        server.routes = {"GET /health": lambda _call: Served()}
        assert client.get("/readyz").text == "ok"
        server.routes = {"GET /health": lambda _call: failure(503)}
        assert client.get("/readyz").text == "ok, without: vllm"


@pytest.mark.rabbitmq
def test_a_queue_without_a_worker_has_no_consumers() -> None:
    from celery import Celery
    from kombu import Queue

    from dashboard.probing import consumers
    from tests.services import RABBITMQ_URL

    app = Celery("test", broker=RABBITMQ_URL)
    assert consumers(app, "tiebreak-test-never-declared") == 0
    with app.connection() as connection:
        queue = Queue("tiebreak-test-health", auto_delete=True, exclusive=False)(connection.default_channel)
        queue.declare()
        assert consumers(app, queue.name) == 0
        consumer = connection.Consumer([queue], callbacks=[lambda *_: None])
        with consumer:
            assert consumers(app, queue.name) == 1
        queue.delete()


def test_a_gpu_worker_is_only_missed_where_a_model_is_named(settings: Settings) -> None:
    from dashboard.probing import missing_helpers

    settings.BROKER_URL, settings.GPU_MODELS = "amqp://guest:guest@127.0.0.1:1//", {}
    assert missing_helpers() == []
    settings.GPU_MODELS = {"tiny": "/srv/tiny"}
    assert missing_helpers() == ["gpu worker"]
