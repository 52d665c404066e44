"""Whether the parts this process needs answer: the database, its tables, the broker."""

import os
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httpx2
from amqp.exceptions import AMQPError
from celery import Celery, current_app
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from kombu.exceptions import KombuError

CONNECT_SECONDS = 2
GPU_QUEUE = "judges.gpu"


def failing_parts() -> list[str]:
    """Return the names of the parts that do not answer: 'database', 'migrations', 'broker'; an empty list is ready."""
    return [name for name, works in PARTS.items() if not works()]


def database_answers() -> bool:
    """Say whether the database answers a query."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def migrations_applied() -> bool:
    """Say whether every table is as this version of the code wants it."""
    try:
        executor = MigrationExecutor(connection)
        return not executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return False


def broker_answers() -> bool:
    """Say whether the broker takes a connection in two seconds; for one in a folder, whether it can be written."""
    if settings.BROKER_URL.startswith("filesystem://"):
        folder = settings.BROKER_DIR / "messages"
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    return connects(current_app)


def connects(app: Celery) -> bool:
    """Say whether an application's broker takes a connection within two seconds; one try."""
    try:
        with app.connection(connect_timeout=CONNECT_SECONDS) as broker:
            broker.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=CONNECT_SECONDS)
    except (OSError, KombuError):
        return False
    return True


def missing_helpers() -> list[str]:
    """Return the configured helpers that do not answer: 'gpu worker', 'vllm'. The site works without; judges wait."""
    return [name for name, there in HELPERS.items() if not there()]


def gpu_worker_listens() -> bool:
    """Say whether a worker takes from the queue of models; true where none is named, or the broker cannot say."""
    if not settings.GPU_MODELS or not settings.BROKER_URL.startswith("amqp"):
        return True
    return consumers(current_app, GPU_QUEUE) > 0


def consumers(app: Celery, queue: str) -> int:
    """Return how many workers take from a queue; 0 where it was never declared or the broker does not answer."""
    try:
        with app.connection(connect_timeout=CONNECT_SECONDS) as broker:
            broker.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=CONNECT_SECONDS)
            channel: Any = broker.default_channel
            return int(channel.queue_declare(queue, passive=True).consumer_count)
    except (OSError, KombuError, AMQPError):
        return 0


def vllm_is_healthy() -> bool:
    """Say whether the vLLM server of the setting says that it is healthy; true where there is none."""
    if not settings.VLLM_URL:
        return True
    try:
        answer = httpx2.get(f"{settings.VLLM_URL}/health", timeout=CONNECT_SECONDS, trust_env=False)
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return False
    return answer.status_code == HTTPStatus.OK


HELPERS: dict[str, Callable[[], bool]] = {"gpu worker": gpu_worker_listens, "vllm": vllm_is_healthy}
PARTS: dict[str, Callable[[], bool]] = {
    "database": database_answers,
    "migrations": migrations_applied,
    "broker": broker_answers,
}
