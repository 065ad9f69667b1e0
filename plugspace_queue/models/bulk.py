"""State changes of many tasks in one statement: the group commit's half of `TaskQuerySet.move`.

`UPDATE … FROM` one relation is five to eight times as fast as `bulk_update`, which builds a CASE
per row and column.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from plugspace_queue.models.rowset import instances, prepared, relation, run
from plugspace_queue.models.task import Attempt, Task
from plugspace_queue.rules import lifecycle
from plugspace_queue.types import State

STARTABLE = sorted(state.value for state in lifecycle.STARTABLE)

CLOCK_SKEW = timedelta(seconds=1)
"""Redis' clock decides when a task is due; the worker's own may be this far behind."""

STATE = "COALESCE(state, '')"
"""The state, hidden from the planner: with the index on it PostgreSQL looks through everything
that waits instead of looking up the ids (measured: 38 ms against 0.6 ms at 6,000 waiting)."""

TABLE = Task._meta.db_table
COLUMNS = ", ".join(str(field.column) for field in Task._meta.concrete_fields)

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
    for state in lifecycle.STARTABLE:
        lifecycle.require(state, State.PROCESSING)
    connection = connections[using]
    source, params = relation(connection, _fields("id", "fence"), granted)
    sql = f"""
        WITH granted (v_id, v_fence) AS ({source})
        UPDATE {TABLE} SET state = %s, fence = v_fence, worker_name = %s, started_at = %s,
            attempt_count = attempt_count + 1, wake_at = NULL, deadline = NULL
        FROM granted
        WHERE id = v_id AND fence < v_fence AND {STATE} IN (%s, %s, %s)
            AND cancel_requested_at IS NULL AND recovery_count <= %s
            AND (wake_at IS NULL OR wake_at <= %s) AND (deadline IS NULL OR deadline > %s)
        RETURNING {COLUMNS}
    """
    moment, due = _moments(connection, now, now + CLOCK_SKEW)
    rest = [State.PROCESSING.value, worker_name, moment, *STARTABLE, max_recoveries, due, moment]
    return instances(Task, run(connection, sql, [*params, *rest]), using=using)


def finish_all(rows: Sequence[Finish], *, using: str = "default") -> set[tuple[uuid.UUID, int]]:
    """End attempts whose token still owns the task; id and fence of those written."""
    if not rows:
        return set()
    for target in {row.state for row in rows}:
        lifecycle.require(State.PROCESSING, target)
    connection = connections[using]
    names = ("id", "fence", *FINISH_COLUMNS)
    source, params = relation(connection, _fields(*names), list(map(attrgetter(*names), rows)))
    sql = f"""
        WITH ended ({", ".join(f"v_{name}" for name in names)}) AS ({source})
        UPDATE {TABLE} SET {", ".join(f"{name} = v_{name}" for name in FINISH_COLUMNS)}
        FROM ended WHERE id = v_id AND fence = v_fence AND {STATE} = %s
        RETURNING id, fence
    """
    written = run(connection, sql, [*params, State.PROCESSING.value])
    (pk,) = _fields("id")
    return {(pk.to_python(task_id), fence) for task_id, fence in written}


def progress_all(
    rows: Sequence[tuple[uuid.UUID, int, dict[str, Any]]], *, using: str = "default"
) -> None:
    """Write the progress of running attempts; one that lost its token writes nothing."""
    if not rows:
        return
    connection = connections[using]
    source, params = relation(connection, _fields("id", "fence", "progress"), rows)
    sql = f"""
        WITH told (v_id, v_fence, v_progress) AS ({source})
        UPDATE {TABLE} SET progress = v_progress
        FROM told WHERE id = v_id AND fence = v_fence AND {STATE} = %s
    """
    run(connection, sql, [*params, State.PROCESSING.value])


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
    values = list(map(attrgetter(*ATTEMPT_COLUMNS), attempts))
    source, params = relation(connection, fields, values)
    # WHERE true: without it SQLite takes ON CONFLICT for a join's ON.
    sql = f"""
        INSERT INTO {Attempt._meta.db_table} ({", ".join(ATTEMPT_COLUMNS)})
        SELECT * FROM ({source}) AS ended WHERE true ON CONFLICT DO NOTHING
    """
    run(connection, sql, params)


def _fields(*names: str) -> list[Any]:
    return [Task._meta.get_field(name) for name in names]


def _moments(connection: BaseDatabaseWrapper, *moments: datetime) -> list[Any]:
    (field,) = _fields("started_at")
    return [prepared(connection, field, moment) for moment in moments]
