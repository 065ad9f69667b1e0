"""Passes many rows to a statement as one JSON text, which the database expands to a relation.

So the statement's text is constant and its plan can be cached, and the client binds one value
instead of one per column and row.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

from plugspace_queue.domain import json_text

Model = TypeVar("Model", bound=models.Model)
T = TypeVar("T")
Row = Sequence[Any]


def relation(
    connection: BaseDatabaseWrapper, fields: Sequence[Any], rows: Sequence[Row]
) -> tuple[str, list[Any]]:
    """A query that yields `rows`, whose values are of these fields, and its parameters."""
    if connection.vendor == "postgresql":
        return _recordset(connection, fields, rows)
    return _json_each(connection, fields, rows)


def _recordset(
    connection: BaseDatabaseWrapper, fields: Sequence[Any], rows: Sequence[Row]
) -> tuple[str, list[Any]]:
    names = [f"c{at}" for at in range(len(fields))]
    columns = ", ".join(
        f"{name} {type_of(field, connection.alias)}"
        for name, field in zip(names, fields, strict=True)
    )
    text = json_text.encode([dict(zip(names, row, strict=True)) for row in rows])
    return f"SELECT * FROM json_to_recordset(%s) AS given ({columns})", [text]


def _json_each(
    connection: BaseDatabaseWrapper, fields: Sequence[Any], rows: Sequence[Row]
) -> tuple[str, list[Any]]:
    forms = [_form_of(field, connection.alias) for field in fields]
    lists = [[form(value) for form, value in zip(forms, row, strict=True)] for row in rows]
    columns = ", ".join(f"json_extract(value, '$[{at}]')" for at in range(len(fields)))
    return f"SELECT {columns} FROM json_each(%s)", [json_text.encode(lists)]


@functools.cache
def _form_of(field: Any, using: str) -> Callable[[Any], Any]:
    """A function that converts a value of this field to what SQLite stores, as JSON."""
    if isinstance(field, models.JSONField):
        # As text: taken out of JSON, a text that is the whole value would lose its quotes.
        return lambda value: None if value is None else json_text.encode(value)
    if isinstance(field, models.CharField | models.IntegerField):
        return lambda value: value
    return lambda value: prepared(connections[using], field, value)


class Answer(Generic[T]):
    """The answer of a statement; on PostgreSQL it is fetched by `take`."""

    def __init__(
        self, connection: Any, cursor: Any, rows: Sequence[Row] | None, read: Callable[[Any], T]
    ) -> None:
        self._connection = connection
        self._cursor = cursor
        self._rows = rows
        self._read = read

    def take(self) -> T:
        """The answer; raises the database's error if the statement failed."""
        with self._connection.wrap_database_errors:
            rows = self._cursor.fetchall() if self._rows is None else self._rows
        return self._read(rows)


@contextlib.contextmanager
def pipeline(connection: Any) -> Iterator[None]:
    """Send the statements within without waiting for each answer (PostgreSQL's pipeline mode).

    Within a transaction, and with `send` only. Elsewhere it changes nothing.
    """
    if connection.vendor != "postgresql":
        yield
        return
    connection.ensure_connection()
    with connection.wrap_database_errors, connection.connection.pipeline():
        yield


def send(connection: Any, sql: str, params: Sequence[Any], read: Callable[[Any], T]) -> Answer[T]:
    """Execute a statement that returns rows; `read` makes the answer of them."""
    if connection.vendor == "postgresql":
        # Parameters bound by the server: Django's cursor would write them into the text.
        cursor = connection.Database.Cursor(connection.connection)
        with connection.wrap_database_errors:
            cursor.execute(sql, params)
        return Answer(connection, cursor, None, read)
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return Answer(connection, None, list(cursor.fetchall()), read)


def prepared_cursor(connection: Any) -> Any:
    """A cursor for a statement whose text is always the same, with all that Django's cursors do.

    Parameters are bound by PostgreSQL, so it may keep the plan (`prepare_threshold` in OPTIONS);
    Django's own cursor writes them into the text.
    """
    if connection.vendor != "postgresql":
        return connection.cursor()
    connection.ensure_connection()
    cursor = connection.Database.Cursor(connection.connection)
    make = connection.make_debug_cursor if connection.queries_logged else connection.make_cursor
    return make(cursor)


def prepare_for_rows(
    connection: Any,
    lock_timeout: str,
    statement_timeout: str | None = None,
    *,
    is_lasting: bool = True,
) -> Answer[int]:
    """Until the transaction ends, look rows up by index and wait no longer than this for one.

    PostgreSQL takes a relation for a hundred rows and would rather read a small table as a whole,
    with a plan that it keeps when the table has grown. What need not be lasting does not wait for
    the disk: a crash of the server may undo it.
    """
    settings = {"lock_timeout": lock_timeout, "enable_seqscan": "off"}
    if statement_timeout is not None:
        settings["statement_timeout"] = statement_timeout
    if not is_lasting:
        settings["synchronous_commit"] = "off"
    # Written out: they are constants of ours, and the client has no parameters to write.
    calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
    return send(connection, f"SELECT {calls}", (), len)


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
def type_of(field: Any, using: str) -> str:
    """The field's type in the database."""
    # By alias: a connection that is kept in a cache outlives its thread.
    connection = connections[using]
    return str(field.rel_db_type(connection) if field.is_relation else field.db_type(connection))
