"""Many rows as one relation in a statement: arrays on PostgreSQL, VALUES elsewhere.

With arrays the statement's text is always the same and its values are bound by the server: half
the client's work of a VALUES list, which psycopg takes apart and puts together anew each time.
"""

import functools
import json
from collections.abc import Sequence
from typing import Any, TypeVar

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

Model = TypeVar("Model", bound=models.Model)
Row = Sequence[Any]


def relation(
    connection: BaseDatabaseWrapper, fields: Sequence[Any], rows: Sequence[Row]
) -> tuple[str, list[Any]]:
    """A query that yields `rows`, whose values are of these fields, and its parameters."""
    if connection.vendor == "postgresql":
        return _arrays(connection, fields, rows)
    line = f"({', '.join(['%s'] * len(fields))})"
    pairs = [zip(fields, row, strict=True) for row in rows]
    params = [prepared(connection, field, value) for pair in pairs for field, value in pair]
    return f"VALUES {', '.join([line] * len(rows))}", params


def _arrays(
    connection: BaseDatabaseWrapper, fields: Sequence[Any], rows: Sequence[Row]
) -> tuple[str, list[Any]]:
    columns = [
        [_plain(connection, field, value) for value in column]
        for field, column in zip(fields, zip(*rows, strict=True), strict=True)
    ]
    casts = ", ".join(f"%s::{_type(field, connection)}[]" for field in fields)
    return f"SELECT * FROM unnest({casts})", columns


def _plain(connection: BaseDatabaseWrapper, field: Any, value: Any) -> Any:
    """The value as an element of an array; JSON as text, which the cast reads."""
    if value is None or not isinstance(field, models.JSONField):
        return value
    return json.dumps(value, separators=(",", ":"))


def run(connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any]) -> list[Row]:
    """Execute and fetch all rows; nothing for a statement that returns none."""
    connection.ensure_connection()
    if connection.vendor == "postgresql":
        # Parameters bound by the server: Django's cursor would write them into the text.
        cursor: Any = _server_side(connection)
    else:
        cursor = connection.cursor()
    with connection.wrap_database_errors, cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall()) if cursor.description else []


def _server_side(connection: Any) -> Any:
    return connection.Database.Cursor(connection.connection)


def instances(model: type[Model], rows: Sequence[Row], *, using: str) -> list[Model]:
    """Instances from rows of all concrete columns in their order."""
    converters = _converters(model, using)
    names = [field.attname for field in model._meta.concrete_fields]
    connection = connections[using]
    made = []
    for row in rows:
        values = list(row)
        for at, column, functions in converters:
            for convert in functions:
                values[at] = convert(values[at], column, connection)
        made.append(model.from_db(using, names, values))
    return made


@functools.cache
def _converters(model: type[models.Model], using: str) -> list[tuple[int, Any, list[Any]]]:
    connection = connections[using]
    found = []
    for at, field in enumerate(model._meta.concrete_fields):
        column = field.get_col(model._meta.db_table)
        functions = connection.ops.get_db_converters(column) + column.get_db_converters(connection)
        if functions:
            found.append((at, column, functions))
    return found


def prepared(connection: BaseDatabaseWrapper, field: Any, value: Any) -> Any:
    """The value as Django binds it."""
    return field.get_db_prep_save(value, connection)


@functools.cache
def _type(field: Any, connection: BaseDatabaseWrapper) -> str:
    return str(field.rel_db_type(connection) if field.is_relation else field.db_type(connection))
