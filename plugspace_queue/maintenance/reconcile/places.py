"""The place of one task by its row and by Redis, and what is wrong with it."""

import uuid
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from plugspace_queue.broker.audit import Holds, RedisTaskState
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.maintenance.reconcile.findings import Finding

LATE_MS = 1000
"""Ms by which a delayed task may be due later in Redis than by its row."""

IN_LINE = Holds.IDX | Holds.DELAYED
PUBLISHED = IN_LINE | Holds.INBOX


class TaskPlace(StrEnum):
    """Where an open task is; each task is in exactly one place."""

    BLOCKED = "blocked"
    DELAYED = "delayed"
    WAITING = "waiting"
    RUNNING = "running"
    UNPUBLISHED = "unpublished"


class TaskRow(NamedTuple):
    """The columns of a task that determine its place in Redis."""

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
        """The name of its lane in Redis."""
        return f"{self.priority}:{self.organization_id}"


def place_of(row: TaskRow, state: RedisTaskState) -> TaskPlace:
    """Where an open task is according to Redis; blocked according to its row."""
    if Holds.OWN in state.holds:
        return TaskPlace.RUNNING
    if state.holds & (Holds.IDX | Holds.INBOX):
        return TaskPlace.WAITING
    if Holds.DELAYED in state.holds:
        return TaskPlace.DELAYED
    return TaskPlace.BLOCKED if row.state == State.BLOCKED else TaskPlace.UNPUBLISHED


def compare_task(kind: TaskType, row: TaskRow | None, state: RedisTaskState) -> Iterator[Finding]:
    """Findings about one task in this queue, except about parents that have ended."""
    for code, fence in _wrongs(kind, row, state):
        key = state.lane if code == "lane_off" else state.task_id
        yield Finding(code, kind.value, key, fence)


def _wrongs(
    kind: TaskType, row: TaskRow | None, state: RedisTaskState
) -> Iterator[tuple[str, int]]:
    """Codes, and the fence of the attempt concerned (0: none)."""
    if row is None or not row.is_open or row.type != kind:
        yield from _wrongs_of_stranger(row, state)
        return
    if Holds.SNAPSHOT not in state.holds:
        yield "snapshot_missing", 0
    if Holds.OWN in state.holds:
        yield from _wrongs_of_owned(row, state)
    elif row.state == State.PROCESSING:
        yield "processing_in_line" if state.holds & PUBLISHED else "attempt_lost", row.fence
    elif row.state != State.BLOCKED:
        yield from ((code, 0) for code in _wrongs_of_waiting(row, state))
    elif state.holds & IN_LINE:
        yield "blocked_in_line", 0


def _wrongs_of_stranger(row: TaskRow | None, state: RedisTaskState) -> Iterator[tuple[str, int]]:
    """Codes for a row that has ended, belongs to another queue, or does not exist."""
    # A stock job that RQ's own code delayed has no row; it is refused when it is due.
    is_stock_job = row is None and not state.holds & (Holds.IDX | Holds.JOB)
    if Holds.OWN in state.holds:
        yield "ghost_running", state.fence
    elif state.holds & IN_LINE and not is_stock_job:
        yield "ghost", 0


def _wrongs_of_owned(row: TaskRow, state: RedisTaskState) -> Iterator[tuple[str, int]]:
    if row.state == State.BLOCKED:
        yield "ghost_running", state.fence
    elif state.lease_ms < 0:
        # While its lease is valid the task belongs to its worker, whatever the row's state.
        yield "lease_ended", state.fence


def _wrongs_of_waiting(row: TaskRow, state: RedisTaskState) -> Iterator[str]:
    holds = state.holds
    if not holds & PUBLISHED:
        yield "unpublished"
        return
    if not holds & (Holds.INBOX | Holds.JOB):
        yield "job_missing"
    if Holds.IDX in holds:
        yield from _wrongs_in_line(row, state)
    elif Holds.DELAYED in holds and state.due_ms > _due_ms(row) + LATE_MS:
        yield "late"


def _wrongs_in_line(row: TaskRow, state: RedisTaskState) -> Iterator[str]:
    if not state.lane:
        # Its entry in idx is damaged, so its lane is unknown.
        yield "torn"
        return
    if Holds.WAIT not in state.holds:
        yield "torn"
    if Holds.LANE not in state.holds:
        yield "not_in_lane"
    if state.lane != row.lane:
        yield "wrong_lane"
    if Holds.SERVED not in state.holds:
        yield "lane_off"
    if Holds.DELAYED in state.holds:
        yield "doubled"


def _due_ms(row: TaskRow) -> int:
    return int(row.wake_at.timestamp() * 1000) if row.wake_at else 0
