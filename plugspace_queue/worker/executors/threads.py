"""Runs attempts of sync processors in threads, one each.

One thread is woken at a time; it wakes the next one itself.
"""

import os
import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from django.db import close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from plugspace_queue.domain import clock
from plugspace_queue.processing.execute import result_of_error, run_sync
from plugspace_queue.processing.execution import Execution
from plugspace_queue.processing.outcome import AttemptResult
from plugspace_queue.processing.registry import Processor
from plugspace_queue.worker.executors.base import (
    Interrupted,
    OnEnd,
    clear_pending_interrupt,
    drop_connections,
    end_if_forked,
    fail_on_open_transaction,
    raise_in,
)
from plugspace_queue.worker.state import HeldLease

Job = tuple[HeldLease, Execution, Processor]
T = TypeVar("T")


class WorkQueue(Generic[T]):
    """A first-in, first-out queue for many threads.

    If each job woke a thread, that thread would mostly find that another one, already awake, had
    taken the job; with short jobs that costs more than the jobs.
    """

    def __init__(self) -> None:
        self._jobs: deque[T] = deque()
        self._wakes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._is_waking = False

    def put(self, job: T) -> None:
        """Add a job for some thread; never blocks."""
        # The job is added first: a thread that resets `_is_waking` afterwards checks for jobs.
        self._jobs.append(job)
        self._wake_one()

    def close(self, threads: int) -> None:
        """End this many threads when they have nothing to do."""
        for _ in range(threads):
            self._wakes.put(False)

    def jobs(self) -> Iterator[T]:
        """The jobs of the calling thread, until the queue is closed."""
        while self._wakes.get():
            self._is_waking = False
            yield from self._waiting()

    def _waiting(self) -> Iterator[T]:
        while self._jobs:
            try:
                job = self._jobs.popleft()
            except IndexError:
                return
            if self._jobs:
                self._wake_one()
            yield job

    def _wake_one(self) -> None:
        if not self._is_waking:
            self._is_waking = True
            self._wakes.put(True)


class Slot(threading.Thread):
    """One thread that takes attempts from a shared queue until that is closed."""

    def __init__(self, queue: "WorkQueue[Job]", ended: OnEnd) -> None:
        super().__init__(name="plugspace-slot", daemon=True)
        self._queue = queue
        self._ended = ended
        self._lock = threading.Lock()
        self._current: Execution | None = None
        self._is_interrupted = False
        self._is_spoilt = False
        self._owner = os.getpid()
        self._used: Sequence[BaseDatabaseWrapper] = ()
        """Database connections of this thread after its last attempt."""

    def run(self) -> None:
        try:
            self._serve()
        finally:
            connections.close_all()

    def _serve(self) -> None:
        for job in self._queue.jobs():
            self._work(*job)

    def _work(self, held: HeldLease, execution: Execution, entry: Processor) -> None:
        try:
            result = self._run(execution, entry)
        except BaseException as error:
            # The async exception may arrive outside `run_sync()`; release the slot anyway.
            result = result_of_error(execution, error, entry, clock.now())
        end_if_forked(self._owner)
        while not self._has_left():
            pass
        if self._is_spoilt:
            drop_connections()
            self._is_spoilt = False
        self._used = connections.all(initialized_only=True)
        self._ended(held, fail_on_open_transaction(result, self._used))

    def _run(self, execution: Execution, entry: Processor) -> AttemptResult:
        if self._used:
            close_old_connections()
        with self._lock:
            self._current = execution
        return run_sync(execution, entry)

    def _has_left(self) -> bool:
        """End the attempt here; after True no interruption can reach this thread any more."""
        try:
            with self._lock:
                self._current = None
                interrupted, self._is_interrupted = self._is_interrupted, False
            if interrupted:
                clear_pending_interrupt()
        except Interrupted:
            return False
        return True

    def interrupt(self, execution: Execution) -> bool:
        """Raise Interrupted in this thread if it runs this execution; False when it does not."""
        with self._lock:
            if self._current is not execution or self.ident is None:
                return False
            self._is_interrupted = self._is_spoilt = True
            raise_in(self.ident)
            return True


class ThreadExecutor:
    """Creates threads on demand, never more than there are attempts at once."""

    def __init__(self, ended: OnEnd) -> None:
        self._ended = ended
        self._queue: WorkQueue[Job] = WorkQueue()
        self._slots: list[Slot] = []
        self._busy = 0
        self._lock = threading.Lock()

    def start(self, held: HeldLease, execution: Execution, entry: Processor) -> None:
        with self._lock:
            self._busy += 1
            if self._busy > len(self._slots):
                self._add_slot()
        self._queue.put((held, execution, entry))

    def interrupt(self, execution: Execution) -> None:
        for slot in list(self._slots):
            if slot.interrupt(execution):
                return

    def stop(self) -> None:
        """End the idle threads; one whose call does not return ends with the process."""
        self._queue.close(len(self._slots))

    def _add_slot(self) -> None:
        slot = Slot(self._queue, self._one_ended)
        self._slots.append(slot)
        slot.start()

    def _one_ended(self, held: HeldLease, result: AttemptResult) -> None:
        with self._lock:
            self._busy -= 1
        self._ended(held, result)
