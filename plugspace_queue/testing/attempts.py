"""Runs attempts one by one in the calling thread, with the worker's code for start and commit."""

import time
import uuid

from asgiref.sync import async_to_sync

from plugspace_queue.broker import routing, task_store
from plugspace_queue.broker.types import Lease
from plugspace_queue.domain.task_types import queue_of
from plugspace_queue.errors import Unavailable
from plugspace_queue.models import Task, task_queries
from plugspace_queue.processing.execute import run_async, run_sync
from plugspace_queue.processing.execution import Execution, StopReason
from plugspace_queue.processing.outcome import AttemptResult
from plugspace_queue.processing.registry import Processor, processor_of
from plugspace_queue.services import failure_counts
from plugspace_queue.testing import commits
from plugspace_queue.testing.pending import RunClock
from plugspace_queue.worker.commit import CommitBatch, write
from plugspace_queue.worker.completer import launch
from plugspace_queue.worker.post_commit import PostCommit
from plugspace_queue.worker.state import Ended, Guard, HeldLease, Progressed, RowMessage

WORKER = "testing"


class Bench:
    """A worker without threads and Redis: each attempt is started, run and recorded."""

    def __init__(self, clock: RunClock) -> None:
        self._clock = clock
        self._post_commit = PostCommit()
        self._running: dict[Execution, tuple[HeldLease, Processor]] = {}

    def attempt(self, task: Task) -> bool:
        """Start a task that is due and run it to its end; False while a real worker has it.

        A task that must not start (cancelled, expired, too many dead workers) ends instead.
        """
        if _is_running_elsewhere(task):
            return False
        held = HeldLease(queue_of(task.type), _lease_of(task))
        self._write(Guard([held]))
        if (execution := held.execution) is not None:
            self._write(Ended(held, execution, self._result(held, execution)))
        return True

    def progress(self, execution: Execution) -> None:
        """An attempt reported progress (ProgressSink): written at once, and a cancel is seen."""
        held, entry = self._running[execution]
        # Code on an event loop may not use the connection; its last report follows the attempt.
        if not entry.is_async:
            self._write(Progressed(held, execution))
            self._look_for_cancel(execution)

    def _result(self, held: HeldLease, execution: Execution) -> AttemptResult:
        entry = processor_of(execution.row.type)
        assert entry is not None
        self._running[execution] = (held, entry)
        with commits.committed(), commits.contained():
            result = self._run(execution, entry)
        del self._running[execution]
        if entry.is_async and execution.percent is not None:
            self._write(Progressed(held, execution))
        execution.try_finish()
        # The attempt used the real clock.
        wake_at = result.wake_at and result.wake_at + self._clock.shift
        return result._replace(wake_at=wake_at)

    def _run(self, execution: Execution, entry: Processor) -> AttemptResult:
        if not entry.is_async:
            return run_sync(execution, entry)
        # Django's own way to an event loop: sync_to_async comes back to this thread's connection.
        result: AttemptResult = async_to_sync(run_async)(execution, entry)
        return result

    def _write(self, message: RowMessage) -> None:
        batch = CommitBatch([message], self._clock.now())
        with commits.committed(), commits.quietly():
            write(batch, WORKER)
            launch(batch, _not_dispatched, self)
            # There is no lease to settle, so the messages to Redis are dropped.
            self._post_commit.messages(batch)
            self._post_commit.resolve(batch)
            self._post_commit.follow_up(batch)
            failure_counts.flush()

    def _look_for_cancel(self, execution: Execution) -> None:
        if task_queries.is_cancel_requested(uuid.UUID(execution.task_id)):
            execution.ask_to_stop(StopReason.CANCEL)


def _lease_of(task: Task) -> Lease:
    # As Redis counts: microseconds, and always above the one before.
    fence = max(task.fence + 1, time.time_ns() // 1000)
    return Lease(str(task.pk), fence, WORKER, task.organization_id, task.priority)


def _is_running_elsewhere(task: Task) -> bool:
    """Withdraw the task from Redis; return whether a worker has started it already."""
    if commits.is_uncommitted():
        return False
    queue = queue_of(task.type)
    try:
        place = routing.ask(task_store.withdraw(queue, [str(task.pk)]), queue)[0]
    except Unavailable:
        return False
    return place.name == "running"


def _not_dispatched(held: HeldLease, execution: Execution) -> None:
    """The bench runs it when the start is written."""
