"""Whether a row and its standing in Redis agree: pure rules, one place for each open task."""

import uuid
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from plugspace_queue.broker.audit import Holds, RedisTaskState
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State, TaskType
from plugspace_queue.maintenance.reconcile.findings import Finding, Kind

LATE_MS = 1000
"""Further behind its row than this a delayed task is late."""


class Place(StrEnum):
    """Where an open task is; exactly one of them is right."""

    BLOCKED = "blocked"
    DELAYED = "delayed"
    WAITING = "waiting"
    RUNNING = "running"
    UNPUBLISHED = "unpublished"


class Row(NamedTuple):
    """A task's row as far as its place depends on it."""

    pk: uuid.UUID
    type: str
    state: str
    fence: int
    priority: int
    organization_id: str
    wake_at: datetime | None
    workflow_id: uuid.UUID | None

    @property
    def is_open(self) -> bool:
        return State(self.state) not in lifecycle.FINAL

    @property
    def lane(self) -> str:
        """Where it waits, as Redis names it."""
        return f"{self.priority}:{self.organization_id}"


def place_of(row: Row, standing: RedisTaskState) -> Place:
    """Where an open task is by Redis, or blocked by its row."""
    if Holds.OWN in standing.holds:
        return Place.RUNNING
    if standing.holds & (Holds.IDX | Holds.INBOX):
        return Place.WAITING
    if Holds.DELAYED in standing.holds:
        return Place.DELAYED
    return Place.BLOCKED if row.state == State.BLOCKED else Place.UNPUBLISHED


Wrong = tuple[Kind, int]
"""What is wrong, and the fence of the attempt it is about (0: of none)."""


def judge(kind: TaskType, row: Row | None, standing: RedisTaskState) -> Iterator[Finding]:
    """What is wrong with a task in this queue; whether a blocked one hangs is asked elsewhere."""
    for wrong, fence in _wrongs(kind, row, standing):
        key = standing.lane if wrong is Kind.LANE_OFF else standing.task_id
        yield Finding(wrong, kind.value, key, fence)


def _wrongs(kind: TaskType, row: Row | None, standing: RedisTaskState) -> Iterator[Wrong]:
    if row is None or not row.is_open or row.type != kind:
        yield from _of_stranger(row, standing)
        return
    if Holds.SNAPSHOT not in standing.holds:
        yield Kind.SNAPSHOT_MISSING, 0
    if row.state == State.BLOCKED:
        yield from _of_blocked(standing)
    elif Holds.OWN in standing.holds:
        yield from _of_running(standing)
    elif row.state == State.PROCESSING:
        yield _of_processing(row, standing)
    else:
        yield from ((wrong, 0) for wrong in _of_waiting(row, standing))


def _of_stranger(row: Row | None, standing: RedisTaskState) -> Iterator[Wrong]:
    """A row that ended, that is of another queue, or that does not exist."""
    if Holds.OWN in standing.holds:
        yield Kind.GHOST_RUNNING, standing.fence
    elif standing.holds & (Holds.IDX | Holds.DELAYED) and not _is_foreign(row, standing):
        yield Kind.GHOST, 0


def _is_foreign(row: Row | None, standing: RedisTaskState) -> bool:
    """A stock job that RQ's own code delayed: it is refused when it is due."""
    return row is None and Holds.IDX not in standing.holds and Holds.JOB not in standing.holds


def _of_blocked(standing: RedisTaskState) -> Iterator[Wrong]:
    if Holds.OWN in standing.holds:
        yield Kind.GHOST_RUNNING, standing.fence
    elif standing.holds & (Holds.IDX | Holds.DELAYED):
        yield Kind.BLOCKED_IN_LINE, 0


def _of_running(standing: RedisTaskState) -> Iterator[Wrong]:
    """Whose lease holds is its worker's, whatever the row says just now."""
    if standing.lease_ms < 0:
        yield Kind.LEASE_ENDED, standing.fence


def _of_processing(row: Row, standing: RedisTaskState) -> Wrong:
    """A row that runs although nobody owns it; the fence says which attempt."""
    is_in_line = standing.holds & (Holds.IDX | Holds.DELAYED | Holds.INBOX)
    return (Kind.PROCESSING_IN_LINE if is_in_line else Kind.ATTEMPT_LOST), row.fence


def _of_waiting(row: Row, standing: RedisTaskState) -> Iterator[Kind]:
    holds = standing.holds
    if not holds & (Holds.IDX | Holds.DELAYED | Holds.INBOX):
        yield Kind.UNPUBLISHED
        return
    if Holds.INBOX not in holds and Holds.JOB not in holds:
        yield Kind.JOB_MISSING
    if Holds.IDX in holds:
        yield from _of_line(row, standing)
    elif Holds.DELAYED in holds and standing.due_ms > _due_ms(row) + LATE_MS:
        yield Kind.LATE


def _of_line(row: Row, standing: RedisTaskState) -> Iterator[Kind]:
    if not standing.lane:
        # Its entry in idx is no place: that says nothing of where it is.
        yield Kind.TORN
        return
    if Holds.WAIT not in standing.holds:
        yield Kind.TORN
    if Holds.LANE not in standing.holds:
        yield Kind.NOT_IN_LANE
    if standing.lane != row.lane:
        yield Kind.WRONG_LANE
    if Holds.SERVED not in standing.holds:
        yield Kind.LANE_OFF
    if Holds.DELAYED in standing.holds:
        yield Kind.DOUBLED


def _due_ms(row: Row) -> int:
    return int(row.wake_at.timestamp() * 1000) if row.wake_at else 0
