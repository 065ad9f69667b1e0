"""One attempt after the other in the calling thread, through the worker's guard and recorder."""

import time
from dataclasses import replace

from asgiref.sync import async_to_sync

from plugspace_queue.broker import routing, task_store
from plugspace_queue.broker.types import Lease
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.errors import Unavailable
from plugspace_queue.models import Task
from plugspace_queue.processing.attempt import run_async, run_sync
from plugspace_queue.processing.outcome import Ending
from plugspace_queue.processing.registry import Processor, processor_of, timeout_of
from plugspace_queue.processing.run import Run, Told
from plugspace_queue.testing import commits
from plugspace_queue.testing.pending import Clock
from plugspace_queue.worker.commit import Batch, write
from plugspace_queue.worker.following import FollowUp
from plugspace_queue.worker.launching import Launcher
from plugspace_queue.worker.messages import (
    Ended,
    Guard,
    Progressed,
    PumpMessage,
    RecorderMessage,
)
from plugspace_queue.worker.table import Held

WORKER = "testing"


class Bench:
    """A worker without threads and without a line: each attempt is written, run, written."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._launcher = Launcher(
            dispatch=_not_dispatched, sink=self, timeout_of=lambda task: timeout_of(task.type)
        )
        self._follow_up = FollowUp(_not_told)
        self._running: dict[Run, tuple[Held, Processor]] = {}

    def attempt(self, task: Task) -> bool:
        """Start a task that is due and run it to its end; False while a real worker has it.

        A task that must not start (cancelled, expired, too many dead workers) ends instead.
        """
        if _is_running_elsewhere(task):
            return False
        held = Held(TaskType(task.type).queue_name, _lease_of(task))
        self._write(Guard([held]))
        if held.run is not None:
            self._write(Ended(held, held.run, self._ending(held, held.run)))
        return True

    def progress(self, run: Run) -> None:
        """An attempt reported progress (ProgressSink): written at once, and a cancel is seen."""
        held, entry = self._running[run]
        # Code on an event loop may not use the connection; its last report follows the attempt.
        if not entry.is_async:
            self._write(Progressed(held, run))
            self._look_for_cancel(run)

    def _ending(self, held: Held, run: Run) -> Ending:
        entry = processor_of(run.task.type)
        assert entry is not None
        self._running[run] = (held, entry)
        with commits.committed(), commits.contained():
            ending = self._run(run, entry)
        del self._running[run]
        if entry.is_async and run.percent is not None:
            self._write(Progressed(held, run))
        run.claim_record()
        # The attempt went by the real clock.
        wake_at = ending.wake_at and ending.wake_at + self._clock.shift
        return replace(ending, wake_at=wake_at)

    def _run(self, run: Run, entry: Processor) -> Ending:
        if not entry.is_async:
            return run_sync(run, entry)
        # Django's own way to an event loop: sync_to_async comes back to this thread's connection.
        ending: Ending = async_to_sync(run_async)(run, entry)
        return ending

    def _write(self, message: RecorderMessage) -> None:
        batch = Batch([message], self._clock.now())
        with commits.committed(), commits.quietly():
            write(batch, WORKER)
            self._launcher.launch(batch)
            self._follow_up.run(batch)

    def _look_for_cancel(self, run: Run) -> None:
        if Task.objects.filter(pk=run.task.pk, cancel_requested_at__isnull=False).exists():
            run.tell(Told.CANCEL)


def _lease_of(task: Task) -> Lease:
    # As Redis counts: microseconds, and always above the one before.
    fence = max(task.fence + 1, time.time_ns() // 1000)
    return Lease(str(task.pk), fence, WORKER, task.organization_id, task.priority)


def _is_running_elsewhere(task: Task) -> bool:
    """Take it out of the line in Redis; whether a worker was faster."""
    if commits.is_uncommitted():
        return False
    queue = TaskType(task.type).queue_name
    try:
        place = routing.ask(task_store.withdraw(queue, [str(task.pk)]), queue)[0]
    except Unavailable:
        return False
    return place.name == "running"


def _not_told(message: PumpMessage) -> None:
    """There is no lease to settle."""


def _not_dispatched(held: Held, run: Run) -> None:
    """The bench runs it when the start is written."""
