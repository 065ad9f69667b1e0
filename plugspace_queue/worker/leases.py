"""Renews leases, reaps those of dead workers, times attempts out.

It also lets delayed tasks in when they are due.
"""

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from redis import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from plugspace_queue import metrics
from plugspace_queue.broker import presence, scripts, task_store
from plugspace_queue.broker.connection import is_spoiled
from plugspace_queue.broker.task_store import Tick
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import clock
from plugspace_queue.processing.execution import Execution, StopReason
from plugspace_queue.worker.state import HeldLease, Lost, Progressed, Troubles

if TYPE_CHECKING:
    from plugspace_queue.worker.runtime import WorkerRuntime

logger = logging.getLogger("plugspace_queue.worker")

BEAT = 0.25
"""Seconds between two looks at timeouts and progress."""

TICK = 1.0
"""Seconds between two renewals of the leases."""

LISTENS = 3 * TICK
"""Seconds until a new worker reaps: owners whose server froze renew after a tick and a time-out."""


class LeaseRenewer(threading.Thread):
    """Beats four times a second, ticks once.

    A thread of its own, which waits for nothing but Redis: a database that hangs costs no lease.
    """

    def __init__(self, runtime: "WorkerRuntime", worker_name: str, *, client: Redis) -> None:
        super().__init__(name="plugspace-leases", daemon=True)
        self._runtime = runtime
        self._worker_name = worker_name
        self._client = client
        self._table = runtime.table
        self.troubles = Troubles()
        self._stopping = threading.Event()
        self._due = DelayedPromoter(client)
        self._dirty: set[Execution] = set()
        self._dirty_lock = threading.Lock()
        self.ticked_at = time.monotonic()
        self.beaten_at = time.monotonic()
        """When this thread last turned; old when it hangs somewhere."""
        self._reap_from = time.monotonic() + get_settings().lease
        self._asking_since: float | None = None
        """When the first tick began that the server has not answered yet."""
        self._run_id: str | None = None
        self._is_new = True

    def progress(self, execution: Execution) -> None:
        """An attempt reported progress; it goes out with the next beat (ProgressSink)."""
        with self._dirty_lock:
            self._dirty.add(execution)

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        beat_at, tick_at = time.monotonic() + BEAT, 0.0
        self._sign(self._attend())
        while not self._stopping.wait(self._due.within(beat_at - time.monotonic())):
            self._due.promote_due()
            self.beaten_at = time.monotonic()
            if self.beaten_at < beat_at:
                continue
            beat_at = self.beaten_at + BEAT
            self._beat()
            if time.monotonic() >= tick_at:
                # Counted from the beat: counted from here every second tick came a beat late.
                tick_at = self.beaten_at + TICK
                self._tick()
        self._sign(self._leave())

    # Each beat.

    def _beat(self) -> None:
        with self._dirty_lock:
            dirty, self._dirty = self._dirty, set()
        self._runtime.executors.look()
        now = time.monotonic()
        for held, execution in self._table.executions():
            if execution in dirty:
                self._runtime.inbox.put(Progressed(held, execution))
            self._watch(held, execution, now)

    def _watch(self, held: HeldLease, execution: Execution, now: float) -> None:
        """Tell an attempt that its time is over, then interrupt it, then give it up."""
        hard_stop = get_settings().hard_stop
        if execution.stop_reason in (None, StopReason.SHUTDOWN) and self._runtime.executors.is_late(
            execution
        ):
            execution.ask_to_stop(StopReason.TIMEOUT)
        if execution.must_stop and not execution.is_cancelled:
            execution.is_cancelled = True
            self._runtime.executors.cancel(execution)
        if execution.stop_reason in (None, StopReason.SHUTDOWN):
            return
        if not execution.interrupted_at and now - execution.stop_asked_at >= hard_stop:
            execution.interrupted_at = now
            self._runtime.executors.interrupt(execution)
        elif execution.interrupted_at and now - execution.interrupted_at >= TICK:
            self._runtime.executors.abandon(held, execution)

    # Each tick.

    def _tick(self) -> None:
        if not self._runtime.loop_is_alive():
            # A loop that does not turn must not keep its leases.
            logger.error("the loop does not turn; leases are not renewed")
            return
        if self._asking_since is None:
            self._asking_since = time.monotonic()
        try:
            self._watch_server(self._asking_since)
            held = {name: self._table.fences(name) for name in self._runtime.fetcher.queues}
            calls = [self._call(name, fences) for name, fences in held.items()]
            outcomes = scripts.run_each(
                self._client, [*calls, *self._attend(), *self._tell_troubles()]
            )
            for (name, fences), outcome in zip(held.items(), outcomes, strict=False):
                self._take_outcome(name, fences, outcome)
            _raise_refusal(outcomes)
            self.ticked_at = time.monotonic()
            self._asking_since = None
        except RedisError as error:
            self._fence_off(error)

    def _call(self, name: str, held: Mapping[str, int]) -> scripts.Call[Tick]:
        return task_store.tick(
            name,
            worker=self._worker_name,
            held=held,
            lease_ms=round(get_settings().lease * 1000),
            reap=time.monotonic() >= self._reap_from,
        )

    def _attend(self) -> list[scripts.Call[None]]:
        return [
            presence.heartbeat(name, worker=self._worker_name, slots=slots)
            for name, slots in self._runtime.attendance().items()
        ]

    def _leave(self) -> list[scripts.Call[None]]:
        return [
            presence.leave(name, worker=self._worker_name) for name in self._runtime.attendance()
        ]

    def _sign(self, calls: list[scripts.Call[None]]) -> None:
        """On or off; between them each tick does it."""
        try:
            scripts.run(self._client, calls)
        except RedisError as error:
            logger.warning("could not sign on or off: %s", error)

    def _tell_troubles(self) -> list[scripts.Call[None]]:
        reasons = {**self.troubles.reasons(), **self._runtime.fetcher.troubles.reasons()}
        return [presence.tell_trouble(name, reason) for name, reason in reasons.items()]

    def _take_outcome(
        self, name: str, fences: Mapping[str, int], outcome: Tick | Exception
    ) -> None:
        if not isinstance(outcome, Exception):
            self.troubles.clear(name)
            self._take_in(name, fences, outcome)
        elif is_spoiled(outcome):
            self.troubles.note(name, outcome)

    def _take_in(self, name: str, fences: Mapping[str, int], answer: Tick) -> None:
        for task_id in answer.lost:
            held = self._table.get(task_id)
            execution = held.execution if held is not None else None
            # One that has ended may have been settled since the ids were collected, and its task
            # may run again here: the answer is not about that run.
            if execution is None or execution.is_recorded or execution.fence != fences[task_id]:
                continue
            if execution.ask_to_stop(StopReason.LOST):
                logger.warning("the lease of %s is lost", task_id)
                execution.stop_asked_at -= get_settings().hard_stop
        if answer.reaped:
            metrics.count(metrics.REAPED, name.upper(), by=len(answer.reaped))
            logger.warning("took %d tasks from workers that died", len(answer.reaped))
            self._runtime.inbox.put(Lost(name, answer.reaped))
        log_refused(name, answer.foreign)
        self._due.hear(name, answer.due_ms)

    def _watch_server(self, asking_since: float) -> None:
        """What time it is, and whether leases may have run out whose owners live.

        So it is after a restart of the server, and when it was silent for half a lease. Then
        nobody reaps for one lease: owners come back first. A single tick that failed holds up
        nothing, nor does one that came late because this process had no turn: with a server that
        is often slow, or on a busy machine, the tasks of dead workers would be kept for good. A
        new worker knows of no silence, but its server may tell that it has been up for long.
        """
        is_new, self._is_new = self._is_new, False
        info = self._client.info("server")
        if stamp := info.get("server_time_usec"):
            clock.hear(int(stamp))
        run_id = str(info.get("run_id"))
        is_another = self._run_id is not None and run_id != self._run_id
        lease, now = get_settings().lease, time.monotonic()
        if is_new and int(info.get("uptime_in_seconds", 0)) > lease:
            self._reap_from = now + min(LISTENS, lease)
        elif is_another or now - asking_since > max(lease / 2, 2 * TICK):
            self._reap_from = now + lease
        self._run_id = run_id

    def _fence_off(self, error: RedisError) -> None:
        """Time-outs may mean that this process is cut off: end own work before others start it.

        A refused connection means the server is down for everybody: running work goes on.
        """
        silent = time.monotonic() - self.ticked_at
        logger.warning("no tick for %.1f s: %s", silent, error)
        lease = get_settings().lease
        if isinstance(error, RedisTimeoutError) and silent >= max(lease - 2, lease / 2):
            for _, execution in self._table.executions():
                if execution.ask_to_stop(StopReason.LOST):
                    execution.stop_asked_at -= get_settings().hard_stop


