"""Statements that are built and compiled once, and asked again with other values.

Django builds a statement's SQL anew at every call, which takes longer than the database needs for the few that every
answer of a person asks (measured: 60 % of such a request). A prepared statement is an ordinary queryset, update or
instance: its SQL, its values, and how its rows become instances, are Django's own. PostgreSQL plans it once a session.
"""

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from random import random
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID, uuid4

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.models import Field, Model, QuerySet
from django.db.models.query import get_related_populators
from django.db.models.sql import UpdateQuery
from django.db.transaction import TransactionManagementError
from psycopg import sql

M = TypeVar("M", bound=Model)
Value = UUID | str | float


_MARKS: dict[type[Any], Callable[[], Value]] = {
    UUID: uuid4,
    str: lambda: f"mark-{uuid4()}",
    float: lambda: -1e9 - random(),
}


class _Statement(NamedTuple):
    """A statement, and at which places of its parameters each named value stands."""

    sql: str
    parameters: tuple[Any, ...]
    places: Mapping[str, Sequence[int]]
    named: str

    @classmethod
    def of(cls, compiler: Any, marks: Mapping[str, Value]) -> "_Statement":
        statement, parameters = compiler.as_sql()
        places = {
            name: [at for at, one in enumerate(parameters) if one == _stored(mark)] for name, mark in marks.items()
        }
        assert all(places.values()), f"a value stands in no condition: {places}"  # noqa: S101  (a mistake in the code)
        return cls(statement, tuple(parameters), places, _with_names(statement, parameters, places))

    def ask(self, cursor: Any, values: Mapping[str, Value]) -> None:
        """Execute with these values, on a cursor of `_cursor`."""
        if _binds():
            cursor.execute(self.named, values)
            return
        parameters = list(self.parameters)
        for name, value in values.items():
            for place in self.places[name]:
                parameters[place] = _stored(value)
        cursor.execute(self.sql, parameters)


class _Query(NamedTuple):
    """A statement that reads, and how its rows become instances."""

    statement: _Statement
    locks: bool
    make: Callable[[list[tuple[Any, ...]]], list[Any]]


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
        query = _once(self._known, shape, lambda: self._compiled(shape, values))
        if query.locks and connections[DEFAULT_DB_ALIAS].get_autocommit():
            raise TransactionManagementError("A query that locks rows is asked in a transaction, or it locks nothing.")
        with _cursor() as cursor:
            query.statement.ask(cursor, values)
            rows = cursor.fetchall()
        found: list[M] = query.make(rows)
        return found

    def _compiled(self, shape: tuple[Hashable, ...], values: Mapping[str, Value]) -> _Query:
        marks = _marks_for(values)
        query = self._build(*shape, **marks).query
        compiler = query.get_compiler(using=DEFAULT_DB_ALIAS)
        return _Query(_Statement.of(compiler, marks), query.select_for_update, _maker(compiler))


class PreparedUpdate:
    """An update. `build(*shape, **values)` returns the queryset whose rows change, and what is set in them.

    What is said of `Prepared` holds here as well.
    """

    def __init__(self, build: Callable[..., tuple["QuerySet[Any]", Mapping[str, Any]]]) -> None:
        self._build = build
        self._known = threading.local()

    def update(self, *shape: Hashable, **values: Value) -> int:
        """Change the rows and return how many there were; one query."""
        statement = _once(self._known, shape, lambda: self._compiled(shape, values))
        with _cursor() as cursor:
            statement.ask(cursor, values)
            return int(cursor.rowcount)

    def _compiled(self, shape: tuple[Hashable, ...], values: Mapping[str, Value]) -> _Statement:
        marks = _marks_for(values)
        rows, changes = self._build(*shape, **marks)
        query: Any = rows.query.chain(UpdateQuery)
        query.add_update_values(changes)
        return _Statement.of(query.get_compiler(using=DEFAULT_DB_ALIAS), marks)


