"""Adds failures to their groups and to their minutes, many in two statements."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from plugspace_queue.db.recordset import relation
from plugspace_queue.models.failures import FailureGroup, FailureMinute

GROUPS, MINUTES = FailureGroup._meta.db_table, FailureMinute._meta.db_table


class GroupKey(NamedTuple):
    """What makes failures one group."""

    type: str
    code: str
    fingerprint: str


class SeenGroup(NamedTuple):
    """Failures of one group since they were added last."""

    type: str
    code: str
    fingerprint: str
    first_seen: datetime
    last_seen: datetime
    total: int
    class_name: str
    message: str
    stack: str
    task_id: uuid.UUID
    """The newest one."""


class FailureSlot(NamedTuple):
    """Who failed in which minute."""

    key: GroupKey
    minute: datetime
    organization_id: str


_RECURS = """
    (kept.state = 'resolved' AND excluded.last_seen > kept.changed_at)
    OR (kept.state = 'muted' AND kept.muted_until <= excluded.last_seen)
"""
"""Whether a failure of its own time, not of the time when it is counted, opens the group again."""

_TOUCH = f"""
    INSERT INTO {GROUPS} AS kept ({", ".join(SeenGroup._fields)}, state, note, changed_by)
    SELECT {", ".join(f"v_{name}" for name in SeenGroup._fields)}, 'open', '', ''
    FROM seen WHERE true
    ON CONFLICT (type, code, fingerprint) DO UPDATE SET
        first_seen = CASE WHEN excluded.first_seen < kept.first_seen
            THEN excluded.first_seen ELSE kept.first_seen END,
        last_seen = CASE WHEN excluded.last_seen > kept.last_seen
            THEN excluded.last_seen ELSE kept.last_seen END,
        total = kept.total + excluded.total,
        task_id = excluded.task_id,
        reopened_at = CASE WHEN {_RECURS} THEN excluded.last_seen ELSE kept.reopened_at END,
        state = CASE WHEN {_RECURS} THEN 'open' ELSE kept.state END
    RETURNING type, code, fingerprint, id
"""

_COUNT = f"""
    INSERT INTO {MINUTES} AS kept (group_id, minute, organization_id, n)
    SELECT v_group_id, v_minute, v_organization_id, v_n FROM seen WHERE true
    ON CONFLICT (group_id, minute, organization_id) DO UPDATE SET n = kept.n + excluded.n
"""


def add(
    groups: Sequence[SeenGroup], minutes: Mapping[FailureSlot, int], *, using: str = "default"
) -> None:
    """Add failures to their groups and minutes, in the caller's transaction.

    Rows are locked in the order of their keys. A group that was resolved, or muted until a moment
    that has passed, is open again when it was seen later than that.
    """
    connection = connections[using]
    ids = _touch(connection, sorted(groups))
    rows = [(ids[key], minute, who, n) for (key, minute, who), n in minutes.items()]
    names = ("group_id", "minute", "organization_id", "n")
    source, params = _seen(connection, FailureMinute, names, sorted(rows))
    with connection.cursor() as cursor:
        cursor.execute(f"{source} {_COUNT}", params)


def _touch(connection: BaseDatabaseWrapper, groups: Sequence[SeenGroup]) -> dict[GroupKey, int]:
    source, params = _seen(connection, FailureGroup, SeenGroup._fields, groups)
    with connection.cursor() as cursor:
        cursor.execute(f"{source} {_TOUCH}", params)
        return {GroupKey(*key): pk for *key, pk in cursor.fetchall()}


def _seen(
    connection: BaseDatabaseWrapper, model: Any, names: Sequence[str], rows: Sequence[Any]
) -> tuple[str, list[Any]]:
    fields = {field.attname: field for field in model._meta.concrete_fields}
    source, params = relation(connection, [fields[name] for name in names], rows)
    columns = ", ".join(f"v_{name}" for name in names)
    return f"WITH seen ({columns}) AS ({source})", params