def _raise_refusal(outcomes: Sequence[object]) -> None:
    """What the server as a whole refuses; the damage of one queue is noted with it."""
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not is_spoiled(outcome):
            raise outcome


SPACING = 0.05
"""Seconds between two looks at a queue: many due times in a row must not keep Redis busy."""

MOST_CALLS = 50
"""Calls of one look; each lets in a hundred."""

OVERDUE = 1
"""Ms that are reported when more is due right now."""


class DelayedPromoter:
    """Moves delayed tasks into line when they are due, whether this worker may start any or not.

    A worker with a free slot asks for tasks at that moment anyway. One whose slots are taken, or
    whose queue is paused or limited, would see them with its next tick only. It learns of due times
    by its ticks: what is delayed for less than a second may still come in with the tick.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._due: dict[str, float] = {}

    def hear(self, name: str, due_ms: int) -> None:
        """The next one of this queue is due in so many ms; 0: none is delayed."""
        if due_ms:
            self._due[name] = time.monotonic() + max(due_ms / 1000, SPACING)
        else:
            self._due.pop(name, None)

    def within(self, most: float) -> float:
        """Seconds until there is something to do here, at most so many."""
        soonest = min(self._due.values(), default=float("inf"))
        return min(max(soonest - time.monotonic(), 0.0), most)

    def promote_due(self) -> None:
        """Let in what is due by now."""
        now = time.monotonic()
        for name in [name for name, moment in self._due.items() if moment <= now]:
            try:
                self._let_in(name)
            except RedisError as error:
                # The next tick lets them in, and tells when the next one is due.
                logger.warning("what is due waits for the next tick: %s", error)
                if not is_spoiled(error):
                    self._due.clear()
                    return
                self._due.pop(name, None)

    def _let_in(self, name: str) -> None:
        due_ms, foreign = OVERDUE, list[str]()
        for _ in range(MOST_CALLS):
            [(due_ms, refused)] = scripts.run(self._client, [task_store.promote_due(name)])
            foreign += refused
            if due_ms != OVERDUE:
                break
        self.hear(name, due_ms)
        log_refused(name, foreign)


def log_refused(name: str, foreign: Iterable[str]) -> None:
    """Log which jobs were not ours."""
    for task_id in foreign:
        logger.error("refused a stock job on %s: %s", name, task_id)
