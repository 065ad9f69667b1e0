"""Runs attempts in processes of their own, for code that may crash, hang or kill its process.

Children are forked from the forkserver (`forkserver.py`), never from the running worker.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait

from plugspace_queue.conf import get_settings
from plugspace_queue.domain import backoff, clock
from plugspace_queue.processing import execute, outcome
from plugspace_queue.processing.execution import Execution, StopReason
from plugspace_queue.processing.outcome import AttemptResult, Failure
from plugspace_queue.processing.registry import Processor
from plugspace_queue.worker.executors import child, child_process, forkserver
from plugspace_queue.worker.executors.base import OnEnd
from plugspace_queue.worker.executors.child_process import POLL, ChildProcess, NoProcess
from plugspace_queue.worker.state import HeldLease

logger = logging.getLogger("plugspace_queue.worker")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds that a slot pauses when no process could be started; doubled until one can."""

HandBack = Callable[[HeldLease, Execution], None]


class ProcessExecutor:
    """One child process per attempt, each watched by a thread."""

    def __init__(self, ended: OnEnd, hand_back: HandBack) -> None:
        self._ended = ended
        self._hand_back = hand_back
        self._children: dict[Execution, ChildProcess] = {}
        self._failed_starts = 0
        """Consecutive attempts for which no process could be started."""

    def is_starting(self, execution: Execution) -> bool:
        """Whether its process is still starting; that time does not count towards the timeout.

        `child_process.START_UP` bounds it instead.
        """
        return execution.began_at is None

    def start(self, held: HeldLease, execution: Execution, entry: Processor) -> None:
        execution.began_at = None
        process = ChildProcess(execution)
        self._children[execution] = process
        name = f"plugspace-child-of-{execution.task_id}"
        arguments = (held, execution, process, entry.isolation == "process")
        threading.Thread(target=self._watch, args=arguments, name=name, daemon=True).start()

    def check(self) -> None:
        """Called at each beat to detect a forkserver that hangs."""
        forkserver.check(child_process.START_UP)

    def interrupt(self, execution: Execution) -> None:
        if process := self._children.get(execution):
            process.interrupt()

    def stop(self) -> None:
        """End every child; their tasks were handed back before."""
        for execution in list(self._children):
            self.interrupt(execution)

    def _watch(
        self, held: HeldLease, execution: Execution, process: ChildProcess, is_rule: bool
    ) -> None:
        """Run one attempt to its end; `is_rule`: all attempts of its queue run in processes."""
        try:
            result = self._outcome(execution, process)
        except NoProcess as error:
            self._go_without(held, execution, process, is_rule, error)
            result = after_death(execution, None)
        except Exception as error:
            result = outcome.after_failure(execution.row, outcome.failure_of(error), clock.now())
        self._children.pop(execution, None)
        self._ended(held, result)

    def _outcome(self, execution: Execution, process: ChildProcess) -> AttemptResult:
        result, exit_code = None, None
        try:
            if process.start():
                self._failed_starts = 0
                execution.begin(clock.now())
                result = _listen(process.connection, process.process.sentinel, execution)
        finally:
            exit_code = process.close()
        return result or after_death(execution, exit_code)

    def _go_without(
        self,
        held: HeldLease,
        execution: Execution,
        process: ChildProcess,
        is_rule: bool,
        error: NoProcess,
    ) -> None:
        """Hand the attempt back uncounted; pause its slot, which would acquire it again at once.

        If all attempts of the queue need a process, it is handed back before the pause, as another
        worker may be able to start processes. If only this one does, it is kept during the pause:
        handed back, it would be acquired by one slot after the other and pause each of them.
        """
        pause = min(FIRST_PAUSE * 2 ** min(self._failed_starts, 10), LONGEST_PAUSE)
        self._failed_starts += 1
        logger.error(
            "no process for %s: %s; it goes back, its slot rests for %g s",
            execution.task_id,
            error,
            pause,
        )
        if not is_rule:
            _rest(process, pause)
        if execution.stop_reason is not StopReason.CANCEL:
            self._hand_back(held, execution)
            _rest(process, pause if is_rule else FIRST_PAUSE)


def _rest(process: ChildProcess, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not process.is_unwanted and time.monotonic() < until:
        time.sleep(POLL)


def _listen(connection: Connection, sentinel: int, execution: Execution) -> AttemptResult | None:
    """Start the child's attempt and read its reports until the result; None when it died before.

    Its death is detected by the sentinel, as processes that it forked keep the connection open.
    """
    sent: child.StopRequest | None = None
    with contextlib.suppress(EOFError, OSError):
        connection.send(child.BEGIN)
        while True:
            if (request := _request(execution)) != sent:
                sent = request
                connection.send(request)
            ready = wait([connection, sentinel], POLL)
            if connection in ready:
                message: child.ChildMessage = connection.recv()
                _take_in(execution, message)
                if message.result is not None:
                    result = _by_our_clock(message.result, message.wait or 0.0)
                    return execute.unless_cancelled(execution, result)
            elif ready:
                return None
    return None


def _request(execution: Execution) -> child.StopRequest | None:
    reason = execution.stop_reason
    return child.StopRequest(reason, execution.must_stop) if reason else None


def _by_our_clock(result: AttemptResult, wait: float) -> AttemptResult:
    """Recompute `wake_at` from the bounded wait, as the child's clock may be wrong."""
    if result.wake_at is None:
        return result
    bounded = timedelta(seconds=min(max(wait, 0.0), backoff.LONGEST))
    return result._replace(wake_at=clock.now() + bounded)


def _take_in(execution: Execution, message: child.ChildMessage) -> None:
    if message.tokens or message.cost:
        execution.add_usage(message.tokens, message.cost)
    if message.line is not None:
        execution.add_log(message.line)
    if message.percent is not None:
        execution.add_progress(message.percent, message.stage)


def after_death(execution: Execution, exit_code: int | None) -> AttemptResult:
    """The result of an attempt whose child ended without one; if we killed it, by our stop reason.

    If none of the attempt's code has run, it is handed back uncounted.
    """
    if execution.stop_reason is not None or execution.began_at is None:
        return execute.abandoned(execution, clock.now())
    if execution.row.recovery_count + 1 > get_settings().max_recoveries:
        return outcome.failed(_lost(execution, exit_code))
    return outcome.lost(execution.row)


def _lost(execution: Execution, exit_code: int | None) -> Failure:
    return Failure(
        code="WORKER_LOST",
        message=(
            f"The process of this task died {execution.row.recovery_count + 1} times"
            f" (last exit code {exit_code}); see the worker's log."
        ),
        retryable=False,
    )
