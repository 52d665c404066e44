"""PostgreSQL drops every connection and recovers, once and three times in the middle of a run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from pytest_django import DjangoDbBlocker, Settings

from judges.models import RunState, Verdict, VerdictState
from judges.running import start_run
from tests.faults.books import Books, read_books
from tests.faults.conftest import judged_project, shared_settings
from tests.faults.processes import Plant, database_url, scheduler, worker
from tests.faults.servers import PrivatePostgres, PrivateRabbitMQ, wait_until
from tests.judge_server import JudgeServer

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.xdist_group("faults")]

TASKS = 2


@pytest.fixture
def postgres(django_db_blocker: DjangoDbBlocker) -> Iterator[PrivatePostgres]:
    """Return a cluster of the test's own, with our tables, which this process uses until the test ends."""
    shared = dict(connection.settings_dict)
    with PrivatePostgres() as cluster, django_db_blocker.unblock():
        connection.close()
        place = {"HOST": "127.0.0.1", "PORT": str(cluster.port), "USER": "tiebreak", "PASSWORD": ""}
        connection.settings_dict.update(place, NAME=cluster.database)
        try:
            call_command("migrate", verbosity=0)
            yield cluster
        finally:
            connection.close()
            connection.settings_dict.update(shared)


@pytest.mark.parametrize("restarts", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_postgres_restarted(
    postgres: PrivatePostgres,
    broker: PrivateRabbitMQ,
    judge: JudgeServer,
    settings: Settings,
    tmp_path: Path,
    restarts: int,
) -> None:
    pairs = 4 + 12 * restarts
    plant = shared_settings(Plant(database_url(), broker.url, tmp_path), settings)
    run = start_run(judged_project(judge, pairs))

    def answered() -> int:
        return Verdict.objects.filter(state=VerdictState.DONE).count()

    def is_over() -> bool:
        run.refresh_from_db()
        return run.state != RunState.RUNNING

    with scheduler(plant):
        at_work = worker(plant, size=TASKS)
        try:
            for restart in range(1, restarts + 1):
                wait_until(lambda: answered() >= 12 * restart, seconds=120, what=f"{12 * restart} verdicts")  # noqa: B023
                assert not is_over(), "the run ended before the server was restarted"
                postgres.restart_at_once()
                with pytest.raises(OperationalError):
                    answered()
                connection.close()
            wait_until(is_over, seconds=120, what="the run ends")
            at_work.require_alive()
        finally:
            at_work.kill()
    books = read_books(run, judge.calls)
    assert books == Books(2 * pairs, 2 * pairs, 0, 0, 0, books.extra_calls, 0, pairs)
    # An answer that came while there was nowhere to store it is asked for again.
    assert books.extra_calls <= restarts * TASKS * plant.calls_a_task
