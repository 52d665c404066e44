"""What all tests share: a quick database, which tests one pass is enough for, and the rule for missing services."""

import os
from collections.abc import Collection, Iterator, Sequence
from functools import cache, partial
from typing import Any

import pytest
from django.db import connection
from django.db.backends.base.operations import BaseDatabaseOperations
from django.test import SimpleTestCase
from pytest_django import DjangoDbBlocker

from annotation.retrying import in_transaction
from tests.services import SERVICES

# Whoever asks for one of these, himself or through another fixture, works on the database.
DATABASE_FIXTURES = {"db", "transactional_db", "live_server", "django_db_setup"}


@cache
def _missing(service: str) -> str:
    return SERVICES[service]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `pure` what touches neither the database nor a service: such a test is not run again on the servers."""
    for item in items:
        marked = any(item.get_closest_marker(name) for name in ("django_db", *SERVICES))
        fixtures: Collection[str] = getattr(item, "fixturenames", ())
        in_database_class = isinstance(item, pytest.Function) and issubclass(item.cls or object, SimpleTestCase)
        if not (marked or in_database_class or DATABASE_FIXTURES.intersection(fixtures)):
            item.add_marker("pure")


def _delete_rows(_style: Any, tables: Sequence[str], **_options: Any) -> list[str]:
    """Return statements that empty tables, with TRUNCATE's lock but without the new files that it makes for each."""
    names = [connection.ops.quote_name(table) for table in tables]
    locked = [f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE"] if names else []
    return locked + [f"DELETE FROM {name}" for name in names]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Make PostgreSQL's test database quick: commits wait for no disk (measured: 10 ms each), nor does a test's end.

    Locks and isolation are as ever. On a disk that syncs, TRUNCATE of every table took two seconds, DELETE 0.02. A
    browser's last request may still be under way when its test ends: who empties the tables tries again after a
    deadlock with it, or the next test would meet this one's rows.
    """
    if connection.vendor != "postgresql":
        yield
        return
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        name = connection.ops.quote_name(connection.settings_dict["NAME"])
        cursor.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with django_db_blocker.unblock():
        connection.close()
    # Of the class, since a browser's event loop gives its tests connections of their own.
    operations = type(connection.ops)
    empty = operations.execute_sql_flush

    def empty_again(ops: BaseDatabaseOperations, sql: Sequence[str]) -> None:
        in_transaction(partial(empty, ops, sql))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "sql_flush", lambda _ops, *args, **options: _delete_rows(*args, **options))
        patch.setattr(operations, "execute_sql_flush", empty_again)
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose service is missing; with REQUIRE_SERVICES=1 fail it instead."""
    for service in SERVICES:
        if item.get_closest_marker(service) and (reason := _missing(service)):
            if os.environ.get("REQUIRE_SERVICES") == "1":
                pytest.fail(f"{service}: {reason}", pytrace=False)
            pytest.skip(f"{service}: {reason}")
