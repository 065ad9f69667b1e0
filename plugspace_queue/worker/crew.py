"""A worker's threads, wired together: one object from start to stop."""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from django.db import DatabaseError, InterfaceError, connection

from plugspace_queue import metrics, policies
from plugspace_queue.broker import presence
from plugspace_queue.broker.connection import client
from plugspace_queue.broker.kept_connection import Wire
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import clock
from plugspace_queue.domain.catalog import type_of_queue
from plugspace_queue.errors import Unavailable
from plugspace_queue.maintenance import queue_config
from plugspace_queue.maintenance.relay import relay
from plugspace_queue.processing.registry import processor_of, timeout_of
from plugspace_queue.processing.run import Told
from plugspace_queue.worker.attempts import Attempts
from plugspace_queue.worker.desk import Desk, Limits
from plugspace_queue.worker.heartbeat import Heartbeat
from plugspace_queue.worker.messages import Stop, Woken
from plugspace_queue.worker.pump import Pump
from plugspace_queue.worker.recorder import Recorder
from plugspace_queue.worker.table import Table
from plugspace_queue.worker.ticker import Ticker
from plugspace_queue.worker.upkeep import Lookout, Upkeep
from plugspace_queue.worker.waker import Wakers

logger = logging.getLogger("plugspace_queue.worker")

INTERRUPTION = 1.0
"""Seconds that interrupted attempts get to come back when the worker stops."""

WATCH = 0.1
"""Seconds between two looks of the pump at the other threads; it turns hundreds of times in one."""

LAST_WORDS = 5.0
"""Seconds to write and settle what was handed back."""


