"""Changes tables without blocking writers; all of it can run again after a kill."""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import NotSupportedError, OperationalError
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Index, Model

from plugspace_queue.db.transactions import is_locked

logger = logging.getLogger(__name__)

LOCK_TIMEOUT = "1s"
"""How long one try waits for a lock, or for the transactions that were there before it."""

TRIES = 300
"""A try that fails has waited LOCK_TIMEOUT: together they bear a transaction of five minutes."""

LONGEST_PAUSE = 0.5
"""Seconds between two tries; random, so that two migrating processes do not meet each time."""

SETTINGS = {"lock_timeout": LOCK_TIMEOUT, "statement_timeout": "0"}

IS_VALID = """
    SELECT pg_index.indisvalid FROM pg_index
    WHERE pg_index.indexrelid = to_regclass(quote_ident(%s))
"""


def create(editor: BaseDatabaseSchemaEditor, model: type[Model], index: Index) -> None:
    """Create an index unless it is there and complete."""
    if not _is_postgres(editor):
        if index.name not in _constraints(editor, model):
            editor.add_index(model, index)
    elif editor.collect_sql:
        _add_concurrently(editor, model, index)
    else:
        retry_while_locked(editor, index.name, lambda: _create_or_replace(editor, model, index))


def drop(editor: BaseDatabaseSchemaEditor, model: type[Model], name: str) -> None:
    """Drop an index if it is there, complete or not."""
    if not _is_postgres(editor):
        if name in _constraints(editor, model):
            editor.remove_index(model, Index(fields=["pk"], name=name))
    elif editor.collect_sql:
        _drop_concurrently(editor, name)
    else:
        retry_while_locked(editor, name, lambda: _drop_concurrently(editor, name))


def lengthen(editor: BaseDatabaseSchemaEditor, model: type[Model], field: Any) -> None:
    """Make a text column as long as the field says, where the database checks it.

    PostgreSQL would write partial indexes on the column anew while the table is locked. They are
    dropped before and created after it; meanwhile an index without their condition serves.
    """
    if not _is_postgres(editor):
        return
    partial = [index for index in model._meta.indexes if _is_partial_on(index, field.name)]
    twins = [Index(fields=index.fields, name=f"{index.name[:26]}_all") for index in partial]
    for twin in twins:
        create(editor, model, twin)
    for index in partial:
        drop(editor, model, index.name)
    _alter_type(editor, model, field)
    for index in partial:
        create(editor, model, index)
    for twin in twins:
        drop(editor, model, twin.name)


def _is_partial_on(index: Index, field: str) -> bool:
    return index.condition is not None and field in index.fields


def _alter_type(editor: BaseDatabaseSchemaEditor, model: type[Model], field: Any) -> None:
    table, column = editor.quote_name(model._meta.db_table), editor.quote_name(field.column)
    sql = f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {field.db_type(editor.connection)}"
    retry_while_locked(editor, f"{table}.{column}", lambda: editor.execute(sql))


def add_column(editor: BaseDatabaseSchemaEditor, model: type[Model], field: Any) -> None:
    """Add a column that has a constant default in the database, unless it is there."""
    # Of the base class: SQLite's own would write the table anew.
    add = BaseDatabaseSchemaEditor.add_field
    _change_column(editor, model, field, is_wanted=True, change=lambda: add(editor, model, field))


def drop_column(editor: BaseDatabaseSchemaEditor, model: type[Model], field: Any) -> None:
    """Drop a column if it is there."""
    drop = editor.remove_field
    _change_column(editor, model, field, is_wanted=False, change=lambda: drop(model, field))


def _change_column(
    editor: BaseDatabaseSchemaEditor,
    model: type[Model],
    field: Any,
    *,
    is_wanted: bool,
    change: Callable[[], None],
) -> None:
    def step() -> None:
        if editor.collect_sql or _has_column(editor, model, field) != is_wanted:
            change()

    if _is_postgres(editor) and not editor.collect_sql:
        # Others wait behind a statement that waits for the table: each try waits briefly.
        retry_while_locked(editor, f"column {field.column}", step)
    else:
        step()


def has_constraint(editor: BaseDatabaseSchemaEditor, model: type[Model], name: str) -> bool:
    """Whether a table has this constraint or index; True for a run that only prints SQL."""
    return editor.collect_sql or name in _constraints(editor, model)


def names_on_column(editor: BaseDatabaseSchemaEditor, model: type[Model], column: str) -> list[str]:
    """The indexes that have this column alone and that the model does not declare by name."""
    declared = {index.name for index in model._meta.indexes}
    return sorted(
        name
        for name, found in _constraints(editor, model).items()
        if found["index"]
        and not (found["unique"] or found["primary_key"])
        and found["columns"] == [column]
        and name not in declared
    )


def _create_or_replace(editor: BaseDatabaseSchemaEditor, model: type[Model], index: Index) -> None:
    """One try. What a try left behind that was killed or timed out is not valid: made anew."""
    with editor.connection.cursor() as cursor:
        cursor.execute(IS_VALID, [index.name])
        found = cursor.fetchone()
    if found is not None:
        (is_valid,) = found
        if is_valid:
            return
        _drop_concurrently(editor, index.name)
    _add_concurrently(editor, model, index)


def _add_concurrently(editor: Any, model: type[Model], index: Index) -> None:
    editor.add_index(model, index, concurrently=True)


def _drop_concurrently(editor: Any, name: str) -> None:
    editor.execute(editor.sql_delete_index_concurrently % {"name": editor.quote_name(name)})


def retry_while_locked(
    editor: BaseDatabaseSchemaEditor, name: str, step: Callable[[], None]
) -> None:
    """Do one step, which waits LOCK_TIMEOUT for a lock, until others let it have the lock."""
    if not _is_postgres(editor) or editor.collect_sql:
        return step()
    if editor.connection.in_atomic_block:
        raise NotSupportedError(
            f"{name} cannot be changed inside a transaction: set atomic = False."
        )
    with _session_settings(editor):
        for tries_left in reversed(range(TRIES)):
            try:
                return step()
            except OperationalError as error:
                if not is_locked(error) or not tries_left:
                    raise
                logger.info("%s waits for a transaction: %s", name, error)
                time.sleep(random.uniform(0, LONGEST_PAUSE))


@contextmanager
def _session_settings(editor: BaseDatabaseSchemaEditor) -> Iterator[None]:
    """SETTINGS for the session, because no transaction may be open; afterwards what was there."""
    with editor.connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in SETTINGS))
        before = cursor.fetchone()
    _set(editor, SETTINGS)
    try:
        yield
    finally:
        if editor.connection.is_usable():
            _set(editor, dict(zip(SETTINGS, before, strict=True)))


def _set(editor: BaseDatabaseSchemaEditor, values: dict[str, str]) -> None:
    with editor.connection.cursor() as cursor:
        for name, value in values.items():
            cursor.execute("SELECT set_config(%s, %s, false)", [name, value])


def _is_postgres(editor: BaseDatabaseSchemaEditor) -> bool:
    return editor.connection.vendor == "postgresql"


def _constraints(editor: BaseDatabaseSchemaEditor, model: type[Model]) -> dict[str, Any]:
    with editor.connection.cursor() as cursor:
        found: dict[str, Any] = editor.connection.introspection.get_constraints(
            cursor, model._meta.db_table
        )
    return found


def _has_column(editor: BaseDatabaseSchemaEditor, model: type[Model], field: Any) -> bool:
    introspection = editor.connection.introspection
    with editor.connection.cursor() as cursor:
        found = introspection.get_table_description(cursor, model._meta.db_table)
    return field.column in {column.name for column in found}
