"""What goes into the scripts and what comes out of them, in words of the product.

Named tuples are those of which every task makes some: four times as quick to make.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from plugspace_queue.schemas.task import Values

Outcome = Literal["ok", "fail", "retry", "back", "stopped", "drop"]
GrantStatus = Literal["ok", "empty", "limited", "full", "paused", "unconfigured"]
PlaceName = Literal["waiting", "running", "delayed", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A task to put into its line."""

    task_id: str
    band: int
    """0 (served first) to 3."""
    organization_id: str
    snapshot: str
    """JSON of the task."""
    values: Values | None = None
    """What the snapshot tells besides, if there is room."""
    timeout: int
    """Seconds one attempt may run."""
    created_at: str
    """ISO 8601."""
    description: str
    due_ms: int = 0
    """Not before this time, ms since 1970; 0 = now."""
    front: bool = False


class Lease(NamedTuple):
    """The right to run one attempt."""

    task_id: str
    fence: int
    """Token; each later grant of the queue has a higher one."""
    execution_id: str
    organization_id: str
    band: int


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to a worker that asked for tasks."""

    status: GrantStatus
    retry_ms: int
    """Ms until it is worth asking again; 0 = only when woken."""
    leases: list[Lease]
    foreign: list[str]
    """Ids of stock jobs that were refused."""


class Settlement(NamedTuple):
    """How an attempt ended.

    `back` goes to the front of its lane, uncounted; `retry` too, at once or when due; `drop`
    forgets a task whose row is final or gone.
    """

    task_id: str
    fence: int
    outcome: Outcome
    snapshot: str | None = None
    """JSON of the task; None leaves what is there."""
    values: Values | None = None
    """What the snapshot tells besides, if there is room."""
    snapshot_ttl: int = 0
    """Seconds; 0 = no end."""
    result: str | None = None
    """JSON of the result; None without one, or when it is too large for Redis."""
    is_large: bool = False
    """Whether there is a result that is too large for Redis: a note is kept in its place."""
    tells_result: bool = False
    """Whether the script puts the result into snapshot and event, which come without it."""
    result_ttl: int | None = None
    """Seconds; None = RESULT_TTL, 0 = RQ keeps nothing of the job."""
    due_ms: int = 0
    error: str = ""
    """What RQ's pages show for a failure."""
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
    """What a worker learns once a second."""

    lost: list[str]
    """Held ids that somebody else owns now, or nobody."""
    reaped: list[Reaped]
    handed_back: list[str]
    """Ids this worker owned without knowing; they wait again, uncounted."""
    foreign: list[str]
    due_ms: int
    """Ms until the next delayed task is due; 0 = none is delayed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task was when it was to be withdrawn."""

    name: Literal["removed", "running", "absent"]
    worker: str
    """Name of the worker that runs it, else empty."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The queue in three numbers."""

    waiting: int
    active: int
    delayed: int


class Window(NamedTuple):
    """An organization's request window after a request, as the script answers it."""

    allowed: bool
    used: int
    reset_ms: int
    """Ms until the window ends."""


class Note(NamedTuple):
    """News of a running attempt; the snapshot is kept only while it runs."""

    task_id: str
    snapshot: str | None = None
    """JSON of the task; None leaves what is there."""
    event: str | None = None
    """JSON, written to the stream of events."""
    fence: int = 0
    """Of the attempt that the snapshot tells of; 0 = of whichever runs."""
    is_bound: bool = False
    """Whether the event too is void once that attempt does not run."""
    values: Values | None = None
    """What the snapshot tells besides, if there is room."""
    result: str = ""
    """JSON of a result that the event tells, if the organization's budget has room."""
    is_large: bool = False
    """Whether there is one that is too large for the stream."""
    organization_id: str = ""
    """Whose result it is."""
