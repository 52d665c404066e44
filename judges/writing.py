"""Write many rows in one statement, for less CPU than the ORM takes: a worker's time goes into storing.

A column that is the same in all rows travels once. The rows' types and constraints are the database's own.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from django.db import connection
from django.db.models import Field, Model


def insert_rows(rows: Sequence[Model]) -> None:
    """Insert rows of one model, their ids made by their defaults. One statement, as `update_rows`."""
    if not rows:
        return
    meta = rows[0]._meta
    if meta.pk is None:
        raise ValueError("a model has a primary key")
    for field in meta.concrete_fields:
        for row in rows:
            # Sets the time of creation.
            field.pre_save(row, True)
    key = meta.pk
    constants, columns = _split(rows, [field for field in meta.concrete_fields if field is not key])
    # Always a column of the values, which are none at all otherwise where there is one row.
    keys = _prepared(key, [getattr(row, key.attname) for row in rows])
    table, once = _quoted(meta.db_table), [value for _, value in constants]
    given = [key, *(field for field, _ in columns)]
    names = [_quoted(field.column) for field in (*(field for field, _ in constants), *given)]
    chosen = [_typed(field, "%s") for field, _ in constants]
    chosen += [_given(field, place) for place, field in enumerate(given, start=1)]
    for values in _pieces([keys, *(column for _, column in columns)], len(once)):
        _execute(f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(chosen)} FROM", once, values)


def update_rows(rows: Sequence[Model], names: Sequence[str]) -> None:
    """Write these fields of rows of one model that exist already. Caller holds them locked, in a transaction.

    One statement, where the database takes that many values in one. Raises Django's database errors.
    """
    if not rows:
        return
    meta = rows[0]._meta
    if meta.pk is None:
        raise ValueError("a model has a primary key")
    key, fields = meta.pk, [meta.get_field(name) for name in names]
    constants, columns = _split(rows, [field for field in fields if isinstance(field, Field)])
    keys = _prepared(key, [getattr(row, key.attname) for row in rows])
    sets = [f"{_quoted(field.column)} = %s" for field, _ in constants]
    sets += [f"{_quoted(field.column)} = {_given(field, place)}" for place, (field, _) in enumerate(columns, start=2)]
    once, table = [value for _, value in constants], _quoted(meta.db_table)
    for values in _pieces([keys, *(column for _, column in columns)], len(once)):
        start, end = f"UPDATE {table} SET {', '.join(sets)} FROM", f"WHERE {table}.{_quoted(key.column)} = "  # noqa: S608
        _execute(start, once, values, end + _given(key, 1))


def _execute(start: str, once: Sequence[Any], values: Sequence[tuple[Any, ...]], end: str = "") -> None:
    """Run a statement on a list of values. Its words are ours and the model's names; what rows hold is parameters."""
    places = ", ".join([f"({', '.join(['%s'] * len(values[0]))})"] * len(values))
    with connection.cursor() as cursor:
        cursor.execute(f"{start} (VALUES {places}) AS given {end}", [*once, *(one for row in values for one in row)])


def _quoted(name: str | None) -> str:
    return connection.ops.quote_name(name or "")


def _split(
    rows: Sequence[Model], fields: "Sequence[Field[Any, Any]]"
) -> "tuple[list[tuple[Field[Any, Any], Any]], list[tuple[Field[Any, Any], list[Any]]]]":
    """Return the fields with one value for all rows, and those with a value a row, as the database takes them."""
    constants, columns = [], []
    for field in fields:
        values = [getattr(row, field.attname) for row in rows]
        # Python takes 1 for equal to True inside a container and JSON does not: only empty ones are taken for the same.
        if values.count(values[0]) == len(values) and not (isinstance(values[0], dict | list) and values[0]):
            constants.append((field, _prepared(field, values[:1])[0]))
        else:
            columns.append((field, _prepared(field, values)))
    return constants, columns


def _prepared(field: "Field[Any, Any]", values: Sequence[Any]) -> list[Any]:
    return [field.get_db_prep_save(value, connection) for value in values]


def _given(field: "Field[Any, Any]", place: int) -> str:
    """Return a column of the values as SQL, of the field's type: PostgreSQL takes a literal in a list for a text."""
    return _typed(field, f"given.column{place}")


def _typed(field: "Field[Any, Any]", name: str) -> str:
    if not connection.features.requires_casted_case_in_updates:
        return name
    # Without its length: a cast to it would cut a text that is too long, and the column refuses it.
    return f"CAST({name} AS {(field.db_type(connection) or '').partition('(')[0]})"


def _pieces(columns: Sequence[Sequence[Any]], once: int) -> Iterator[list[tuple[Any, ...]]]:
    most = connection.features.max_query_params
    rows = list(zip(*columns, strict=True))
    size = max(1, (most - once) // len(columns)) if most else len(rows)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
