"""State changes of many tasks in one statement: the group commit's half of `TaskQuerySet.move`.

`UPDATE … FROM (VALUES …)` is the same on PostgreSQL and SQLite, and five to eight times as fast
as `bulk_update`, which builds a CASE per row and column.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

from plugspace_queue.models.task import Attempt, Task
from plugspace_queue.rules import lifecycle
from plugspace_queue.types import State

STARTABLE = sorted(state.value for state in lifecycle.STARTABLE)

CLOCK_SKEW = timedelta(seconds=1)
"""Redis' clock decides when a task is due; the worker's own may be this far behind."""

FINISH_COLUMNS = (
    "state",
    "result",
    "error",
    "progress",
    "completed_at",
    "duration",
    "tokens_used",
    "cost",
    "retry_count",
    "deferral_count",
    "recovery_count",
    "wake_at",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """What the row says after an attempt; fenced by the attempt's token."""

    id: uuid.UUID
    fence: int
    state: State
    result: Any = None
    error: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    completed_at: datetime | None = None
    duration: int | None = None
    tokens_used: int = 0
    cost: Decimal = Decimal(0)
    retry_count: int = 0
    deferral_count: int = 0
    recovery_count: int = 0
    wake_at: datetime | None = None


def start_all(
    granted: Sequence[tuple[uuid.UUID, int]],
    *,
    worker_name: str,
    now: datetime,
    max_recoveries: int,
    using: str = "default",
) -> list[Task]:
    """Compare-and-set to `processing` with the granted fences; the tasks that started.

    A task does not start that is final, asked to cancel, not due, past its deadline, has a newer
    fence already, or was on too many workers that died.
    """
    if not granted:
        return []
    for source in lifecycle.STARTABLE:
        lifecycle.require(source, State.PROCESSING)
    connection = connections[using]
    pk, fence = _field("id"), _field("fence")
    values, params = _values(connection, [pk, fence], granted)
    moment = _prepared(connection, _field("started_at"), now)
    sql = f"""
        WITH granted (v_id, v_fence) AS (VALUES {values})
        UPDATE {_table()} SET state = %s, fence = v_fence, worker_name = %s, started_at = %s,
            attempt_count = attempt_count + 1, wake_at = NULL, deadline = NULL
        FROM granted
        WHERE id = v_id AND fence < v_fence AND state IN ({", ".join(["%s"] * len(STARTABLE))})
            AND cancel_requested_at IS NULL AND recovery_count <= %s
            AND (wake_at IS NULL OR wake_at <= %s) AND (deadline IS NULL OR deadline > %s)
        RETURNING {_columns()}
    """
    due = _prepared(connection, _field("wake_at"), now + CLOCK_SKEW)
    rest = [State.PROCESSING.value, worker_name, moment, *STARTABLE, max_recoveries, due, moment]
    return list(Task.objects.using(using).raw(sql, [*params, *rest]))


def finish_all(rows: Sequence[Finish], *, using: str = "default") -> set[tuple[uuid.UUID, int]]:
    """End attempts whose token still owns the task; id and fence of those written."""
    if not rows:
        return set()
    for target in {row.state for row in rows}:
        lifecycle.require(State.PROCESSING, target)
    connection = connections[using]
    fields = [_field(name) for name in ("id", "fence", *FINISH_COLUMNS)]
    names = [f"v_{field.name}" for field in fields]
    values, params = _values(
        connection, fields, [[getattr(row, field.name) for field in fields] for row in rows]
    )
    assignments = ", ".join(f"{name} = v_{name}" for name in FINISH_COLUMNS)
    sql = f"""
        WITH ended ({", ".join(names)}) AS (VALUES {values})
        UPDATE {_table()} SET {assignments}
        FROM ended WHERE id = v_id AND fence = v_fence AND state = %s
        RETURNING id, fence
    """
    to_python = _field("id").to_python
    with connection.cursor() as cursor:
        cursor.execute(sql, [*params, State.PROCESSING.value])
        return {(to_python(pk), fence) for pk, fence in cursor.fetchall()}


def progress_all(
    rows: Sequence[tuple[uuid.UUID, int, dict[str, Any]]], *, using: str = "default"
) -> None:
    """Write the progress of running attempts; one that lost its token writes nothing."""
    if not rows:
        return
    connection = connections[using]
    values, params = _values(connection, [_field(n) for n in ("id", "fence", "progress")], rows)
    sql = f"""
        WITH told (v_id, v_fence, v_progress) AS (VALUES {values})
        UPDATE {_table()} SET progress = v_progress
        FROM told WHERE id = v_id AND fence = v_fence AND state = %s
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [*params, State.PROCESSING.value])


ATTEMPT_COLUMNS = (
    "task_id",
    "number",
    "fence",
    "worker_name",
    "started_at",
    "ended_at",
    "outcome",
    "error",
    "tokens_used",
    "cost",
    "log",
)


def add_attempts(attempts: Sequence[Attempt], *, using: str = "default") -> None:
    """Insert ended attempts; one that is there already (same task and fence) stays as it is."""
    if not attempts:
        return
    connection = connections[using]
    fields = [Attempt._meta.get_field(name.removesuffix("_id")) for name in ATTEMPT_COLUMNS]
    values, params = _values(
        connection, fields, [[getattr(row, name) for name in ATTEMPT_COLUMNS] for row in attempts]
    )
    sql = f"""
        INSERT INTO {Attempt._meta.db_table} ({", ".join(ATTEMPT_COLUMNS)}) VALUES {values}
        ON CONFLICT DO NOTHING
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def _values(
    connection: BaseDatabaseWrapper, fields: Sequence[Any], rows: Iterable[Sequence[Any]]
) -> tuple[str, list[Any]]:
    """The rows as a VALUES list; on PostgreSQL the first row carries the types."""
    plain = f"({', '.join(['%s'] * len(fields))})"
    lines: list[str] = []
    params: list[Any] = []
    for row in rows:
        lines.append(plain)
        params += [_prepared(connection, f, value) for f, value in zip(fields, row, strict=True)]
    if connection.vendor == "postgresql":
        lines[0] = f"({', '.join(f'%s::{_cast(f, connection)}' for f in fields)})"
    return ", ".join(lines), params


def _cast(field: Any, connection: BaseDatabaseWrapper) -> str:
    return str(field.rel_db_type(connection) if field.is_relation else field.db_type(connection))


def _prepared(connection: BaseDatabaseWrapper, field: Any, value: Any) -> Any:
    return field.get_db_prep_save(value, connection)


def _field(name: str) -> "models.Field[Any, Any]":
    field = Task._meta.get_field(name)
    assert isinstance(field, models.Field)
    return field


def _table() -> str:
    return Task._meta.db_table


def _columns() -> str:
    return ", ".join(str(field.column) for field in Task._meta.concrete_fields)