class PreparedSave(Generic[M]):
    """Stores instances of a model whose rows have no values of the database's own making: new ones, or some fields.

    As `save()` does for one that is new, or with these `update_fields`; without signals, and of this table alone.
    """

    def __init__(self, model: type[M], update_fields: Sequence[str] = ()) -> None:
        self._model = model
        self._only = update_fields
        self._known = threading.local()

    def save(self, instance: M) -> None:
        """Store an instance; one query. Raises `DatabaseError` for one whose row is gone."""
        connection = connections[DEFAULT_DB_ALIAS]
        adding = not self._only
        fields, statement = _once(self._known, (), self._compiled)
        values = [field.get_db_prep_save(field.pre_save(instance, adding), connection) for field in fields]
        with _cursor() as cursor:
            cursor.execute(statement, values)
            if cursor.rowcount != 1:
                raise DatabaseError(f"The row of this {self._model._meta.verbose_name} is not there any more.")
        instance._state.adding, instance._state.db = False, DEFAULT_DB_ALIAS

    def _compiled(self) -> "tuple[list[Field[Any, Any]], str]":
        """Return the fields whose values a statement takes, in order, and the statement."""
        meta: Any = self._model._meta
        quoted = connections[DEFAULT_DB_ALIAS].ops.quote_name
        fields: list[Any] = [meta.get_field(name) for name in self._only] or list(meta.concrete_fields)
        # Mistakes in the code: such a model is saved by Django.
        assert not any(field.generated or field.db_returning for field in meta.concrete_fields), meta.label  # noqa: S101
        assert not any(hasattr(field, "get_placeholder") for field in fields), meta.label  # noqa: S101
        columns, table = [quoted(field.column) for field in fields], quoted(meta.db_table)
        if not self._only:
            places = ", ".join(["%s"] * len(fields))
            return fields, f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608  (own names)
        changes = ", ".join(f"{column} = %s" for column in columns)
        return [*fields, meta.pk], f"UPDATE {table} SET {changes} WHERE {quoted(meta.pk.column)} = %s"  # noqa: S608


T = TypeVar("T")


def _once(known: threading.local, shape: Hashable, compiled: Callable[[], T]) -> T:
    """Return what was compiled for a shape in this thread, for the kind of database it is connected to."""
    made: dict[Any, T] = known.__dict__.setdefault(connections[DEFAULT_DB_ALIAS].vendor, {})
    if (found := made.get(shape)) is None:
        found = made[shape] = compiled()
    return found


def _marks_for(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return, for each value, one that stands nowhere else, so that it is found again among the parameters."""
    return {name: _MARKS[type(value)]() for name, value in values.items()}


def _maker(compiler: Any) -> Callable[[list[tuple[Any, ...]]], list[Any]]:
    """Return what makes rows instances as Django's own iteration over a queryset does.

    That is `django.db.models.query.ModelIterable`, with all that it finds out of a query found out once. Needs a
    compiler that has compiled.
    """
    kind, select = compiler.klass_info, compiler.select
    first, last = kind["select_fields"][0], kind["select_fields"][-1] + 1
    names = [column[0].target.attname for column in select[first:last]]
    # The stubs are those of Django 6, where this takes one more.
    populators = get_related_populators(kind, select, DEFAULT_DB_ALIAS)  # type: ignore[call-arg]
    converters = compiler.get_converters([column[0] for column in select[: compiler.col_count]])
    annotated = list(compiler.annotation_col_map.items())

    def make(rows: list[tuple[Any, ...]]) -> list[Any]:
        found = []
        for row in compiler.apply_converters(rows, converters) if converters else rows:
            instance = kind["model"].from_db(DEFAULT_DB_ALIAS, names, row[first:last])
            for populator in populators:
                populator.populate(row, instance)
            for name, column in annotated:
                setattr(instance, name, row[column])
            found.append(instance)
        return found

    return make


# --- How a statement reaches the database ---------------------------------------------------------------------------


def _binds() -> bool:
    return connections[DEFAULT_DB_ALIAS].vendor == "postgresql"


def _cursor() -> AbstractContextManager[Any]:
    """Return a cursor of Django's; on PostgreSQL one that sends values beside the statement.

    So psycopg has each statement planned once a session (unless `TIEBREAK_PREPARED_STATEMENTS` is off), which takes
    PostgreSQL as long as answering, and need not write values into its text.
    """
    connection: Any = connections[DEFAULT_DB_ALIAS]
    cursor: AbstractContextManager[Any]
    # A log of queries wants the values in them.
    if not _binds() or connection.queries_logged:
        cursor = connection.cursor()
        return cursor
    # As `connection.cursor()` does, which knows one kind of cursor.
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    with connection.wrap_database_errors:
        bound: Any = ServerBindingCursor
        cursor = connection._prepare_cursor(bound(connection.connection))
    return cursor


def _with_names(statement: str, parameters: Sequence[Any], places: Mapping[str, Sequence[int]]) -> str:
    """Return a statement with the names of values at their places and all others written out, for PostgreSQL.

    What is the same every time stands in the statement itself, so that a plan for any values may use the indexes with
    conditions.
    """
    names = {place: name for name, at in places.items() for place in at}
    texts = [
        f"%({names[place]})s" if place in names else sql.Literal(value).as_string(None).replace("%", "%%")
        for place, value in enumerate(parameters)
    ]
    parts = statement.split("%s")
    return "".join(part for pair in zip(parts, [*texts, ""], strict=True) for part in pair)


def _stored(value: Value) -> Value:
    """Return a value as the database takes it in a condition."""
    if isinstance(value, UUID) and not connections[DEFAULT_DB_ALIAS].features.has_native_uuid_field:
        return value.hex
    return value
