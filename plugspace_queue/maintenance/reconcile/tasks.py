"""Looks at tasks from both ends: rows that have not ended, and ids that Redis holds."""

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from plugspace_queue.broker import audit, keys, projections, routing
from plugspace_queue.broker.audit import Holds, RedisTaskState
from plugspace_queue.broker.connection import client
from plugspace_queue.domain.enums import State, TaskType
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.maintenance import expiry
from plugspace_queue.maintenance.reconcile.compare import Place, Row, judge, place_of
from plugspace_queue.maintenance.reconcile.findings import Finding, Kind
from plugspace_queue.models import Task
from plugspace_queue.schemas.task import AgentTask

AT_ONCE = 100
"""Snapshots read in one call: some of them are large."""


@dataclass
class Look:
    """What one bounded look saw."""

    findings: list[Finding] = field(default_factory=list)
    places: Counter[tuple[str, Place]] = field(default_factory=Counter)
    """Open tasks by type and place."""
    workflow_ids: set[uuid.UUID] = field(default_factory=set)
    """Of the open tasks that were seen."""


def look_at(kind: TaskType, ids: Sequence[str]) -> Look:
    """Compare these tasks' rows with what this queue holds. Raises Unavailable."""
    # Rows first: who changes one writes it before Redis, so that what is older is the row.
    rows = _rows(ids)
    look = Look(findings=list(_of_blocked(kind, list(rows.values()))))
    copied: list[Row] = []
    for standing in standings(kind, ids):
        row = rows.get(standing.task_id)
        look.findings += judge(kind, row, standing)
        if row is not None and row.is_open:
            look.places[row.type, place_of(row, standing)] += 1
            look.workflow_ids |= {row.workflow_id} if row.workflow_id else set()
            if Holds.SNAPSHOT in standing.holds and row.type == kind:
                copied.append(row)
    look.findings += _garbled(kind, copied)
    return look


def _garbled(kind: TaskType, rows: Sequence[Row]) -> Iterator[Finding]:
    """Those whose snapshot is none, or another task's. One that went meanwhile is told anew."""
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        names = [keys.task(str(row.pk)) for row in part]
        told = projections.texts(client(kind.queue_name), names)
        for row, text in zip(part, told, strict=True):
            if not _is_copy(text, row):
                yield Finding(Kind.SNAPSHOT_GARBLED, kind.value, str(row.pk))


def _is_copy(text: str | None, row: Row) -> bool:
    try:
        told = AgentTask.model_validate_json(text or "")
    except ValidationError:
        return False
    return (told.id, told.type, told.organization_id) == (
        str(row.pk),
        row.type,
        row.organization_id,
    )


def strangers(kind: TaskType) -> Iterator[Look]:
    """Look at what the queue holds and rows do not want there, in slices. Raises Unavailable."""
    for ids in audit.known_ids(client(kind.queue_name), kind.queue_name):
        rows = _rows(ids)
        strange = [id_ for id_ in ids if id_ not in rows or not _belongs(rows[id_], kind)]
        yield Look(findings=look_at(kind, strange).findings if strange else [])


def standings(kind: TaskType, ids: Sequence[str]) -> Iterator[RedisTaskState]:
    """Where each is, in calls that do not hold up the server. Raises Unavailable."""
    for start in range(0, len(ids), audit.MOST_IDS):
        part = ids[start : start + audit.MOST_IDS]
        yield from routing.ask(audit.audit(kind.queue_name, part), kind.queue_name)


def _rows(ids: Sequence[str]) -> dict[str, Row]:
    known = [pk for pk in map(parse_id, ids) if pk is not None]
    found = Task.objects.filter(pk__in=known).order_by().values_list(*Row._fields)
    return {str(values[0]): Row(*values) for values in found}


def _belongs(row: Row, kind: TaskType) -> bool:
    return row.is_open and row.type == kind


def _of_blocked(kind: TaskType, rows: Sequence[Row]) -> Iterator[Finding]:
    blocked = [row.pk for row in rows if row.state == State.BLOCKED]
    if not blocked:
        return
    for pk in expiry.hanging_among(blocked):
        yield Finding(Kind.HANGING, kind.value, str(pk))
    for pk in expiry.orphaned_among(blocked):
        yield Finding(Kind.ORPHANED, kind.value, str(pk))
