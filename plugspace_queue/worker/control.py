"""Periodic jobs of a worker in threads of their own, so that nothing else delays them."""

import logging
import os
import resource
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import InterfaceError, OperationalError, close_old_connections, connection
from redis.exceptions import RedisError

from plugspace_queue.conf import get_settings
from plugspace_queue.domain import clock
from plugspace_queue.errors import Unavailable
from plugspace_queue.maintenance.queue_config import OverrideWatch
from plugspace_queue.models import Task
from plugspace_queue.processing.execution import StopReason
from plugspace_queue.worker.state import REPEATED_EVERY

if TYPE_CHECKING:
    from plugspace_queue.worker.runtime import WorkerRuntime

logger = logging.getLogger("plugspace_queue.worker")

MIB = 1024 * 1024
STATM = Path("/proc/self/statm")


@dataclass(eq=False)
class PeriodicJob:
    """A call to make every `interval` seconds."""

    do: Callable[[], object]
    interval: float
    due_at: float = 0.0


class PeriodicJobs(threading.Thread):
    """A thread that runs jobs when they are due, one after the other."""

    BEAT = 0.5
    SOON = 1.0
    """Seconds until a job that Redis or the database prevented is tried again."""

    def __init__(self, name: str, jobs: Sequence[PeriodicJob]) -> None:
        super().__init__(name=f"plugspace-{name}", daemon=True)
        self._jobs = jobs
        self._stopping = threading.Event()
        self._called = threading.Event()
        self._logged = ""
        self._logged_at = 0.0

    def stop(self) -> None:
        self._stopping.set()
        self._called.set()

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._called.wait(self.BEAT)
                self._called.clear()
                for job in self._jobs:
                    self._do_when_due(job)
            self._end()
        finally:
            connection.close()

    def _end(self) -> None:
        """Hook that runs once when the thread is stopped."""

    def _do_when_due(self, job: PeriodicJob) -> None:
        if time.monotonic() < job.due_at or self._stopping.is_set():
            return
        job.due_at = time.monotonic() + job.interval
        try:
            close_old_connections()
            job.do()
        except (Unavailable, OperationalError, InterfaceError) as error:
            # Retry sooner than the interval: an outage may end at any time.
            job.due_at = time.monotonic() + min(job.interval, self.SOON)
            self._log_now_and_then(str(error.__cause__ or error))
            if not isinstance(error, Unavailable):
                connection.close()
        except Exception:
            # A job that fails must not end the thread; it runs again at its next interval.
            logger.exception("a periodic job failed")
            connection.close()

    def _log_now_and_then(self, reason: str) -> None:
        """Log a reason once per `REPEATED_EVERY` seconds, as an outage may last for hours."""
        now = time.monotonic()
        if reason != self._logged or now - self._logged_at >= REPEATED_EVERY:
            self._logged, self._logged_at = reason, now
            logger.warning("maintenance waits: %s", reason)


class ControlLoop(PeriodicJobs):
    """Checks for cancel requests, changed slots, overrides that begin or end, the memory limit."""

    def __init__(self, runtime: "WorkerRuntime") -> None:
        self._runtime = runtime
        watch = OverrideWatch()
        jobs = [
            PeriodicJob(self._stop_cancelled, 1.0),
            PeriodicJob(runtime.refresh_slots, 0.5),
            PeriodicJob(lambda: watch.turn(clock.now()), 0.5),
            PeriodicJob(self._check_memory, 1.0),
        ]
        super().__init__("control", jobs)

    def _check_memory(self) -> None:
        """Drain the worker when it exceeds MAX_MEMORY, so that a supervisor starts a new one."""
        most = get_settings().max_memory
        if most and (held := resident()) > most:
            self._runtime.drain(f"{held:.0f} MiB in memory, MAX_MEMORY is {most}")

    def _stop_cancelled(self) -> None:
        """Stop running attempts whose row has a cancel request; the stop command may be lost."""
        running = {uuid.UUID(one.task_id): one for _, one in self._runtime.table.executions()}
        if not running:
            return
        asked = Task.objects.filter(pk__in=list(running), cancel_requested_at__isnull=False)
        for task_id in asked.values_list("pk", flat=True):
            running[task_id].ask_to_stop(StopReason.CANCEL)


def resident() -> float:
    """Resident memory in MiB; the peak so far on systems that do not report the current value."""
    if STATM.exists():
        pages = int(STATM.read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (MIB if sys.platform == "darwin" else 1024)


class Heartbeat(threading.Thread):
    """Sends RQ's heartbeat once a second and reads whether all workers are suspended.

    A thread of its own, because RQ's connection may wait minutes for a server that hangs.
    """

    INTERVAL = 1.0

    def __init__(self, beat: Callable[[], None]) -> None:
        super().__init__(name="plugspace-heartbeat", daemon=True)
        self._beat = beat
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.wait(self.INTERVAL):
            try:
                self._beat()
            except (RedisError, OSError) as error:
                logger.warning("no heartbeat: %s", error)
            except Exception:
                # If this thread ended, RQ would treat a running worker as dead.
                logger.exception("no heartbeat")
