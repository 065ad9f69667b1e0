"""The exchange with Redis: one round trip settles ended tasks and acquires for every free slot."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from plugspace_queue.broker import task_store
from plugspace_queue.broker.connection import is_spoiled
from plugspace_queue.broker.kept_connection import Wire
from plugspace_queue.broker.scripts import Call
from plugspace_queue.broker.task_store import Grant
from plugspace_queue.worker import unstarted
from plugspace_queue.worker.state import Announce, HeldLease, LeaseTable, Notes, Settle, Troubles

logger = logging.getLogger("plugspace_queue.worker")

LONGEST_WAIT = LONGEST_TROUBLE = 1.0

MOST_HELD = 2
"""Most unsettled leases per slot: while the database is slow the worker acquires nothing more, and
when it is killed only few tasks run again that had already ended."""

MOST_PER_CALL = 48
"""Most leases of one script call: more would block the Redis server for milliseconds."""

Step = tuple[str, Call[Any], Callable[[Any], None]]
"""The queue, the call to send, and the function that takes its answer."""


@dataclass(kw_only=True)
class Limits:
    """When the worker ends by itself; None for never."""

    burst: bool = False
    max_jobs: int | None = None
    max_idle_time: float | None = None


@dataclass(eq=False)
class QueueSlots:
    """One queue of this worker: its slots and the messages to send for it."""

    name: str
    slots: int
    busy: int = 0
    """Slots taken: leases whose call has not returned."""
    held: int = 0
    """Unsettled leases: those of busy slots, and those whose ending is still being written."""
    is_ready: bool = True
    """Whether tasks may be waiting, so that asking is worthwhile."""
    is_deep: bool = True
    """Whether more tasks may wait than one call asks for: true before the first call, and after an
    answer with all leases asked for."""
    ask_at: float = 0.0
    rests_until: float = 0.0
    """Nothing is sent for it before: its last calls failed."""
    notes: Notes = field(default_factory=Notes)
    settles: list[Settle] = field(default_factory=list)

    def free(self) -> int:
        return max(self.slots - self.busy, 0)

    def room(self) -> int:
        """Number of leases to ask for, given that pending settles go first in the same pipeline."""
        frees = sum(one.held.has_slot and one.held.has_no_call for one in self.settles)
        unsettled = self.held - len(self.settles)
        return min(self.slots - self.busy + frees, MOST_HELD * self.slots - unsettled)

    def asks(self, now: float, budget: int) -> list[int]:
        """How many leases to ask for in each call; a single call unless many tasks may wait.

        Further calls that find nothing would delay the first task of an idle worker.
        """
        wanted = min(self.room(), budget) if self.is_due(now) else 0
        most = wanted if self.is_deep else min(wanted, MOST_PER_CALL)
        return [min(most - done, MOST_PER_CALL) for done in range(0, most, MOST_PER_CALL)]

    def rest(self, now: float) -> float:
        """Seconds until anything may be sent for it."""
        return max(self.rests_until - now, 0.0)

    def has_reports(self, now: float) -> bool:
        """Whether there are settles or notes that may be sent now."""
        return bool(self.settles or self.notes) and not self.rest(now)

    def wants_soon(self, now: float) -> list[float]:
        """Seconds until there is something to send for it; empty when no time is known."""
        if self.rests_until > now and (self.is_ready or self.settles or self.notes):
            return [self.rests_until - now]
        return [max(self.ask_at, self.rests_until) - now] if self.ask_at and self.free() else []

    def is_due(self, now: float) -> bool:
        if self.rests_until > now:
            return False
        return self.is_ready or bool(self.ask_at and now >= self.ask_at)

    def may_ask(self, now: float) -> bool:
        return self.room() > 0 and self.free() > 0 and self.is_due(now)


class Fetcher:
    """Settles and acquires; used by the loop's thread only."""

    def __init__(
        self,
        worker_name: str,
        queues: Iterable[QueueSlots],
        *,
        connection: Wire,
        table: LeaseTable,
        limits: Limits,
        lease: float,
        may_take: Callable[[], bool],
        on_unconfigured: Callable[[], None],
    ) -> None:
        self.queues: Mapping[str, QueueSlots] = {one.name: one for one in queues}
        self.is_stopping = False
        self.settled = 0
        self.active_at = time.monotonic()
        self.troubles = Troubles()
        self._worker_name = worker_name
        self._connection = connection
        self._table = table
        self._limits = limits
        self._lease_ms = round(lease * 1000)
        self._may_take = may_take
        self._on_unconfigured = on_unconfigured
        self._granted: list[HeldLease] = []
        self._taken = 0
        self._turn = 0
        self._pause = 0.0
        """Current backoff in seconds after errors of the server; 0 while it answers."""
        self._paused_until = 0.0
        self._away_since = 0.0

    def send(self, messages: Iterable[Settle | Announce]) -> None:
        """Send these with the next round trip."""
        for one in messages:
            if isinstance(one, Settle):
                self.queues[one.held.queue].settles.append(one)
            else:
                self.queues[one.queue].notes.add(one.notes)

    def exchange(self) -> list[HeldLease]:
        """Make one round trip if there is anything to send; return the granted leases."""
        if time.monotonic() < self._paused_until:
            return []
        plan = [*self._reports(), *self._requests()]
        if plan:
            self._send(plan)
        granted, self._granted = self._granted, []
        return granted

    def free(self, held: HeldLease) -> None:
        """Free the slot of a lease, even if the task's ending is not written yet."""
        if held.has_slot:
            held.has_slot = False
            self.queues[held.queue].busy -= 1

    def close(self) -> None:
        self._connection.close()

    # Building and sending the calls.

    def _reports(self) -> list[Step]:
        steps: list[Step] = []
        now = time.monotonic()
        for queue in self.queues.values():
            if queue.rest(now):
                continue
            if queue.notes:
                steps.append((queue.name, *queue.notes.announcement(queue.name)))
            steps += [self._fence(queue, one) for one in queue.settles if one.bump_fence]
            if queue.settles:
                steps.append(self._settlement(queue, queue.settles[:]))
        return steps

    def _fence(self, queue: QueueSlots, settle: Settle) -> Step:
        return queue.name, task_store.bump_fence(queue.name, settle.bump_fence), lambda _: None

    def _settlement(self, queue: QueueSlots, settles: list[Settle]) -> Step:
        def settled(_: list[bool]) -> None:
            # A refused settle means that the lease is no longer ours; it is closed either way.
            del queue.settles[: len(settles)]
            self._release(queue, [one.held for one in settles])
            if self._limits.burst:
                # A settle may have let other tasks through; ask once more before the burst ends.
                self.ask_all_again()

        call = task_store.settle(queue.name, [one.settlement for one in settles])
        return queue.name, call, settled

    def _release(self, queue: QueueSlots, held: Sequence[HeldLease]) -> None:
        self._table.remove(held)
        self.settled += len(held)
        queue.held -= len(held)
        self.active_at = time.monotonic()
        for one in held:
            if one.has_slot and one.has_no_call:
                self.free(one)

    def ask_all_again(self) -> None:
        """Assume that tasks may be waiting in every queue."""
        for queue in self.queues.values():
            queue.is_ready = queue.is_deep = True

    def _requests(self) -> list[Step]:
        """Acquire calls for all free slots; queues take turns to be first, for fairness."""
        queues = list(self.queues.values())
        if not queues or not self.accepts():
            return []
        self._turn, now = self._turn + 1, time.monotonic()
        first = self._turn % len(queues)
        steps: list[Step] = []
        budget = self.budget()
        for queue in queues[first:] + queues[:first]:
            for want in queue.asks(now, budget):
                steps.append((queue.name, self._acquire(queue, want), self._take(queue, want)))
                budget -= want
        return steps

    def _acquire(self, queue: QueueSlots, want: int) -> Call[Grant]:
        worker, lease = self._worker_name, self._lease_ms
        return task_store.acquire(queue.name, worker=worker, want=want, lease_ms=lease)

    def _take(self, queue: QueueSlots, want: int) -> Callable[[Grant], None]:
        def take(grant: Grant) -> None:
            granted = [HeldLease(queue.name, lease) for lease in grant.leases]
            if grant.status == "unconfigured":
                self._on_unconfigured()
            for task_id in grant.foreign:
                logger.error("refused a stock job on %s: %s", queue.name, task_id)
            queue.is_ready = queue.is_deep = len(granted) == want
            queue.ask_at = time.monotonic() + grant.retry_ms / 1000 if grant.retry_ms else 0.0
            self._hold(queue, granted)

        return take

    def _hold(self, queue: QueueSlots, granted: list[HeldLease]) -> None:
        held = [one for one in granted if one.is_of_a_task]
        for one in granted if len(held) < len(granted) else ():
            if not one.is_of_a_task:
                self._drop(queue, one)
        queue.held += len(granted)
        if held:
            queue.busy += len(held)
            self._taken += len(held)
            self.active_at = time.monotonic()
            self._table.add(held)
            self._granted += held

    def _drop(self, queue: QueueSlots, stranger: HeldLease) -> None:
        """Settle a lease whose id is not a task id, as no row can exist for it."""
        logger.error("dropped %r from %s: it is no id of a task", stranger.task_id, queue.name)
        stranger.has_slot = False
        queue.settles.append(Settle(stranger, unstarted.drop(stranger)))

    def _send(self, plan: list[Step]) -> None:
        try:
            outcomes = self._connection.run_each([call for _, call, _ in plan])
        except RedisError as error:
            # All messages are kept and sent again; settles and announcements may arrive twice.
            self._note_away(error)
            return
        damaged: dict[str, Exception] = {}
        refusal: Exception | None = None
        for (name, _, take), outcome in zip(plan, outcomes, strict=True):
            if not isinstance(outcome, Exception):
                take(outcome)
            elif is_spoiled(outcome):
                damaged.setdefault(name, outcome)
            else:
                refusal = outcome
        self._rest({name for name, _, _ in plan}, damaged)
        if refusal is not None:
            self._note_away(refusal)
        else:
            self._pause = self._paused_until = 0.0

    def _rest(self, asked: set[str], damaged: dict[str, Exception]) -> None:
        """Pause only the queues whose calls failed."""
        for name in asked - damaged.keys():
            self.troubles.clear(name)
        for name, error in damaged.items():
            pause = self.troubles.note(name, error)
            self.queues[name].rests_until = time.monotonic() + pause

    def _note_away(self, error: Exception) -> None:
        now = time.monotonic()
        if not self._pause:
            self._away_since = now
        self._pause = min(self._pause * 2 or 0.05, LONGEST_TROUBLE)
        self._paused_until = now + self._pause
        logger.warning("Redis does not answer: %s; again in %.2f s", error, self._pause)

    # When to acquire and when to end.

    def accepts(self) -> bool:
        """Whether the worker may acquire tasks at all."""
        return not self.is_stopping and self.budget() > 0 and self._may_take()

    def budget(self) -> int:
        """How many more tasks it may acquire."""
        most = self._limits.max_jobs
        return 1_000_000 if most is None else max(most - self._taken, 0)

    def wait_seconds(self) -> float:
        """Seconds until there is something to send even if no message arrives."""
        now = time.monotonic()
        if self._paused_until > now:
            return max(self._paused_until - now, 0.001)
        queues = self.queues.values()
        if any(queue.has_reports(now) for queue in queues):
            return 0.0
        if not self.accepts():
            rests = [queue.rest(now) for queue in queues if queue.settles or queue.notes]
            return min((rest for rest in rests if rest), default=LONGEST_WAIT)
        if any(queue.may_ask(now) for queue in queues):
            return 0.001
        due = [soon for queue in queues for soon in queue.wants_soon(now)]
        return min(max(min(due, default=LONGEST_WAIT), 0.001), LONGEST_WAIT)

    def queues_with_free_slots(self) -> list[str]:
        """Queues with free slots whose last call found fewer tasks than it asked for."""
        if not self.accepts():
            return []
        return [q.name for q in self.queues.values() if q.free() > 0 and not q.is_ready]

    def is_idle(self) -> bool:
        """Whether no lease is held and nothing has to be sent."""
        queues = self.queues.values()
        return not self._table and not any(queue.settles or queue.notes for queue in queues)

    def outage_seconds(self) -> float:
        """Seconds for which an outage has blocked all work; 0 while a lease is held."""
        if self._table:
            return 0.0
        away = time.monotonic() - self._away_since if self._pause else 0.0
        return max(away, self.troubles.longest())
