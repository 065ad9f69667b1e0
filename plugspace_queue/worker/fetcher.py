"""The way to Redis: one round trip settles what has ended and acquires for every free slot."""

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
from plugspace_queue.broker.task_store import Grant, Note
from plugspace_queue.worker import unstarted
from plugspace_queue.worker.state import Announce, HeldLease, LeaseTable, Settle, Troubles

logger = logging.getLogger("plugspace_queue.worker")

LONGEST_WAIT = LONGEST_TROUBLE = 1.0

MOST_HELD = 2
"""Leases not settled, for each slot: a slow database stops the taking, and a worker that is killed
leaves few that run again after they have ended."""

MOST_PER_CALL = 48
"""Leases of one script call: more would hold the server for milliseconds."""

Step = tuple[str, Call[Any], Callable[[Any], None]]
"""The queue, what is sent for it, and what is done with the answer."""


@dataclass(kw_only=True)
class Limits:
    """When to end by itself; None: never."""

    burst: bool = False
    max_jobs: int | None = None
    max_idle_time: float | None = None


@dataclass(eq=False)
class QueueSlots:
    """One queue of this worker: its slots, and what is to be sent for it."""

    name: str
    slots: int
    busy: int = 0
    """Slots taken: leases whose call has not come back."""
    held: int = 0
    """Leases not settled: those of busy slots, and endings on their way into the rows."""
    is_ready: bool = True
    """Whether tasks may be waiting."""
    is_deep: bool = True
    """Whether more may wait than one call asks for: nobody has asked yet, or the last answer was
    full."""
    ask_at: float = 0.0
    rests_until: float = 0.0
    """Nothing is sent for it before: its last calls failed."""
    notes: list[Note] = field(default_factory=list)
    settles: list[Settle] = field(default_factory=list)

    def free(self) -> int:
        return max(self.slots - self.busy, 0)

    def room(self) -> int:
        """Leases to ask for when what is settled goes first, in the same pipeline."""
        frees = sum(one.held.has_slot and one.held.has_no_call for one in self.settles)
        unsettled = self.held - len(self.settles)
        return min(self.slots - self.busy + frees, MOST_HELD * self.slots - unsettled)

    def asks(self, now: float, budget: int) -> list[int]:
        """How many leases to ask for, call by call; in one call alone while few may wait.

        Calls that find nothing would hold up the first task of an idle worker.
        """
        wanted = min(self.room(), budget) if self.is_due(now) else 0
        most = wanted if self.is_deep else min(wanted, MOST_PER_CALL)
        return [min(most - done, MOST_PER_CALL) for done in range(0, most, MOST_PER_CALL)]

    def rest(self, now: float) -> float:
        """Seconds until anything may be sent for it."""
        return max(self.rests_until - now, 0.0)

    def has_reports(self, now: float) -> bool:
        """Whether something is to be sent to Redis right now."""
        return bool(self.settles or self.notes) and not self.rest(now)

    def wants_soon(self, now: float) -> list[float]:
        """Seconds until there is something to send for it, as far as it is known."""
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
        """Seconds until the server is asked again; 0 while it answers."""
        self._paused_until = 0.0
        self._away_since = 0.0

    def tell(self, messages: Iterable[Settle | Announce]) -> None:
        """Send these with the next round trip."""
        for one in messages:
            if isinstance(one, Settle):
                self.queues[one.held.queue].settles.append(one)
            else:
                self.queues[one.queue].notes.extend(one.notes)

    def exchange(self) -> list[HeldLease]:
        """One round trip, if there is anything to send; the leases that were granted."""
        if time.monotonic() < self._paused_until:
            return []
        plan = [*self._reports(), *self._requests()]
        if plan:
            self._send(plan)
        granted, self._granted = self._granted, []
        return granted

    def free(self, held: HeldLease) -> None:
        """The slot is free for another task while this one's ending is still to be written."""
        if held.has_slot:
            held.has_slot = False
            self.queues[held.queue].busy -= 1

    def close(self) -> None:
        self._connection.close()

    # What goes out.

    def _reports(self) -> list[Step]:
        steps: list[Step] = []
        now = time.monotonic()
        for queue in self.queues.values():
            if queue.rest(now):
                continue
            if queue.notes:
                steps.append(self._announcement(queue, queue.notes[:]))
            steps += [self._fence(queue, one) for one in queue.settles if one.bump_fence]
            if queue.settles:
                steps.append(self._settlement(queue, queue.settles[:]))
        return steps

    def _announcement(self, queue: QueueSlots, notes: list[Note]) -> Step:
        def sent(_: None) -> None:
            del queue.notes[: len(notes)]

        return queue.name, task_store.announce(queue.name, notes), sent

    def _fence(self, queue: QueueSlots, settle: Settle) -> Step:
        return queue.name, task_store.bump_fence(queue.name, settle.bump_fence), lambda _: None

    def _settlement(self, queue: QueueSlots, settles: list[Settle]) -> Step:
        def settled(_: list[bool]) -> None:
            # A refused one is not ours any more: either way the lease is done with.
            del queue.settles[: len(settles)]
            self._release(queue, [one.held for one in settles])
            if self._limits.burst:
                # What was settled may have released something: ask once more before the end.
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
        """Something may be waiting in any queue."""
        for queue in self.queues.values():
            queue.is_ready = queue.is_deep = True

    def _requests(self) -> list[Step]:
        """Calls for every free slot that may be filled; the queue that goes first rotates."""
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
        """Settle a lease on what can be no task of ours: no row could be asked about it."""
        logger.error("dropped %r from %s: it is no id of a task", stranger.task_id, queue.name)
        stranger.has_slot = False
        queue.settles.append(Settle(stranger, unstarted.drop(stranger)))

    def _send(self, plan: list[Step]) -> None:
        try:
            outcomes = self._connection.run_each([call for _, call, _ in plan])
        except RedisError as error:
            # Everything is kept and sent again; settles and announcements may arrive twice.
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
        """A queue whose calls fail is left alone for a while, and no other."""
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

    # When to take, when to end.

    def accepts(self) -> bool:
        """Whether the worker may take tasks at all."""
        return not self.is_stopping and self.budget() > 0 and self._may_take()

    def budget(self) -> int:
        """How many more it may take."""
        most = self._limits.max_jobs
        return 1_000_000 if most is None else max(most - self._taken, 0)

    def patience(self) -> float:
        """Seconds until there is something to send without a message."""
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

    def hungry(self) -> list[str]:
        """Queues whose slots are free and whose last answer was not full."""
        if not self.accepts():
            return []
        return [q.name for q in self.queues.values() if q.free() > 0 and not q.is_ready]

    def is_idle(self) -> bool:
        """Nothing is held and nothing is to be sent."""
        queues = self.queues.values()
        return not self._table and not any(queue.settles or queue.notes for queue in queues)

    def stands_for(self) -> float:
        """Seconds for which something has kept work from being done, while nothing runs."""
        if self._table:
            return 0.0
        away = time.monotonic() - self._away_since if self._pause else 0.0
        return max(away, self.troubles.longest())
