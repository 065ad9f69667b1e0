"""Arguments and answers of the scripts.

Types of which every task needs several are named tuples, which are created four times as fast.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from plugspace_queue.schemas.task import Values

Outcome = Literal["ok", "fail", "retry", "back", "stopped", "drop"]
GrantStatus = Literal["ok", "empty", "limited", "full", "paused", "unconfigured"]
PlaceName = Literal["waiting", "running", "delayed", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A task to add to its queue."""

    task_id: str
    band: int
    """0 (served first) to 3."""
    organization_id: str
    snapshot: str
    """JSON of the task."""
    values: Values | None = None
    """Further members of the snapshot, written if the budget has room."""
    timeout: int
    """Seconds one attempt may run."""
    created_at: str
    """ISO 8601."""
    description: str
    due_ms: int = 0
    """Earliest start, ms since 1970; 0 = now."""
    front: bool = False


class Lease(NamedTuple):
    """The right to run one attempt."""

    task_id: str
    fence: int
    """The fencing token; each later grant of the queue has a higher one."""
    execution_id: str
    organization_id: str
    band: int


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to a worker that asked for tasks."""

    status: GrantStatus
    retry_ms: int
    """Ms until the worker should ask again; 0 = only when woken by the marker."""
    leases: list[Lease]
    foreign: list[str]
    """Ids of stock jobs that were refused."""


class Settlement(NamedTuple):
    """How an attempt ended.

    `back` returns the task to the front of its lane, uncounted; `retry` does so at once or when
    due; `drop` removes a task whose row is final or deleted.
    """

    task_id: str
    fence: int
    outcome: Outcome
    snapshot: str | None = None
    """JSON of the task; None leaves what is there."""
    values: Values | None = None
    """Further members of the snapshot, written if the budget has room."""
    snapshot_ttl: int = 0
    """Seconds; 0 = for ever."""
    result: str | None = None
    """JSON of the result; None without one, or when it is too large for Redis."""
    is_large: bool = False
    """Whether the result is too large for Redis, so that a note is stored in its place."""
    tells_result: bool = False
    """Whether the script adds the result to snapshot and event, which are sent without it."""
    result_ttl: int | None = None
    """Seconds; None = RESULT_TTL, 0 = the job is deleted at once."""
    due_ms: int = 0
    error: str = ""
    """The failure that RQ's pages show."""
    event: str | None = None
    """JSON, written to the stream of events in the same step."""
    task_type: str = ""
    counted: bool = True
    """Whether it adds to the lifetime counts."""


@dataclass(frozen=True, slots=True)
class Reaped:
    """An attempt whose lease ran out; its task waits again."""

    task_id: str
    fence: int
    worker: str


@dataclass(frozen=True, slots=True)
class Tick:
    """The answer to a worker's tick, once a second."""

    lost: list[str]
    """Held ids that this worker's attempt no longer owns."""
    reaped: list[Reaped]
    handed_back: list[str]
    """Ids granted to this worker in an answer it never got; they wait again, uncounted."""
    foreign: list[str]
    due_ms: int
    """Ms until the next delayed task is due; 0 = none is delayed."""


@dataclass(frozen=True, slots=True)
class Place:
    """The result of withdrawing a task."""

    name: Literal["removed", "running", "absent"]
    worker: str
    """Name of the worker that runs it, else empty."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Tasks of a queue by state."""

    waiting: int
    active: int
    delayed: int


class Window(NamedTuple):
    """An organization's request window after a request."""

    allowed: bool
    used: int
    reset_ms: int
    """Ms until the window ends."""


class Note(NamedTuple):
    """A snapshot and an event of a running attempt; the snapshot is written only while it runs."""

    task_id: str
    snapshot: str | None = None
    """JSON of the task; None leaves what is there."""
    event: str | None = None
    """JSON, written to the stream of events."""
    fence: int = 0
    """The attempt of the snapshot; 0 = whichever runs."""
    is_bound: bool = False
    """Whether the event too is dropped when that attempt no longer runs."""
    values: Values | None = None
    """Further members of the snapshot, written if the budget has room."""
    result: str = ""
    """JSON of a result to add to the event, if the organization's budget has room."""
    is_large: bool = False
    """Whether the result is too large for the stream."""
    organization_id: str = ""
    """The organization of the result."""
