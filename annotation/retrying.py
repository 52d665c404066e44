"""Transactions that PostgreSQL breaks off for another's sake are made again, since nothing of them was stored."""

from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, connection, transaction

T = TypeVar("T")

TRIES = 5
# Serialization failure and deadlock: https://www.postgresql.org/docs/current/errcodes-appendix.html, class 40.
BROKEN_OFF = {"40001", "40P01"}


def in_transaction(work: Callable[[], T]) -> T:
    """Run `work` in a transaction and return its result; one that was broken off is begun again, a few times.

    Locks are taken in one order, so this is for what others do beside us: a manager's own SQL, a dump, a migration.
    Inside another transaction nothing can be begun again: there the error goes on to who began it.
    """
    for left in reversed(range(TRIES)):
        try:
            with transaction.atomic():
                return work()
        except OperationalError as error:
            if left == 0 or connection.in_atomic_block or not was_broken_off(error):
                raise
    raise AssertionError("the last try returns or raises")


def was_broken_off(error: OperationalError) -> bool:
    """Say whether the database ended a transaction that may succeed when it is begun again."""
    return getattr(error.__cause__, "sqlstate", None) in BROKEN_OFF
