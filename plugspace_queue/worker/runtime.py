"""A worker: its parts, its start and its stop."""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from django.db import DatabaseError, InterfaceError, connection

from plugspace_queue import metrics
from plugspace_queue.broker import presence
from plugspace_queue.broker.connection import client
from plugspace_queue.broker.kept_connection import Wire
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import clock
from plugspace_queue.domain.catalog import type_of_queue
from plugspace_queue.errors import Unavailable
from plugspace_queue.limits import policies
from plugspace_queue.maintenance import queue_config
from plugspace_queue.maintenance.relay import relay
from plugspace_queue.processing.execution import StopReason
from plugspace_queue.processing.registry import processor_of
from plugspace_queue.worker.completer import Completer
from plugspace_queue.worker.control import ControlLoop, Heartbeat
from plugspace_queue.worker.executors.pool import ExecutorPool
from plugspace_queue.worker.fetcher import Fetcher, Limits, QueueSlots
from plugspace_queue.worker.leases import LeaseRenewer
from plugspace_queue.worker.loop import AttemptLoop
from plugspace_queue.worker.maintenance import MaintenanceThread
from plugspace_queue.worker.notifier import Notifiers
from plugspace_queue.worker.state import LeaseTable, LoopMessage, Stop, Woken

logger = logging.getLogger("plugspace_queue.worker")

INTERRUPTION = 1.0
"""Seconds that interrupted attempts get to return when the worker stops."""

WATCH = 0.1
"""Seconds between two checks of the worker's threads."""

LAST_WRITES = 5.0
"""Seconds to write and settle the attempts that were handed back."""


