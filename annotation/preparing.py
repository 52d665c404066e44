"""Queries that are built and compiled once, and asked again with other values.

Django builds a query's SQL anew at every call, which takes longer than the database needs to answer the few that every
answer of a person asks (measured: 60 % of such a request). A prepared query is an ordinary queryset: its SQL, and how
its rows become instances, are Django's own.
"""

import threading
from collections.abc import Callable, Hashable, Sequence
from hashlib import sha256
from random import random
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Model, QuerySet
from django.db.models.query import get_related_populators
from django.db.transaction import TransactionManagementError
from psycopg import sql

M = TypeVar("M", bound=Model)
Value = UUID | str | float


_MARKS: dict[type[Any], Callable[[], Value]] = {
    UUID: uuid4,
    str: lambda: f"mark-{uuid4()}",
    float: lambda: -1e9 - random(),
}


class _Compiled(NamedTuple):
    """A compiler with its SQL, and at which places of the parameters each named value stands."""

    compiler: Any
    sql: str
    parameters: tuple[Any, ...]
    places: dict[str, list[int]]
    locks: bool
    name: str
    planned: str


class Prepared(Generic[M]):
    """A query of instances. `build(*shape, **values)` returns it as a queryset, whose SQL only `shape` decides.

    Values are ids and texts that stand in conditions as they are. Compiled once a thread, for each shape; a query that
    locks rows is refused outside of a transaction, as Django does when it compiles one.
    """

    def __init__(self, build: Callable[..., "QuerySet[M]"]) -> None:
        self._build = build
        self._known = threading.local()

    def fetch(self, *shape: Hashable, **values: Value) -> list[M]:
        """Return the instances; one query."""
        connection = connections[DEFAULT_DB_ALIAS]
        known: dict[Any, _Compiled] = self._known.__dict__.setdefault(connection.vendor, {})
        if (compiled := known.get(shape)) is None:
            compiled = known[shape] = self._compiled(shape, {name: type(value) for name, value in values.items()})
        if compiled.locks and connection.get_autocommit():
            raise TransactionManagementError("A query that locks rows is asked in a transaction, or it locks nothing.")
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql" and settings.PREPARED_STATEMENTS:
                _execute_planned(connection, cursor, compiled, values)
            else:
                parameters = list(compiled.parameters)
                for name, value in values.items():
                    for place in compiled.places[name]:
                        parameters[place] = _stored(value)
                cursor.execute(compiled.sql, parameters)
            rows = cursor.fetchall()
        return self._instances(compiled.compiler, rows)

    def _compiled(self, shape: tuple[Hashable, ...], kinds: dict[str, type[Any]]) -> _Compiled:
        # Values that stand nowhere else, so that they are found again among the parameters.
        marks = {name: _MARKS[kind]() for name, kind in kinds.items()}
        queryset = self._build(*shape, **marks)
        compiler = queryset.query.get_compiler(using=DEFAULT_DB_ALIAS)
        statement, parameters = compiler.as_sql()
        places = {
            name: [at for at, one in enumerate(parameters) if one == _stored(mark)] for name, mark in marks.items()
        }
        assert all(places.values()), f"a value stands in no condition: {places}"  # noqa: S101  (a mistake in the code)
        planned = _with_places(statement, parameters, places)
        name = f"tiebreak_{sha256(planned.encode()).hexdigest()[:24]}"
        return _Compiled(
            compiler, statement, tuple(parameters), places, queryset.query.select_for_update, name, planned
        )

    @staticmethod
    def _instances(compiler: Any, rows: list[tuple[Any, ...]]) -> list[M]:
        """Return rows as Django's own iteration over a queryset does (`django.db.models.query.ModelIterable`)."""
        kind, select = compiler.klass_info, compiler.select
        first, last = kind["select_fields"][0], kind["select_fields"][-1] + 1
        names = [column[0].target.attname for column in select[first:last]]
        # The stubs are those of Django 6, where this takes one more.
        populators = get_related_populators(kind, select, DEFAULT_DB_ALIAS)  # type: ignore[call-arg]
        found = []
        for row in compiler.results_iter([rows]):
            instance = kind["model"].from_db(DEFAULT_DB_ALIAS, names, row[first:last])
            for populator in populators:
                populator.populate(row, instance)
            for name, column in compiler.annotation_col_map.items():
                setattr(instance, name, row[column])
            found.append(instance)
        return found


# Which statements a session of PostgreSQL has, by the session: they end with it.
_planned: "WeakKeyDictionary[Any, set[str]]" = WeakKeyDictionary()


def _execute_planned(connection: Any, cursor: Any, compiled: _Compiled, values: dict[str, Value]) -> None:
    """Have the statement planned once a session, and ask it with these values.

    Planning takes PostgreSQL as long as answering. What is the same every time stands in the statement itself, so that
    a plan for any values may use the indexes with conditions.
    """
    there = _planned.setdefault(connection.connection, set())
    if compiled.name not in there:
        cursor.execute(f"PREPARE {compiled.name} AS {compiled.planned}")
        there.add(compiled.name)
    marks = ", ".join(["%s"] * len(compiled.places))
    cursor.execute(f"EXECUTE {compiled.name}({marks})", [values[name] for name in compiled.places])


def _with_places(statement: str, parameters: Sequence[Any], places: dict[str, list[int]]) -> str:
    """Return a statement with a numbered place for each named value and all others written out, for PostgreSQL."""
    numbers = {place: number for number, name in enumerate(places, start=1) for place in places[name]}
    texts = [
        f"${numbers[place]}" if place in numbers else sql.Literal(value).as_string(None)
        for place, value in enumerate(parameters)
    ]
    parts = statement.replace("%%", "%").split("%s")
    return "".join(part for pair in zip(parts, [*texts, ""], strict=True) for part in pair)


def _stored(value: Value) -> Value:
    """Return a value as the database takes it in a condition."""
    if isinstance(value, UUID) and not connections[DEFAULT_DB_ALIAS].features.has_native_uuid_field:
        return value.hex
    return value
