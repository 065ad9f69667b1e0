"""The running attempts: which executor runs each, how it is stopped and its end recorded."""

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

from plugspace_queue.conf import get_settings
from plugspace_queue.domain import clock
from plugspace_queue.domain.enums import Outcome
from plugspace_queue.processing import execute, outcome
from plugspace_queue.processing.execution import Execution, StopReason
from plugspace_queue.processing.outcome import AttemptResult
from plugspace_queue.processing.registry import Processor, processor_of
from plugspace_queue.worker.executors.base import Executor
from plugspace_queue.worker.executors.event_loop import EventLoopExecutor
from plugspace_queue.worker.executors.processes import ProcessExecutor
from plugspace_queue.worker.executors.threads import ThreadExecutor
from plugspace_queue.worker.fetcher import QueueSlots
from plugspace_queue.worker.state import Ended, HeldLease, LoopMessage, Returned, StuckSlots

logger = logging.getLogger("plugspace_queue.worker")


class ExecutorPool:
    """Passes started attempts to executors and reports their endings to the loop."""

    def __init__(
        self, inbox: "queue.SimpleQueue[LoopMessage]", *, is_stopping: Callable[[], bool]
    ) -> None:
        self._inbox = inbox
        self._is_stopping = is_stopping
        self._stuck = StuckSlots()
        self._threads = ThreadExecutor(self._ended)
        self._event_loop = EventLoopExecutor(self._ended, self._leave_behind)
        self._children = ProcessExecutor(self._ended, self.hand_back)

    def dispatch(self, held: HeldLease, execution: Execution) -> None:
        """Pass a started attempt to an executor; hand it back instead when the worker stops."""
        entry = processor_of(execution.row.type)
        if self._is_stopping() or entry is None:
            execution.is_returned = True
            self.hand_back(held, execution)
            return
        self._executor_of(execution, entry).start(held, execution, entry)

    def is_late(self, execution: Execution) -> bool:
        """Whether its timeout has passed; time while another attempt blocks the loop is excluded.

        The timeout of an isolated attempt begins when its process has started.
        """
        if self._children.is_starting(execution):
            return False
        is_held_up = self._event_loop.is_held_up(execution)
        return not is_held_up and time.monotonic() - execution.started > execution.timeout

    def check(self) -> None:
        """Called at each beat to detect event loops and forkservers that hang."""
        self._event_loop.check()
        self._children.check()

    def cancel(self, execution: Execution) -> None:
        """Cancel a coroutine; threads and children check for a stop by themselves."""
        self._event_loop.cancel(execution)

    def interrupt(self, execution: Execution) -> None:
        for executor in self._executors():
            executor.interrupt(execution)

    def abandon(self, held: HeldLease, execution: Execution) -> None:
        """Record the end of an attempt that does not return; its slot stays taken until it does."""
        if self._record_end(held, execution, execute.abandoned(execution, clock.now())):
            # Only a warning: `plugspace_queue.tasks` logs how the attempt ended.
            logger.warning("%s does not stop; its slot is stuck until it does", execution.task_id)
            self._stuck.add(held, execution)
        self._event_loop.break_in(execution)

    def hand_back(self, held: HeldLease, execution: Execution) -> None:
        self._record_end(held, execution, outcome.handed_back(execution.row))

    def stop(self) -> None:
        for executor in self._executors():
            executor.stop()

    def vital(self) -> list[threading.Thread]:
        """Threads without which attempts cannot run."""
        return self._event_loop.vital()

    def unusable_reason(self, queues: Iterable[QueueSlots]) -> str:
        """Why no task of some queue can run here any more; empty while all can."""
        long = self._stuck.longer_than(get_settings().hard_stop)
        if self._event_loop.are_useless():
            return "event loops do not turn"
        # A process that is still starting is not stuck: its start is bounded.
        taken = Counter(
            held.queue for held, execution in long if not self._children.is_starting(execution)
        )
        full = [queue.name for queue in queues if 0 < queue.slots <= taken[queue.name]]
        return f"every slot of {' and '.join(full)} is stuck" if full else ""

    def _executors(self) -> list[Executor]:
        return [self._threads, self._event_loop, self._children]

    def _executor_of(self, execution: Execution, entry: Processor) -> Executor:
        # A task that was lost with its worker runs in a process of its own, so that a crash of its
        # code ends only the child.
        if entry.isolation == "process" or execution.row.recovery_count:
            return self._children
        if not entry.is_async:
            return self._threads
        return self._event_loop

    def _ended(self, held: HeldLease, result: AttemptResult) -> None:
        """The call of an attempt returned."""
        execution = held.execution
        assert execution is not None
        execution.is_returned = True
        self._stuck.remove(execution)
        if not self._record_end(held, execution, result):
            self._inbox.put(Returned(held))

    def _leave_behind(self, held: HeldLease, execution: Execution, is_explained: bool) -> None:
        """End an attempt whose event loop is blocked; it cannot run, so its slot is freed.

        It is handed back uncounted when the blocking attempt is known. Otherwise any of them may
        have blocked the loop, so each counts as lost and runs next in a process of its own.
        """
        result = execute.abandoned(execution, clock.now())
        execution.ask_to_stop(StopReason.LOST)
        if not is_explained and result.outcome is Outcome.HANDED_BACK:
            result = outcome.lost(execution.row)
        if execution.try_finish():
            execution.is_returned = True
            self._inbox.put(Ended(held, execution, result))

    def _record_end(self, held: HeldLease, execution: Execution, result: AttemptResult) -> bool:
        is_first = execution.try_finish()
        if is_first:
            self._inbox.put(Ended(held, execution, result))
        return is_first
