"""The attempts under way: where each of them runs, how it is stopped, how its end is recorded."""

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
    """Gives started attempts to executors and tells the loop how each of them ended."""

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
        """Give a started attempt to an executor; when the worker stops it goes back instead."""
        entry = processor_of(execution.row.type)
        if self._is_stopping() or entry is None:
            execution.is_returned = True
            self.hand_back(held, execution)
            return
        self._executor_of(execution, entry).start(held, execution, entry)

    def is_late(self, execution: Execution) -> bool:
        """Whether its time is over; it stands still while another one blocks the event loop.

        That of an isolated attempt begins when its process has started.
        """
        if self._children.is_starting(execution):
            return False
        is_held_up = self._event_loop.is_held_up(execution)
        return not is_held_up and time.monotonic() - execution.started > execution.timeout

    def look(self) -> None:
        """Called at each beat: nothing waits for an event loop or a forkserver that hangs."""
        self._event_loop.look()
        self._children.look()

    def cancel(self, execution: Execution) -> None:
        """Cancel a coroutine, which does not look by itself; threads and children do."""
        self._event_loop.cancel(execution)

    def interrupt(self, execution: Execution) -> None:
        for executor in self._executors():
            executor.interrupt(execution)

    def abandon(self, held: HeldLease, execution: Execution) -> None:
        """End an attempt that does not come back; its slot stays taken until it does."""
        if self._record_end(held, execution, execute.abandoned(execution, clock.now())):
            # No error of its own: how the attempt ended is one record of `plugspace_queue.tasks`.
            logger.warning("%s does not stop; its slot is stuck until it does", execution.task_id)
            self._stuck.add(held, execution)
        self._event_loop.break_in(execution)

    def hand_back(self, held: HeldLease, execution: Execution) -> None:
        self._record_end(held, execution, outcome.handed_back(execution.row))

    def stop(self) -> None:
        for executor in self._executors():
            executor.stop()

    def vital(self) -> list[threading.Thread]:
        """Threads without which no attempt can go on."""
        return self._event_loop.vital()

    def unusable_reason(self, queues: Iterable[QueueSlots]) -> str:
        """Why nothing of a queue can run here any more; empty while it can."""
        long = self._stuck.longer_than(get_settings().hard_stop)
        if self._event_loop.are_useless():
            return "event loops do not turn"
        # A process that is still starting ends when it has.
        taken = Counter(
            held.queue for held, execution in long if not self._children.is_starting(execution)
        )
        full = [queue.name for queue in queues if 0 < queue.slots <= taken[queue.name]]
        return f"every slot of {' and '.join(full)} is stuck" if full else ""

    def _executors(self) -> list[Executor]:
        return [self._threads, self._event_loop, self._children]

    def _executor_of(self, execution: Execution, entry: Processor) -> Executor:
        # A task whose worker died runs alone: only a child's death may count on.
        if entry.isolation == "process" or execution.row.recovery_count:
            return self._children
        if not entry.is_async:
            return self._threads
        return self._event_loop

    def _ended(self, held: HeldLease, result: AttemptResult) -> None:
        """The call of an attempt came back."""
        execution = held.execution
        assert execution is not None
        execution.is_returned = True
        self._stuck.remove(execution)
        if not self._record_end(held, execution, result):
            self._inbox.put(Returned(held))

    def _leave_behind(self, held: HeldLease, execution: Execution, is_explained: bool) -> None:
        """End an attempt whose event loop is blocked: nothing of it works, so its slot is free.

        Uncounted when another attempt is to blame; else it may be any, and each runs next alone.
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
