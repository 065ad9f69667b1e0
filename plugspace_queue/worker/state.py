"""The leases of this process and the messages between its threads."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from plugspace_queue.broker import task_store
from plugspace_queue.broker.scripts import Call
from plugspace_queue.broker.task_store import MOST_ENTRIES, Lease, Note, Reaped, Settlement
from plugspace_queue.processing.execution import Execution, StopReason
from plugspace_queue.processing.outcome import AttemptResult

logger = logging.getLogger("plugspace_queue.worker")

ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


class HeldLease:
    """A lease from grant to settle; `execution` is set once the row is `processing`."""

    __slots__ = ("execution", "has_slot", "is_stop_asked", "lease", "queue", "task_id")

    def __init__(self, queue: str, lease: Lease) -> None:
        self.queue = queue
        self.lease = lease
        self.task_id = lease.task_id
        self.execution: Execution | None = None
        self.has_slot = True
        """Whether it takes a slot: from the grant until its call has returned."""
        self.is_stop_asked = False
        """Whether its attempt was asked to stop, perhaps before it had an execution."""

    def stop(self) -> bool:
        """Ask its attempt to stop (any thread); False when it was asked before."""
        # Set first: `launch` checks it for an execution created between this line and the next.
        self.is_stop_asked = True
        return self.execution is None or self.execution.ask_to_stop(StopReason.CANCEL)

    @property
    def is_of_a_task(self) -> bool:
        """Whether the id has the form of a task id."""
        return ID.fullmatch(self.task_id) is not None

    @property
    def has_no_call(self) -> bool:
        """Whether no call runs under this lease."""
        return self.execution is None or self.execution.is_returned


class LeaseTable:
    """The leases by task id; shared by all threads."""

    def __init__(self) -> None:
        self._held: dict[str, HeldLease] = {}
        self._replaced: list[HeldLease] = []
        self._lock = threading.Lock()

    def add(self, held: Iterable[HeldLease]) -> None:
        """Keep new leases; an execution under an older lease of the same task counts as lost."""
        with self._lock:
            for one in held:
                older = self._held.get(one.task_id)
                if older is not None and older.execution is not None:
                    older.execution.ask_to_stop(StopReason.LOST)
                    self._replaced.append(older)
                self._held[one.task_id] = one

    def remove(self, held: Iterable[HeldLease]) -> None:
        """Forget settled leases; a newer lease of the same task stays."""
        with self._lock:
            for one in held:
                if self._held.get(one.task_id) is one:
                    del self._held[one.task_id]

    def get(self, task_id: str) -> HeldLease | None:
        return self._held.get(task_id)

    def __bool__(self) -> bool:
        return bool(self._held)

    def all(self) -> list[HeldLease]:
        with self._lock:
            return list(self._held.values())

    def executions(self) -> list[tuple[HeldLease, Execution]]:
        """Started attempts whose end is not recorded yet."""
        with self._lock:
            replaced = self._replaced
            self._replaced = [h for h in replaced if h.execution and not h.execution.is_recorded]
            held = [*self._held.values(), *self._replaced]
        pairs = [(one, one.execution) for one in held]
        return [(one, execution) for one, execution in pairs if _is_running(execution)]  # type: ignore[misc]

    def fences(self, queue: str) -> Mapping[str, int]:
        """Id → fence of every lease of a queue."""
        return {h.task_id: h.lease.fence for h in self.all() if h.queue == queue}


def _is_running(execution: Execution | None) -> bool:
    return execution is not None and not execution.is_recorded


class Settle(NamedTuple):
    """Close a lease; its row is written, or needs no write."""

    held: HeldLease
    settlement: Settlement
    bump_fence: int = 0


class Announce(NamedTuple):
    """Copies and events of running attempts, sent with the next round trip."""

    queue: str
    notes: Sequence[Note]


class Notes:
    """What is to be told to Redis of one queue's attempts, in order.

    Of those notes that are void once their attempt has ended only the newest of each task is kept:
    they come without end while it runs, and Redis may be away.
    """

    def __init__(self) -> None:
        self._notes: dict[object, Note] = {}

    def __len__(self) -> int:
        return len(self._notes)

    def add(self, notes: Iterable[Note]) -> None:
        for note in notes:
            key = note.task_id if note.is_bound else object()
            # The newer one goes to the end: behind the note of the start that it follows.
            self._notes.pop(key, None)
            self._notes[key] = note

    def announcement(self, queue: str) -> tuple[Call[bool], Callable[[Any], None]]:
        """One call with the first of them, and what forgets these when Redis has answered."""
        keys = list(islice(self._notes, MOST_ENTRIES))

        def sent(_: object) -> None:
            for key in keys:
                del self._notes[key]

        return task_store.announce(queue, [self._notes[key] for key in keys]), sent


class SendToRedis(NamedTuple):
    """Messages to Redis from a commit of another thread, for one round trip."""

    messages: Sequence[Settle | Announce]


class Woken(NamedTuple):
    """The marker of this queue was set: tasks may be waiting."""

    queue: str


class Returned(NamedTuple):
    """The call of an attempt that was already ended returned, so its slot is free."""

    held: HeldLease


class Stop(NamedTuple):
    """Acquire no more tasks."""


class Guard(NamedTuple):
    """Leases just granted; their rows must become `processing` before anything runs."""

    held: Sequence[HeldLease]


class Ended(NamedTuple):
    """An attempt ended with this result."""

    held: HeldLease
    execution: Execution
    result: AttemptResult


class Progressed(NamedTuple):
    """An attempt reported progress."""

    held: HeldLease
    execution: Execution


class Lost(NamedTuple):
    """The lease renewer reaped these expired leases of other workers."""

    queue: str
    reaped: Sequence[Reaped]


RowMessage = Guard | Ended | Progressed | Lost
"""Messages that lead to writes into rows."""

LoopMessage = SendToRedis | Woken | Returned | Stop | Ended | Progressed | Lost


class StuckSlots:
    """Abandoned attempts whose calls have not returned and keep their slots (any thread)."""

    def __init__(self) -> None:
        self._since: dict[Execution, tuple[HeldLease, float]] = {}

    def add(self, held: HeldLease, execution: Execution) -> None:
        self._since[execution] = (held, time.monotonic())
        # Its call may have returned while it was being abandoned.
        if execution.is_returned:
            self.remove(execution)

    def remove(self, execution: Execution) -> None:
        if self._since:
            self._since.pop(execution, None)

    def longer_than(self, seconds: float) -> list[tuple[HeldLease, Execution]]:
        """Attempts that were abandoned at least `seconds` ago."""
        before = time.monotonic() - seconds
        stuck = list(self._since.items())
        return [(held, execution) for execution, (held, since) in stuck if since <= before]


FIRST_PAUSE = 0.05
LONGEST_PAUSE = 8.0
"""Bounds of the pause in seconds between two tries of a queue whose data in Redis is damaged."""

REPEATED_EVERY = 60.0
"""Least seconds between two log records about the same trouble."""


@dataclass(eq=False)
class Trouble:
    """Why one queue cannot be worked on, and when it is tried again."""

    reason: str
    pause: float = FIRST_PAUSE
    since: float = field(default_factory=time.monotonic)
    logged_at: float = float("-inf")
    failed_at: float = field(default_factory=time.monotonic)


class Troubles:
    """Queues whose data in Redis is damaged; only these are paused.

    A key of a wrong type, or a value that is not a number, makes the scripts of one queue fail. The
    queue is retried with growing pauses until a person or the reconciler has repaired it.
    """

    def __init__(self) -> None:
        self._of: dict[str, Trouble] = {}

    def note(self, name: str, error: Exception) -> float:
        """Note a failed call of this queue; return the seconds until the next try."""
        trouble = self._of.setdefault(name, Trouble(str(error)))
        trouble.reason = str(error)
        now = trouble.failed_at = time.monotonic()
        if now - trouble.logged_at >= REPEATED_EVERY:
            trouble.logged_at = now
            logger.error(
                "%s cannot be worked on, its data in Redis is damaged: %s"
                " (queue_reconcile --fix repairs it; it is tried again)",
                name,
                error,
            )
        pause, trouble.pause = trouble.pause, min(trouble.pause * 2, LONGEST_PAUSE)
        return pause

    def clear(self, name: str) -> None:
        """Note that all calls of this queue succeeded.

        The trouble is over when no call has failed for the longest pause.
        """
        trouble = self._of.get(name)
        if trouble is not None and time.monotonic() - trouble.failed_at > LONGEST_PAUSE:
            del self._of[name]
            logger.warning("%s is worked on again", name)

    def reasons(self) -> Mapping[str, str]:
        """The reason for each of these queues."""
        return {name: trouble.reason for name, trouble in self._lasting()}

    def longest(self) -> float:
        """Seconds since the oldest of them began."""
        began = [trouble.since for _, trouble in self._lasting()]
        return time.monotonic() - min(began) if began else 0.0

    def _lasting(self) -> list[tuple[str, Trouble]]:
        """Those that failed recently, as a queue without work may not have been tried since."""
        oldest = time.monotonic() - 2 * LONGEST_PAUSE
        return [(name, one) for name, one in list(self._of.items()) if one.failed_at > oldest]