class WorkerRuntime:
    """The threads of one worker process; the thread that calls `work` only supervises the others.

    So signals are handled, and the worker ends in time, whatever the loop is waiting for.
    """

    def __init__(
        self,
        worker_name: str,
        queue_names: Sequence[str],
        *,
        limits: Limits,
        heartbeat: Callable[[], None],
        is_suspended: Callable[[], bool],
    ) -> None:
        self._queue_names = queue_names
        self._is_burst = limits.burst
        self._is_suspended = is_suspended
        self._stop_at: float | None = None
        self._longest_grace = math.inf
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_stop_requested = False
        self._broken = ""
        self._is_draining = False
        self._signals = 0
        self._signalled_at = 0.0
        first = queue_names[0]
        self.table = LeaseTable()
        self.inbox: queue.SimpleQueue[LoopMessage] = queue.SimpleQueue()
        self.executors = ExecutorPool(self.inbox, is_stopping=lambda: self._stop_at is not None)
        self.fetcher = Fetcher(
            worker_name,
            [QueueSlots(name, _slots_of(name)) for name in queue_names if _has_processor(name)],
            connection=Wire(client(first, purpose="worker")),
            table=self.table,
            limits=limits,
            lease=get_settings().lease,
            may_take=self._may_take,
            on_unconfigured=lambda: self.maintenance.repair_soon(),
        )
        self.leases = LeaseRenewer(self, worker_name, client=client(first, purpose="worker"))
        self.completer = Completer(
            worker_name,
            dispatch=self.executors.dispatch,
            sink=self.leases,
            send=self.fetcher.send,
            inbox=self.inbox,
        )
        self.notifiers = Notifiers(
            self.fetcher.queues, client(first, purpose="block"), self.inbox.put
        )
        self.loop = AttemptLoop(
            self.inbox,
            fetcher=self.fetcher,
            completer=self.completer,
            notifiers=self.notifiers,
            limits=limits,
        )
        self.control = ControlLoop(self)
        self.maintenance = MaintenanceThread()
        self._heartbeat = Heartbeat(heartbeat)

    def work(self) -> int:
        """Run until the worker ends; return how many attempts were settled."""
        _repair_queues(is_burst=self._is_burst)
        for helper in self._helpers():
            helper.start()
        self.loop.start()
        try:
            self._supervise(until=self._is_over)
            if not (self.loop.is_alive() or self.loop.is_complete or self._broken):
                self._break(f"{self.loop.name} died", grace=0.0)
            self._hand_back_rest()
        finally:
            self._stop_helpers()
        if self._broken:
            raise RuntimeError(f"The worker ended itself: {self._broken}. Its tasks go back.")
        return self.fetcher.settled

    def stop(self) -> None:
        """Stop warm at the first call and cold at the next; calls within a second are ignored."""
        now = time.monotonic()
        if self._signals and now - self._signalled_at < 1.0:
            return
        self._signals += 1
        self._signalled_at = now
        grace = min(get_settings().shutdown_grace, self._longest_grace)
        self._stop_within(grace if self._signals == 1 else 0.0)

    def shorten_grace(self, seconds: float) -> None:
        """Limit the grace time of any stop, including one in progress (any thread)."""
        self._longest_grace = seconds
        if self._stop_at is not None:
            self._stop_within(max(min(self._stop_at - time.monotonic(), seconds), 0.0))

    def _stop_within(self, grace: float) -> None:
        self._stop_at = time.monotonic() + grace
        self.fetcher.is_stopping = True
        # A signal handler may run this while its thread holds any lock, so only a lock-free queue
        # is used here; the supervisor does the rest when it wakes.
        self._is_stop_requested = True
        self._calls.put(None)

    def drain(self, reason: str) -> None:
        """Acquire nothing more, and end when all running attempts have ended (any thread)."""
        if not self._is_draining:
            logger.warning("%s; the worker takes nothing more and ends", reason)
            self._is_draining = self.fetcher.is_stopping = True
            self.inbox.put(Stop())

    def _ask_all_to_stop(self) -> None:
        """Notify all attempts at once; they have to stop in the last seconds of the grace time."""
        stop_from = (self._stop_at or 0.0) - get_settings().hard_stop
        for _, execution in self.table.executions():
            execution.stop_from = stop_from
            execution.ask_to_stop(StopReason.SHUTDOWN)

    def stop_task(self, task_id: str) -> bool:
        """Stop one attempt (RQ's stop-job command); False when it does not run here."""
        held = self.table.get(task_id)
        return held is not None and held.stop()

    def refresh_slots(self) -> None:
        """Apply changed slot numbers; called often enough to apply them within a second."""
        policies.clear_cache()
        for one in self.fetcher.queues.values():
            slots = _slots_of(one.name)
            if slots != one.slots:
                one.slots = slots
                self.inbox.put(Woken(one.name))

    def attendance(self) -> Mapping[str, int]:
        """This worker's slots per queue for its heartbeat; 0 for queues without a processor."""
        if self._stop_at is not None or self._is_draining:
            return dict.fromkeys(self._queue_names, presence.LEAVING)
        slots = {one.name: one.slots for one in self.fetcher.queues.values()}
        return {name: slots.get(name, 0) for name in self._queue_names}

    def loop_is_alive(self) -> bool:
        """Whether the loop makes progress; waiting for the database counts as progress."""
        return time.monotonic() - self.loop.alive_at < get_settings().lease

    def _helpers(self) -> list[threading.Thread | Notifiers]:
        threads = [self.completer.follow_up, self.leases, self.control, self.maintenance]
        return [*threads, self.notifiers, self._heartbeat]

    def _stop_helpers(self) -> None:
        self.completer.stop()
        for helper in (self.control, self.maintenance, self._heartbeat, self.leases):
            helper.stop()
        self.notifiers.stop()
        self.executors.stop()
        # Only these may hold locks on rows. The others may block in a read for some seconds.
        for thread in (self.leases, self.control, self.maintenance):
            thread.join(timeout=LAST_WRITES)
        metrics.flush()

    # Supervising and ending.

    def _supervise(self, *, until: Callable[[], bool]) -> None:
        """Watch the threads until it is time to end."""
        while not until():
            try:
                self._calls.get(timeout=WATCH)
            except queue.Empty:
                self._watch()
            if self._is_stop_requested:
                self._is_stop_requested = False
                self._ask_all_to_stop()
                self.inbox.put(Stop())

    def _is_over(self) -> bool:
        is_late = self._stop_at is not None and time.monotonic() >= self._stop_at
        return is_late or not self.loop.is_alive()

    def _watch(self) -> None:
        dead = [thread.name for thread in self._vital() if not thread.is_alive()]
        if dead and not self._broken and self.loop.is_alive():
            self._break(f"{' and '.join(dead)} died", grace=0.0)
        elif not self._broken and (reason := self._unusable_reason()):
            self._break(reason, grace=get_settings().shutdown_grace)
        elif self._is_burst and self.fetcher.outage_seconds() > get_settings().start_patience:
            self._break("nothing could be done within START_PATIENCE", grace=0.0)
        if self._silence() > max(get_settings().lease - 2, get_settings().lease / 2):
            # The lease renewer hangs, so other workers will soon take over what runs here.
            for _, execution in self.table.executions():
                if execution.ask_to_stop(StopReason.LOST):
                    self.executors.interrupt(execution)

    def _unusable_reason(self) -> str:
        return self.executors.unusable_reason(self.fetcher.queues.values())

    def _vital(self) -> list[threading.Thread]:
        own = [self.completer.follow_up, self.leases, self.control, self.maintenance]
        return [*own, *self.notifiers.threads, *self.executors.vital()]

    def _break(self, reason: str, grace: float) -> None:
        """End the worker with an error exit code, so that a supervisor starts another."""
        logger.error("%s; the worker ends for its supervisor to start another", reason)
        self._broken = reason
        self._stop_within(grace)

    def _silence(self) -> float:
        return time.monotonic() - self.leases.beaten_at

    def _may_take(self) -> bool:
        is_fresh = self._silence() < get_settings().lease / 2
        return self.completer.is_healthy and is_fresh and not self._is_suspended()

    def _hand_back_rest(self) -> None:
        """Hand attempts that still run after the grace time back to the front of their lanes.

        They are interrupted first, so that they do not run beside their next attempt. A call that
        cannot be interrupted is handed back just before the process ends.
        """
        for _, execution in self.table.executions():
            self.executors.interrupt(execution)
        self._wait(INTERRUPTION, until=lambda: not self.table.executions())
        for held, execution in self.table.executions():
            self.executors.hand_back(held, execution)
        self.completer.stop()
        self.completer.follow_up.try_all_now()
        self._wait(LAST_WRITES, until=lambda: not self.loop.is_alive())
        self.loop.end()
        self.loop.join(timeout=LAST_WRITES)
        # Stopped last, so that it also follows up the last commits of the loop.
        self.completer.follow_up.stop()
        self.completer.follow_up.join(timeout=LAST_WRITES)

    def _wait(self, seconds: float, *, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not until() and time.monotonic() < deadline:
            self.loop.join(timeout=WATCH / 10)
            if not self.loop.is_alive():
                return


def _repair_queues(*, is_burst: bool) -> None:
    """Restore limits and pauses in Redis, as nothing is acquired from a queue without them.

    A burst also runs the relay, as it may end before the maintenance thread would publish the rows
    that an outage has left unpublished.
    """
    try:
        if is_burst:
            relay(clock.now())
        else:
            queue_config.repair(clock.now())
    except (Unavailable, DatabaseError, InterfaceError) as error:
        logger.warning("the gates are written soon: %s", error.__cause__ or error)
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
