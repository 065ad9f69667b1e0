"""What a worker looks at once a second, whatever else takes long."""

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
from plugspace_queue.errors import Unavailable
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
    """Something to do every `interval` seconds."""

    do: Callable[[], object]
    interval: float
    due_at: float = 0.0


class PeriodicJobs(threading.Thread):
    """Does jobs when they are due, one after the other."""

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
        """The last thing before the thread ends."""

    def _do_when_due(self, job: PeriodicJob) -> None:
        if time.monotonic() < job.due_at or self._stopping.is_set():
            return
        job.due_at = time.monotonic() + job.interval
        try:
            close_old_connections()
            job.do()
        except (Unavailable, OperationalError, InterfaceError) as error:
            # Not a whole interval later: an outage ends at any time.
            job.due_at = time.monotonic() + min(job.interval, self.SOON)
            self._log_now_and_then(str(error.__cause__ or error))
            if not isinstance(error, Unavailable):
                connection.close()
        except Exception:
            # The next round does it again; a job that fails must not end the others.
            logger.exception("a periodic job failed")
            connection.close()

    def _log_now_and_then(self, reason: str) -> None:
        """A server that is away, or a queue that is damaged, may stay so for hours."""
        now = time.monotonic()
        if reason != self._logged or now - self._logged_at >= REPEATED_EVERY:
            self._logged, self._logged_at = reason, now
            logger.warning("maintenance waits: %s", reason)


class ControlLoop(PeriodicJobs):
    """Looks each second at what people changed for this worker, and at its memory."""

    def __init__(self, runtime: "WorkerRuntime") -> None:
        self._runtime = runtime
        jobs = [
            PeriodicJob(self._stop_cancelled, 1.0),
            PeriodicJob(runtime.refresh_slots, 0.5),
            PeriodicJob(self._look_at_memory, 1.0),
        ]
        super().__init__("control", jobs)

    def _look_at_memory(self) -> None:
        """A worker that has grown too large makes room for a fresh one."""
        most = get_settings().max_memory
        if most and (held := resident()) > most:
            self._runtime.drain(f"{held:.0f} MiB in memory, MAX_MEMORY is {most}")

    def _stop_cancelled(self) -> None:
        """Stop own attempts whose row asks for it, even when the stop command was lost."""
        running = {uuid.UUID(one.task_id): one for _, one in self._runtime.table.executions()}
        if not running:
            return
        asked = Task.objects.filter(pk__in=list(running), cancel_requested_at__isnull=False)
        for task_id in asked.values_list("pk", flat=True):
            running[task_id].ask_to_stop(StopReason.CANCEL)


def resident() -> float:
    """MiB in memory now; where the system does not tell, the most there were so far."""
    if STATM.exists():
        pages = int(STATM.read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (MIB if sys.platform == "darwin" else 1024)


class Heartbeat(threading.Thread):
    """Tells RQ once a second that this worker lives, and hears whether all are suspended.

    A thread of its own: RQ's connection waits minutes for a server that hangs.
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
                # A thread that ended here would let RQ take a living worker for dead.
                logger.exception("no heartbeat")
