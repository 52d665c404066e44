"""The two addresses a supervisor asks."""

from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from pytest_django.fixtures import DjangoAssertNumQueries, Settings


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
