"""The worker's clock: renews leases, reaps those of dead workers, times attempts out.

It also lets delayed tasks in when they are due.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from redis import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from plugspace_queue import metrics
from plugspace_queue.broker import presence, scripts, task_store
from plugspace_queue.broker.connection import is_spoiled
from plugspace_queue.broker.task_store import Tick
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import clock
from plugspace_queue.processing.run import Run, Told
from plugspace_queue.worker.due import DueTimes, tell_refused
from plugspace_queue.worker.messages import Lost, Progressed, RecorderMessage
from plugspace_queue.worker.table import Held, Table
from plugspace_queue.worker.troubles import Troubles

logger = logging.getLogger("plugspace_queue.worker")

BEAT = 0.25
"""Seconds between two looks at timeouts and progress."""

TICK = 1.0
"""Seconds between two renewals of the leases."""

LISTENS = 3 * TICK
"""Seconds until a new worker reaps: owners whose server froze renew after a tick and a time-out."""


class Ticker(threading.Thread):
    """Beats four times a second, ticks once."""

    def __init__(
        self,
        worker_name: str,
        queues: list[str],
        *,
        client: Redis,
        table: Table,
        record: Callable[[RecorderMessage], None],
        look: Callable[[], None],
        is_late: Callable[[Run], bool],
        cancel: Callable[[Run], None],
        interrupt: Callable[[Run], None],
        give_up: Callable[[Held, Run], None],
        is_alive: Callable[[], bool],
        attendance: Callable[[], Mapping[str, int]],
        pump_troubles: Callable[[], Mapping[str, str]],
    ) -> None:
        super().__init__(name="plugspace-ticker", daemon=True)
        self._worker_name = worker_name
        self._queues = queues
        self._client = client
        self._table = table
        self._record = record
        self._look = look
        self._is_late = is_late
        self._cancel = cancel
        self._interrupt = interrupt
        self._give_up = give_up
        self._is_alive = is_alive
        self._attendance = attendance
        self._pump_troubles = pump_troubles
        self.troubles = Troubles()
        self._stopping = threading.Event()
        self._due = DueTimes(client)
        self._dirty: set[Run] = set()
        self._dirty_lock = threading.Lock()
        self.ticked_at = time.monotonic()
        self.beaten_at = time.monotonic()
        """When this thread last turned; old when it hangs somewhere."""
        self._reap_from = time.monotonic() + get_settings().lease
        self._asking_since: float | None = None
        """When the first tick began that the server has not answered yet."""
        self._run_id: str | None = None
        self._is_new = True

    def progress(self, run: Run) -> None:
        """An attempt reported progress; it goes out with the next beat (ProgressSink)."""
        with self._dirty_lock:
            self._dirty.add(run)

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
        self._look()
        now = time.monotonic()
        for held, run in self._table.runs():
            if run in dirty:
                self._record(Progressed(held, run))
            self._watch(held, run, now)

    def _watch(self, held: Held, run: Run, now: float) -> None:
        """Tell an attempt that its time is over, then interrupt it, then give it up."""
        hard_stop = get_settings().hard_stop
        if run.told in (None, Told.SHUTDOWN) and self._is_late(run):
            run.tell(Told.TIMEOUT)
        if run.must_stop and not run.is_cancelled:
            run.is_cancelled = True
            self._cancel(run)
        if run.told in (None, Told.SHUTDOWN):
            return
        if not run.interrupted_at and now - run.told_at >= hard_stop:
            run.interrupted_at = now
            self._interrupt(run)
        elif run.interrupted_at and now - run.interrupted_at >= TICK:
            self._give_up(held, run)

    # Each tick.

    def _tick(self) -> None:
        if not self._is_alive():
            # A pump that does not turn must not keep its leases.
            logger.error("the pump does not turn; leases are not renewed")
            return
        if self._asking_since is None:
            self._asking_since = time.monotonic()
        try:
            self._watch_server(self._asking_since)
            held = {name: self._table.fences(name) for name in self._queues}
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
            for name, slots in self._attendance().items()
        ]

    def _leave(self) -> list[scripts.Call[None]]:
        return [presence.leave(name, worker=self._worker_name) for name in self._attendance()]

    def _sign(self, calls: list[scripts.Call[None]]) -> None:
        """On or off; between them each tick does it."""
        try:
            scripts.run(self._client, calls)
        except RedisError as error:
            logger.warning("could not sign on or off: %s", error)

    def _tell_troubles(self) -> list[scripts.Call[None]]:
        told = {**self.troubles.reasons(), **self._pump_troubles()}
        return [presence.tell_trouble(name, reason) for name, reason in told.items()]

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
            run = held.run if held is not None else None
            # One that has ended may have been settled since the ids were collected, and its task
            # may run again here: the answer is not about that run.
            if run is None or run.is_recorded or run.fence != fences[task_id]:
                continue
            if run.tell(Told.LOST):
                logger.warning("the lease of %s is lost", task_id)
                run.told_at -= get_settings().hard_stop
        if answer.reaped:
            metrics.count(metrics.REAPED, name.upper(), by=len(answer.reaped))
            logger.warning("took %d tasks from workers that died", len(answer.reaped))
            self._record(Lost(name, answer.reaped))
        tell_refused(name, answer.foreign)
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
        told = self._client.info("server")
        if said := told.get("server_time_usec"):
            clock.hear(int(said))
        run_id = str(told.get("run_id"))
        is_another = self._run_id is not None and run_id != self._run_id
        lease, now = get_settings().lease, time.monotonic()
        if is_new and int(told.get("uptime_in_seconds", 0)) > lease:
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
            for _, run in self._table.runs():
                if run.tell(Told.LOST):
                    run.told_at -= get_settings().hard_stop


def _raise_refusal(outcomes: Sequence[object]) -> None:
    """What the server as a whole refuses; the damage of one queue is noted with it."""
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not is_spoiled(outcome):
            raise outcome
