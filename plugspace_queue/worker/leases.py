"""Renews leases, reaps those of dead workers, times attempts out, promotes delayed tasks."""

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
"""Seconds between two checks of timeouts and progress."""

TICK = 1.0
"""Seconds between two renewals of the leases."""

REAP_DELAY = 3 * TICK
"""Seconds until a new worker reaps: after a freeze of the server, owners need a tick and a time-out
to renew their leases."""


class LeaseRenewer(threading.Thread):
    """Beats four times a second and ticks once a second.

    A thread of its own that only waits for Redis, so that a hanging database costs no lease.
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
        """When this thread last completed a round; an old value means that it hangs."""
        self._reap_from = time.monotonic() + get_settings().lease
        self._asking_since: float | None = None
        """When the first unanswered tick began; None when the last one was answered."""
        self._run_id: str | None = None
        self._is_new = True

    def progress(self, execution: Execution) -> None:
        """Send an attempt's progress with the next beat (ProgressSink)."""
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
                # From the start of the beat: from here, every second tick would be a beat late.
                tick_at = self.beaten_at + TICK
                self._tick()
        self._sign(self._leave())

    # Steps of a beat.

    def _beat(self) -> None:
        with self._dirty_lock:
            dirty, self._dirty = self._dirty, set()
        self._runtime.executors.check()
        now = time.monotonic()
        for held, execution in self._table.executions():
            if execution in dirty:
                self._runtime.inbox.put(Progressed(held, execution))
            self._watch(held, execution, now)

    def _watch(self, held: HeldLease, execution: Execution, now: float) -> None:
        """Enforce the timeout: ask the attempt to stop, then interrupt it, then abandon it."""
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

    # Steps of a tick.

    def _tick(self) -> None:
        if not self._runtime.loop_is_alive():
            # A loop that hangs must lose its leases, so that other workers run its tasks.
            logger.error("the loop does not turn; leases are not renewed")
            return
        if self._asking_since is None:
            self._asking_since = time.monotonic()
        try:
            self._watch_server(self._asking_since)
            held = {name: self._table.fences(name) for name in self._runtime.fetcher.queues}
            calls = [self._call(name, fences) for name, fences in held.items()]
            outcomes = scripts.run_each(
                self._client, [*calls, *self._attend(), *self._report_troubles()]
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
        """Sign the worker on or off; in between, each tick renews its presence."""
        try:
            scripts.run(self._client, calls)
        except RedisError as error:
            logger.warning("could not sign on or off: %s", error)

    def _report_troubles(self) -> list[scripts.Call[None]]:
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
            # Since the ids were collected, the attempt may have ended and been settled, and its
            # task may run here again under a new fence, to which the answer does not apply.
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
        self._due.set(name, answer.due_ms)

    def _watch_server(self, asking_since: float) -> None:
        """Read the server's clock, and delay reaping if leases of live workers may have expired.

        Leases may have expired after a restart of the server, or when it did not answer for half a
        lease. Then this worker does not reap for one lease, so that owners can renew first. A
        single failed tick delays nothing, nor does a tick that is late because this process got no
        CPU: otherwise, with a server that is often slow or on a busy machine, the tasks of dead
        workers would never be reaped. A new worker has seen no outage; it waits less if the server
        has been up for longer than a lease.
        """
        is_new, self._is_new = self._is_new, False
        info = self._client.info("server")
        if stamp := info.get("server_time_usec"):
            clock.set_server_time(int(stamp))
        run_id = str(info.get("run_id"))
        is_another = self._run_id is not None and run_id != self._run_id
        lease, now = get_settings().lease, time.monotonic()
        if is_new and int(info.get("uptime_in_seconds", 0)) > lease:
            self._reap_from = now + min(REAP_DELAY, lease)
        elif is_another or now - asking_since > max(lease / 2, 2 * TICK):
            self._reap_from = now + lease
        self._run_id = run_id

    def _fence_off(self, error: RedisError) -> None:
        """After nearly one lease of time-outs, stop all attempts before other workers start them.

        Time-outs may mean that only this process is cut off. A refused connection means that the
        server is down for all workers, so running attempts continue.
        """
        silent = time.monotonic() - self.ticked_at
        logger.warning("no tick for %.1f s: %s", silent, error)
        lease = get_settings().lease
        if isinstance(error, RedisTimeoutError) and silent >= max(lease - 2, lease / 2):
            for _, execution in self._table.executions():
                if execution.ask_to_stop(StopReason.LOST):
                    execution.stop_asked_at -= get_settings().hard_stop


def _raise_refusal(outcomes: Sequence[object]) -> None:
    """Raise the first error of the server as a whole; errors of one queue were noted before."""
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not is_spoiled(outcome):
            raise outcome


SPACING = 0.05
"""Least seconds between two checks of a queue, so that many due times do not overload Redis."""

MOST_CALLS = 50
"""Most calls of one check; each promotes a hundred tasks."""

OVERDUE = 1
"""The number of ms that the script returns when more tasks are due now."""


class DelayedPromoter:
    """Promotes delayed tasks when they are due, whether or not this worker may start any.

    A worker with a free slot acquires at that moment anyway, which promotes them. If its slots are
    taken, or its queue is paused or limited, only the next tick would promote them. It learns the
    due times from its ticks, so a task delayed by less than a second may be promoted by a tick.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._due: dict[str, float] = {}

    def set(self, name: str, due_ms: int) -> None:
        """Note in how many ms the queue's next task is due; 0 when none is delayed."""
        if due_ms:
            self._due[name] = time.monotonic() + max(due_ms / 1000, SPACING)
        else:
            self._due.pop(name, None)

    def within(self, most: float) -> float:
        """Seconds until the next task is due, at most `most`."""
        soonest = min(self._due.values(), default=float("inf"))
        return min(max(soonest - time.monotonic(), 0.0), most)

    def promote_due(self) -> None:
        """Promote the tasks that are due now."""
        now = time.monotonic()
        for name in [name for name, moment in self._due.items() if moment <= now]:
            try:
                self._promote(name)
            except RedisError as error:
                # The next tick promotes them and returns the next due time.
                logger.warning("what is due waits for the next tick: %s", error)
                if not is_spoiled(error):
                    self._due.clear()
                    return
                self._due.pop(name, None)

    def _promote(self, name: str) -> None:
        due_ms, foreign = OVERDUE, list[str]()
        for _ in range(MOST_CALLS):
            [(due_ms, refused)] = scripts.run(self._client, [task_store.promote_due(name)])
            foreign += refused
            if due_ms != OVERDUE:
                break
        self.set(name, due_ms)
        log_refused(name, foreign)


def log_refused(name: str, foreign: Iterable[str]) -> None:
    """Log jobs that were refused because plugspace_queue did not create them."""
    for task_id in foreign:
        logger.error("refused a stock job on %s: %s", name, task_id)
