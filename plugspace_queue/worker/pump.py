"""The heart of a worker: one loop that settles what ended and acquires for every free slot.

Both go in one pipeline, so a turn is one round trip. Everything else happens in other threads,
which talk to the pump through its inbox.
"""

import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from redis.exceptions import RedisError

from plugspace_queue.broker import task_store
from plugspace_queue.broker.connection import is_spoiled
from plugspace_queue.broker.kept_connection import Wire
from plugspace_queue.broker.scripts import Call
from plugspace_queue.broker.task_store import Grant, Note
from plugspace_queue.worker import judge
from plugspace_queue.worker.desk import Desk, Limits, is_over
from plugspace_queue.worker.messages import (
    Announce,
    Guard,
    PumpMessage,
    RecorderMessage,
    Returned,
    Settle,
    Stop,
    Together,
    Woken,
)
from plugspace_queue.worker.table import Held, Table
from plugspace_queue.worker.troubles import Troubles
from plugspace_queue.worker.waker import Wakers

logger = logging.getLogger("plugspace_queue.worker")

LONGEST_WAIT = LONGEST_TROUBLE = 1.0

Step = tuple[str, Call[Any], Callable[[Any], None]]
"""The queue, what is sent for it, and what is done with the answer."""


class Pump:
    """Runs in the main thread until told to stop or out of work it may do."""

    def __init__(
        self,
        worker_name: str,
        desks: Iterable[Desk],
        *,
        wire: Wire,
        table: Table,
        wakers: Wakers,
        record: Callable[[RecorderMessage], None],
        may_take: Callable[[], bool],
        lease: float,
        limits: Limits,
        on_stop: Callable[[], None],
        mend: Callable[[], None],
    ) -> None:
        self.inbox: queue.SimpleQueue[PumpMessage] = queue.SimpleQueue()
        self.is_stopping = False
        self.ended = 0
        self.turned_at = time.monotonic()
        self._worker_name = worker_name
        self._desks = {desk.name: desk for desk in desks}
        self._wire = wire
        self._table = table
        self._wakers = wakers
        self._record = record
        self._may_take = may_take
        self._lease_ms = round(lease * 1000)
        self._limits = limits
        self._on_stop = on_stop
        self._mend = mend
        self._taken = 0
        self._active_at = time.monotonic()
        self._trouble = 0.0
        self._troubled_at = 0.0
        self.troubles = Troubles()
        self._turn = 0
        self._returned: deque[Held] = deque()
        self._is_told_of_returned = False

    @property
    def desks(self) -> list[Desk]:
        """What the pump knows of its queues."""
        return list(self._desks.values())

    def returned(self, held: Held) -> None:
        """An attempt's call came back (any thread): its slot is free, its ending unwritten.

        One message stands for all that come back until the pump looks.
        """
        self._returned.append(held)
        if not self._is_told_of_returned:
            self._is_told_of_returned = True
            self.inbox.put(Returned())

    def run(self, is_over: Callable[[], bool]) -> None:
        """Turn until `is_over()` or the limits say so; leaves nothing of its own unsettled."""
        while not (self._is_done() or is_over()):
            self.turn(self._collect())

    def turn(self, messages: Iterable[PumpMessage]) -> None:
        """One round: take in the messages, one round trip, hand out what came back."""
        self.turned_at = time.monotonic()
        for message in messages:
            self._take_in(message)
        plan = [*self._reports(), *self._requests()]
        if plan:
            self._send(plan)
        self._wakers.watch(self._hungry())

    def _collect(self) -> list[PumpMessage]:
        messages: list[PumpMessage] = []
        try:
            messages.append(self.inbox.get(timeout=self._patience()))
            while True:
                messages.append(self.inbox.get_nowait())
        except queue.Empty:
            return messages

    def _patience(self) -> float:
        """Seconds until there is something to do without a message."""
        if self._trouble:
            return self._trouble
        now = time.monotonic()
        if not self._accepts():
            rests = [desk.rest(now) for desk in self._desks.values() if desk.settles or desk.notes]
            return min((rest for rest in rests if rest), default=LONGEST_WAIT)
        if any(desk.may_ask(now) for desk in self._desks.values()):
            return 0.001
        due = [soon for desk in self._desks.values() for soon in desk.wants_soon(now)]
        return min(max(min(due, default=LONGEST_WAIT), 0.001), LONGEST_WAIT)

    def _take_in(self, message: PumpMessage) -> None:
        match message:
            case Settle(held=held):
                self._desks[held.queue].settles.append(message)
            case Together(messages=messages):
                for one in messages:
                    self._take_in(one)
            case Announce(queue=name, notes=notes):
                self._desks[name].notes.extend(notes)
            case Woken(queue=name):
                self._desks[name].is_ready = True
            case Returned():
                self._free_returned()
            case Stop():
                self.is_stopping = True
                self._on_stop()

    # What goes out.

    def _reports(self) -> list[Step]:
        steps: list[Step] = []
        now = time.monotonic()
        for desk in self._desks.values():
            if desk.rest(now):
                continue
            if desk.notes:
                steps.append(self._announcement(desk, desk.notes[:]))
            steps += [self._fence(desk, s) for s in desk.settles if s.bump_fence]
            if desk.settles:
                steps.append(self._settlement(desk, desk.settles[:]))
        return steps

    def _announcement(self, desk: Desk, notes: list[Note]) -> Step:
        def sent(_: None) -> None:
            del desk.notes[: len(notes)]

        return desk.name, task_store.announce(desk.name, notes), sent

    def _fence(self, desk: Desk, settle: Settle) -> Step:
        return desk.name, task_store.bump_fence(desk.name, settle.bump_fence), lambda _: None

    def _settlement(self, desk: Desk, settles: list[Settle]) -> Step:
        def settled(_: list[bool]) -> None:
            # A refused one is not ours any more: either way the lease is off our hands.
            del desk.settles[: len(settles)]
            for settle in settles:
                self._release(desk, settle.held)
            if self._limits.burst:
                # What was settled may have put something in line: ask once more before the end.
                for other in self._desks.values():
                    other.is_ready = other.is_deep = True

        call = task_store.settle(desk.name, [settle.settlement for settle in settles])
        return desk.name, call, settled

    def _release(self, desk: Desk, held: Held) -> None:
        self._table.remove(held)
        self.ended += 1
        desk.held -= 1
        self._active_at = time.monotonic()
        if is_over(held):
            self._free(held)

    def _free_returned(self) -> None:
        # The flag first: who comes back from here on tells again.
        self._is_told_of_returned = False
        while self._returned:
            self._free(self._returned.popleft())

    def _free(self, held: Held) -> None:
        """The slot is free for another task while this one's ending is still being written."""
        if held.has_slot:
            held.has_slot = False
            self._desks[held.queue].busy -= 1

    def _requests(self) -> list[Step]:
        """Calls for every free slot that may be filled; the queue that goes first rotates."""
        desks = list(self._desks.values())
        if not desks or not self._accepts():
            return []
        self._turn, now = self._turn + 1, time.monotonic()
        first = self._turn % len(desks)
        steps: list[Step] = []
        budget = self._budget()
        for desk in desks[first:] + desks[:first]:
            for want in desk.asks(now, budget):
                steps.append((desk.name, self._acquire(desk, want), self._granted(desk, want)))
                budget -= want
        return steps

    def _acquire(self, desk: Desk, want: int) -> Call[Grant]:
        worker, lease = self._worker_name, self._lease_ms
        return task_store.acquire(desk.name, worker=worker, want=want, lease_ms=lease)

    def _granted(self, desk: Desk, want: int) -> Callable[[Grant], None]:
        def granted(grant: Grant) -> None:
            granted = [Held(desk.name, lease) for lease in grant.leases]
            held = [one for one in granted if one.id]
            if grant.status == "unconfigured":
                self._mend()
            for task_id in grant.foreign:
                logger.error("refused a stock job on %s: %s", desk.name, task_id)
            desk.is_ready = desk.is_deep = len(granted) == want
            self._drop(desk, [one for one in granted if one not in held])
            desk.ask_at = time.monotonic() + grant.retry_ms / 1000 if grant.retry_ms else 0.0
            if held:
                desk.busy += len(held)
                desk.held += len(held)
                self._taken += len(held)
                self._active_at = time.monotonic()
                self._table.add(held)
                self._record(Guard(held))

        return granted

    def _drop(self, desk: Desk, strangers: list[Held]) -> None:
        """Leases on what can be no task of ours: no row could be asked about it."""
        for held in strangers:
            logger.error("dropped %r from %s: it is no id of a task", held.task_id, desk.name)
            held.has_slot = False
            desk.held += 1
            desk.settles.append(Settle(held, judge.forget(held)))

    def _send(self, plan: list[Step]) -> None:
        try:
            outcomes = self._wire.run_each([call for _, call, _ in plan])
        except RedisError as error:
            # Everything is kept and sent again; settles and announcements may arrive twice.
            self._note_trouble(error)
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
            self._note_trouble(refusal)
        else:
            self._trouble = 0.0

    def _rest(self, asked: set[str], damaged: dict[str, Exception]) -> None:
        """A queue whose calls fail is left alone for a while, and no other."""
        for name in asked - damaged.keys():
            self.troubles.clear(name)
        for name, error in damaged.items():
            pause = self.troubles.note(name, error)
            self._desks[name].rests_until = time.monotonic() + pause

    def _note_trouble(self, error: Exception) -> None:
        if not self._trouble:
            self._troubled_at = time.monotonic()
        self._trouble = min(self._trouble * 2 or 0.05, LONGEST_TROUBLE)
        logger.warning("Redis does not answer: %s; again in %.2f s", error, self._trouble)

    def stands_for(self) -> float:
        """Seconds for which something has kept work from being done, while nothing runs."""
        if self._table.all():
            return 0.0
        away = time.monotonic() - self._troubled_at if self._trouble else 0.0
        return max(away, self.troubles.longest())

    # When to take, when to end.

    def _accepts(self) -> bool:
        return not self.is_stopping and self._budget() > 0 and self._may_take()

    def _budget(self) -> int:
        most = self._limits.max_jobs
        return 1_000_000 if most is None else max(most - self._taken, 0)

    def _hungry(self) -> list[str]:
        if not self._accepts():
            return []
        return [d.name for d in self._desks.values() if d.free() > 0 and not d.is_ready]

    def is_idle(self) -> bool:
        """Nothing is held and nothing waits to be told."""
        desks = self._desks.values()
        return not self._table.all() and not any(desk.settles or desk.notes for desk in desks)

    def _is_done(self) -> bool:
        if not self.is_idle():
            return False
        if self.is_stopping or self._budget() == 0:
            return True
        if self._limits.burst:
            return not any(desk.is_ready for desk in self._desks.values())
        patience = self._limits.max_idle_time
        return patience is not None and time.monotonic() - self._active_at >= patience
