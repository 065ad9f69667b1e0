"""State changes of many tasks in one statement: the group commit's half of `TaskQuerySet.move`.

`UPDATE … FROM` one relation is five to eight times as fast as `bulk_update`, which builds a CASE
per row and column.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from plugspace_queue.db.recordset import Answer, instances, prepared, relation, send
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import Outcome, State
from plugspace_queue.models.queue import QueueSettings
from plugspace_queue.models.task import Attempt, Dependency, Task

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


KEPT = "id, fence, attempt_count, worker_name, started_at, error"
"""What an attempt has in common with its task's row."""

SPENT_COLUMNS = {
    "outcome": "outcome",
    "attempt_tokens": "tokens_used",
    "attempt_cost": "cost",
    "log": "log",
}
"""What an ending says of the attempt alone, and the column of `Attempt` it goes to."""


@dataclass(kw_only=True, slots=True)
class Finish:
    """What the row says after an attempt, fenced by the attempt's token, and what it has spent."""

    id: uuid.UUID
    fence: int
    state: State
    outcome: Outcome
    attempt_tokens: int = 0
    attempt_cost: Decimal = Decimal(0)
    log: list[str]
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
) -> Answer[list[Task]]:
    """Compare-and-set to `processing` with the granted fences; the tasks that started.

    A task does not start that is final, asked to cancel, not due, past its deadline, has a newer
    fence already, or was on too many workers that died.
    """
    for state in lifecycle.STARTABLE:
        lifecycle.require(state, State.PROCESSING)
    connection = connections[using]
    source, params = relation(connection, _fields("id", "fence"), granted)
    sql = f"""
        WITH granted (v_id, v_fence) AS ({source})
        UPDATE {TABLE} SET state = %s, fence = v_fence, worker_name = %s, started_at = %s,
            attempt_count = attempt_count + 1, wake_at = NULL, deadline = NULL, progress = NULL
        FROM granted
        WHERE id = v_id AND fence < v_fence AND {STATE} IN (%s, %s, %s)
            AND cancel_requested_at IS NULL AND recovery_count <= %s
            AND (wake_at IS NULL OR wake_at <= %s) AND (deadline IS NULL OR deadline > %s)
        RETURNING {COLUMNS}
    """
    moment, due = _moments(connection, now, now + CLOCK_SKEW)
    rest = [State.PROCESSING.value, worker_name, moment, *STARTABLE, max_recoveries, due, moment]
    return send(connection, sql, [*params, *rest], partial(instances, Task, using=using))


def finish_all(
    rows: Sequence[Finish], now: datetime, *, using: str = "default"
) -> Answer[set[tuple[uuid.UUID, int]]]:
    """End attempts whose token still owns the task, and keep each as an `Attempt`.

    The answer is id and fence of those written.
    """
    for target in {row.state for row in rows}:
        lifecycle.require(State.PROCESSING, target)
    connection = connections[using]
    # In the order of ids, as everybody locks rows.
    ordered = sorted(rows, key=attrgetter("id"))
    ended, params = _endings(connection, ordered)
    update = f"""
        UPDATE {TABLE} SET {", ".join(f"{name} = v_{name}" for name in FINISH_COLUMNS)}
        FROM ended WHERE id = v_id AND fence = v_fence AND {STATE} = %s
    """
    params = [*params, State.PROCESSING.value]
    if connection.vendor != "postgresql":
        answer = send(connection, f"WITH {ended} {update} RETURNING id, fence", params, _keys)
        written = answer.take()
        _note(connection, [row for row in ordered if (row.id, row.fence) in written], now)
        return answer
    sql = f"""
        WITH {ended}, done AS ({update} RETURNING {KEPT}),
            noted AS ({_insert("done")})
        SELECT id, fence FROM done
    """
    return send(connection, sql, [*params, *_moments(connection, now)], _keys)


def _note(connection: BaseDatabaseWrapper, rows: Sequence[Finish], now: datetime) -> None:
    """Keep attempts that have ended, where one statement cannot change two tables."""
    if rows:
        ended, params = _endings(connection, rows)
        sql = f"WITH {ended} {_insert(TABLE)} RETURNING fence"
        send(connection, sql, [*params, *_moments(connection, now)], len)