class Crew:
    """Pump, slots, waker, ticker, recorder, lookout and upkeep of one worker process."""

    def __init__(
        self,
        worker_name: str,
        queue_names: Sequence[str],
        *,
        limits: Limits,
        heartbeat: Callable[[], None],
        is_suspended: Callable[[], bool],
    ) -> None:
        self.table = Table()
        self._queue_names = queue_names
        self._is_burst = limits.burst
        self._is_suspended = is_suspended
        self._stop_at: float | None = None
        self._longest_grace = math.inf
        self._watched_at = 0.0
        self._broken = ""
        self._is_draining = False
        self._signals = 0
        self._signalled_at = 0.0
        desks = [Desk(name, _slots_of(name)) for name in queue_names if _has_processor(name)]
        names = [desk.name for desk in desks]
        first = queue_names[0]
        self._attempts = Attempts(
            record=lambda m: self.recorder.put(m),
            returned=lambda held: self.pump.returned(held),
            is_stopping=lambda: self._stop_at is not None,
        )
        self._wakers = Wakers(
            names, client(first, purpose="block"), lambda m: self.pump.inbox.put(m)
        )
        self.ticker = Ticker(
            worker_name,
            names,
            client=client(first, purpose="pump"),
            table=self.table,
            record=lambda m: self.recorder.put(m),
            look=self._attempts.look,
            is_late=self._attempts.is_late,
            cancel=self._attempts.cancel,
            interrupt=self._attempts.interrupt,
            give_up=self._attempts.give_up,
            is_alive=self._turns,
            attendance=self._attendance,
            pump_troubles=lambda: self.pump.troubles.reasons(),
        )
        self.recorder = Recorder(
            worker_name,
            tell=lambda m: self.pump.inbox.put(m),
            dispatch=self._attempts.dispatch,
            sink=self.ticker,
            timeout_of=lambda task: timeout_of(task.type),
        )
        self._wire = Wire(client(first, purpose="pump"))
        self.pump = Pump(
            worker_name,
            desks,
            wire=self._wire,
            table=self.table,
            wakers=self._wakers,
            record=self.recorder.put,
            may_take=self._may_take,
            lease=get_settings().lease,
            limits=limits,
            on_stop=self._tell_stop,
            mend=lambda: self._upkeep.mend_soon(),
        )
        self._heartbeat = Heartbeat(heartbeat)
        self._lookout = Lookout(self.table, refresh=self._set_slots, drain=self.drain)
        self._upkeep = Upkeep()

    def work(self) -> int:
        """Run to the end; how many attempts were settled."""
        _mend(is_burst=self._is_burst)
        for helper in self._helpers():
            helper.start()
        try:
            self.pump.run(self._is_over)
            self._hand_back_rest()
        finally:
            self._stop_helpers()
        if self._broken:
            raise RuntimeError(f"The worker ended itself: {self._broken}. Its tasks go back.")
        return self.pump.ended

    def stop(self) -> None:
        """First call: warm. A second one within a second is ignored, a later one is cold."""
        now = time.monotonic()
        if self._signals and now - self._signalled_at < 1.0:
            return
        self._signals += 1
        self._signalled_at = now
        grace = min(get_settings().shutdown_grace, self._longest_grace)
        self._stop_within(grace if self._signals == 1 else 0.0)

    def shorten_grace(self, seconds: float) -> None:
        """Allow no stop, not even one under way, more seconds than these (any thread)."""
        self._longest_grace = seconds
        if self._stop_at is not None:
            self._stop_at = min(self._stop_at, time.monotonic() + seconds)
            # Attempts hear anew from when on they are stopped.
            self.pump.inbox.put(Stop())

    def _stop_within(self, grace: float) -> None:
        self._stop_at = time.monotonic() + grace
        # Called by a signal in the pump's own thread, which may hold any lock right now: the rest
        # is done when the pump hears of it.
        self.pump.inbox.put(Stop())

    def drain(self, reason: str) -> None:
        """Take nothing more and end when what runs has ended, or at a signal (any thread)."""
        if not self._is_draining:
            logger.warning("%s; the worker takes nothing more and ends", reason)
            self._is_draining = self.pump.is_stopping = True

    def _tell_stop(self) -> None:
        """All may know at once; only the last seconds of the grace time stop them."""
        stop_from = (self._stop_at or 0.0) - get_settings().hard_stop
        for _, run in self.table.runs():
            run.stop_from = stop_from
            run.tell(Told.SHUTDOWN)

    def stop_task(self, task_id: str) -> bool:
        """Stop one attempt (RQ's stop-job command); False when it does not run here."""
        held = self.table.get(task_id)
        return held is not None and held.run is not None and held.run.tell(Told.CANCEL)

    def _set_slots(self) -> None:
        """A change of slots is in force within a second; what was read may be as old by now."""
        policies.forget()
        for desk in self.pump.desks:
            slots = _slots_of(desk.name)
            if slots != desk.slots:
                desk.slots = slots
                self.pump.inbox.put(Woken(desk.name))

    def _attendance(self) -> Mapping[str, int]:
        """What each queue is told once a second: this worker's slots, none without a processor."""
        if self._stop_at is not None or self._is_draining:
            return dict.fromkeys(self._queue_names, presence.LEAVING)
        desks = {desk.name: desk.slots for desk in self.pump.desks}
        return {name: desks.get(name, 0) for name in self._queue_names}

    def _helpers(self) -> list[threading.Thread | Wakers]:
        chores = [self._lookout, self._upkeep]
        return [self.recorder, self.ticker, self._wakers, *chores, self._heartbeat]

    def _stop_helpers(self) -> None:
        chores = (self._lookout, self._upkeep)
        for helper in (*chores, self._heartbeat, self.ticker, self._wakers, self.recorder):
            helper.stop()
        self._attempts.stop()
        # The others may sit in a read for seconds more; they hold nothing. Upkeep may hold rows.
        for thread in (self.ticker, self.recorder, *chores):
            thread.join(timeout=5.0)
        self._wire.close()
        metrics.flush()

    # Ending.

    def _is_over(self) -> bool:
        now = time.monotonic()
        if now >= self._watched_at + WATCH:
            self._watched_at = now
            self._watch()
        return self._stop_at is not None and now >= self._stop_at

    def _watch(self) -> None:
        """The pump watches the threads without which nothing may run on."""
        dead = [thread.name for thread in self._vital() if not thread.is_alive()]
        if dead and not self._broken:
            self._break(f"{' and '.join(dead)} died", grace=0.0)
        elif not self._broken and (reason := self._attempts.why_useless(self.pump.desks)):
            self._break(reason, grace=get_settings().shutdown_grace)
        elif self._is_burst and self.pump.stands_for() > get_settings().start_patience:
            self._break("nothing could be done within START_PATIENCE", grace=0.0)
        if self._ticker_silence() > max(get_settings().lease - 2, get_settings().lease / 2):
            # It hangs: soon others take over what runs here.
            for _, run in self.table.runs():
                if run.tell(Told.LOST):
                    self._attempts.interrupt(run)

    def _vital(self) -> list[threading.Thread]:
        own = [self.recorder.follower, self.recorder, self.ticker]
        chores = [self._lookout, self._upkeep]
        return [*own, *chores, *self._wakers.threads, *self._attempts.vital()]

    def _break(self, reason: str, grace: float) -> None:
        """End for good, with an exit code that says so, for a supervisor to start another."""
        logger.error("%s; the worker ends for its supervisor to start another", reason)
        self._broken = reason
        self.pump.is_stopping = True
        self._stop_within(grace)

    def _ticker_silence(self) -> float:
        return time.monotonic() - self.ticker.beaten_at

    def _may_take(self) -> bool:
        is_fresh = self._ticker_silence() < get_settings().lease / 2
        return self.recorder.is_healthy and is_fresh and not self._is_suspended()

    def _hand_back_rest(self) -> None:
        """What still runs when the grace time is over goes back to the front of its lane.

        Interrupted first, so that it does not run on beside its next attempt; a call that cannot
        be interrupted goes back as the last thing before the process ends.
        """
        for _, run in self.table.runs():
            self._attempts.interrupt(run)
        self._pump_for(INTERRUPTION, until=lambda: not self.table.runs())
        for held, run in self.table.runs():
            self._attempts.hand_back(held, run)
        self._pump_for(LAST_WORDS, until=lambda: False)

    def _pump_for(self, seconds: float, *, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        self.pump.run(lambda: until() or time.monotonic() >= deadline)

    def _turns(self) -> bool:
        return time.monotonic() - self.pump.turned_at < get_settings().lease


def _mend(*, is_burst: bool) -> None:
    """Nothing is taken from a queue whose limits and pauses Redis has lost.

    A burst ends before upkeep would publish what an outage kept from Redis.
    """
    try:
        if is_burst:
            relay(clock.now())
        else:
            queue_config.mend(clock.now())
    except (Unavailable, DatabaseError, InterfaceError) as error:
        logger.warning("upkeep writes the gates soon: %s", error.__cause__ or error)
        connection.close()


def _slots_of(name: str) -> int:
    kind = type_of_queue(name)
    assert kind is not None
    return policies.queue_settings(kind).concurrency


def _has_processor(name: str) -> bool:
    kind = type_of_queue(name)
    if kind is not None and processor_of(kind) is not None:
        for difference in policies.differences(kind):
            logger.warning("%s", difference)
        return True
    logger.warning("no processor for %s in this worker: its tasks wait", name)
    return False