def _insert(source: str) -> str:
    """The statement that keeps what `ended` tells of these rows as attempts, each once."""
    spent = ", ".join(SPENT_COLUMNS.values())
    values = ", ".join(f"v_{name}" for name in SPENT_COLUMNS)
    return f"""
        INSERT INTO {Attempt._meta.db_table}
            (task_id, fence, number, worker_name, started_at, error, ended_at, {spent})
        SELECT {KEPT}, %s, {values}
        FROM {source} JOIN ended ON id = v_id AND fence = v_fence WHERE true ON CONFLICT DO NOTHING
    """


def _endings(connection: BaseDatabaseWrapper, rows: Sequence[Finish]) -> tuple[str, list[Any]]:
    """The relation `ended`: these rows, each column with `v_` before its name."""
    names = ("id", "fence", *FINISH_COLUMNS)
    spent = [Attempt._meta.get_field(column) for column in SPENT_COLUMNS.values()]
    values = list(map(attrgetter(*names, *SPENT_COLUMNS), rows))
    source, params = relation(connection, [*_fields(*names), *spent], values)
    columns = ", ".join(f"v_{name}" for name in (*names, *SPENT_COLUMNS))
    return f"ended ({columns}) AS ({source})", params


def progress_all(
    rows: Sequence[tuple[uuid.UUID, int, dict[str, Any]]], *, using: str = "default"
) -> Answer[int]:
    """Write the progress of running attempts; one that lost its token writes nothing."""
    connection = connections[using]
    source, params = relation(connection, _fields("id", "fence", "progress"), rows)
    sql = f"""
        WITH told (v_id, v_fence, v_progress) AS ({source})
        UPDATE {TABLE} SET progress = v_progress
        FROM told WHERE id = v_id AND fence = v_fence AND {STATE} = %s RETURNING id
    """
    return send(connection, sql, [*params, State.PROCESSING.value], len)


def links_from(
    parents: Sequence[uuid.UUID], *, using: str = "default"
) -> Answer[list[tuple[uuid.UUID, uuid.UUID]]]:
    """Pairs of parent and child of every task that waits for one of these."""
    connection = connections[using]
    source, params = relation(connection, _fields("id"), [(pk,) for pk in parents])
    sql = f"""
        WITH parents (v_id) AS ({source})
        SELECT parent_id, task_id FROM {Dependency._meta.db_table} JOIN parents ON parent_id = v_id
    """
    return send(connection, sql, params, _pairs)


def count_endings(
    counts: Mapping[str, tuple[int, int]], *, using: str = "default"
) -> list[Answer[int]]:
    """Add (completed, failed) per task type to the lifetime counts; 0 where the row is locked.

    An operator who resumes a queue holds its row for as long as its deadlines are moved; endings
    of all queues must not wait for that.
    """
    connection = connections[using]
    table = QueueSettings._meta.db_table
    free = f"type IN (SELECT type FROM {table} WHERE type = %s FOR UPDATE SKIP LOCKED)"
    where = free if connection.vendor == "postgresql" else "type = %s"
    sql = f"""
        UPDATE {table} SET completed = completed + %s, failed = failed + %s
        WHERE {where} RETURNING 1
    """
    return [send(connection, sql, [*counts[kind], kind], len) for kind in sorted(counts)]


def _keys(rows: Sequence[Any]) -> set[tuple[uuid.UUID, int]]:
    return {(_uuid(task_id), fence) for task_id, fence in rows}


def _pairs(rows: Sequence[Any]) -> list[tuple[uuid.UUID, uuid.UUID]]:
    return [(_uuid(parent), _uuid(child)) for parent, child in rows]


def _uuid(value: Any) -> uuid.UUID:
    # SQLite keeps ids as 32 hexadecimal digits.
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)


def _fields(*names: str) -> list[Any]:
    return [Task._meta.get_field(name) for name in names]


def _moments(connection: BaseDatabaseWrapper, *moments: datetime) -> list[Any]:
    (field,) = _fields("started_at")
    return [prepared(connection, field, moment) for moment in moments]
