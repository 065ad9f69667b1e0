"""Attempts in processes of their own: for code that may crash, hang or kill its process.

Children come from the forkserver (`forkserver.py`): the running worker is never forked.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from plugspace_queue.conf import get_settings
from plugspace_queue.domain import backoff, clock
from plugspace_queue.processing import execute, outcome
from plugspace_queue.processing.execution import Execution
from plugspace_queue.processing.outcome import AttemptResult, Failure
from plugspace_queue.processing.registry import Processor
from plugspace_queue.worker.executors import child, forkserver
from plugspace_queue.worker.executors.base import Ended
from plugspace_queue.worker.state import HeldLease

logger = logging.getLogger("plugspace_queue.worker")

POLL = 0.05
"""Seconds between two looks whether the attempt was told to stop."""

START_UP = 120.0
"""Seconds a child may take to start; one that takes longer counts as one that died."""


class ProcessExecutor:
    """One child process per attempt, each minded by a thread."""

    def __init__(self, ended: Ended) -> None:
        self._ended = ended
        self._context = multiprocessing.get_context("forkserver")
        self._children: dict[Execution, BaseProcess | None] = {}
        """None until the process is there, which takes a moment."""
        self._interrupted: set[Execution] = set()

    def is_starting(self, execution: Execution) -> bool:
        """Whether its process is still starting: that time is not the attempt's."""
        return execution.began_at is None and time.monotonic() - execution.started < START_UP

    def start(self, held: HeldLease, execution: Execution, entry: Processor) -> None:
        execution.began_at = None
        self._children[execution] = None
        name = f"plugspace-child-of-{execution.task_id}"
        threading.Thread(target=self._mind, args=(held, execution), name=name, daemon=True).start()

    def interrupt(self, execution: Execution) -> None:
        if execution not in self._children:
            return
        # Noted first: a process that comes between this line and the next one looks for it.
        self._interrupted.add(execution)
        if process := self._children.get(execution):
            _end(process)

    def stop(self) -> None:
        """End every child; their tasks were handed back before."""
        for execution in list(self._children):
            self.interrupt(execution)

    def _mind(self, held: HeldLease, execution: Execution) -> None:
        try:
            result = self._outcome(execution)
        except Exception as error:
            result = outcome.failed(outcome.failure_of(error))
        self._children.pop(execution, None)
        self._interrupted.discard(execution)
        self._ended(held, result)

    def _outcome(self, execution: Execution) -> AttemptResult:
        ours, theirs = self._context.Pipe()
        try:
            process = self._process(execution, theirs)
        except (OSError, EOFError):
            # No fault of the task, and no process of it is left.
            logger.exception("no process for %s", execution.task_id)
            ours.close()
            return after_death(execution, None)
        finally:
            theirs.close()
        self._children[execution] = process
        if execution in self._interrupted:
            _end(process)
        try:
            result = _attend(ours, process.sentinel, execution)
        finally:
            ours.close()
            process.join(timeout=1.0)
            _end(process)
        return result or after_death(execution, process.exitcode)

    def _process(self, execution: Execution, theirs: Connection) -> BaseProcess:
        """The child, started; once more when the forkserver ended at just that moment."""
        order = child.Order(execution.row, execution.timeout, execution.results)
        for is_last in (False, True):
            process = self._context.Process(target=child.main, args=(theirs, order), daemon=True)
            try:
                forkserver.ensure_ready()
                process.start()
                break
            except (OSError, EOFError):
                if is_last:
                    raise
        return process


def _attend(connection: Connection, sentinel: int, execution: Execution) -> AttemptResult | None:
    """The child's own ending; None when it died before, or was not let begin."""
    if not _is_ready(connection, sentinel, execution):
        return None
    execution.begin(clock.now())
    return _listen(connection, sentinel, execution)


def _end(process: BaseProcess) -> None:
    """Kill the child and what it started: it leads a session of its own."""
    # Group 0 would be our own.
    if process.pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _is_ready(connection: Connection, sentinel: int, execution: Execution) -> bool:
    """Wait until the child has started; False when it died, took too long or is not wanted."""
    deadline = execution.started + START_UP
    with contextlib.suppress(EOFError, OSError):
        while execution.stop_reason is None and time.monotonic() < deadline:
            ready = wait([connection, sentinel], POLL)
            if connection in ready:
                connection.recv()
                return execution.stop_reason is None
            if ready:
                return False
    if execution.stop_reason is None:
        logger.error("the process of %s did not start", execution.task_id)
    return False


def _listen(connection: Connection, sentinel: int, execution: Execution) -> AttemptResult | None:
    """Let the child begin, take its reports until its ending; None when it died before.

    By the sentinel: what the child has forked keeps its end of the connection open.
    """
    sent: child.Word | None = None
    with contextlib.suppress(EOFError, OSError):
        connection.send(child.BEGIN)
        while True:
            if (word := _word(execution)) != sent:
                sent = word
                connection.send(word)
            ready = wait([connection, sentinel], POLL)
            if connection in ready:
                report: child.Report = connection.recv()
                _take_in(execution, report)
                if report.result is not None:
                    result = _by_our_clock(report.result, report.wait or 0.0)
                    return execute.unless_cancelled(execution, result)
            elif ready:
                return None
    return None


def _word(execution: Execution) -> child.Word | None:
    reason = execution.stop_reason
    return child.Word(reason, execution.must_stop) if reason else None


def _by_our_clock(result: AttemptResult, wait: float) -> AttemptResult:
    """The child's clock may be off or changed by its processor: only the wait counts, bounded."""
    if result.wake_at is None:
        return result
    bounded = timedelta(seconds=min(max(wait, 0.0), backoff.LONGEST))
    return result._replace(wake_at=clock.now() + bounded)


def _take_in(execution: Execution, report: child.Report) -> None:
    if report.tokens or report.cost:
        execution.add_usage(report.tokens, report.cost)
    if report.line is not None:
        execution.add_log(report.line)
    if report.percent is not None:
        execution.add_progress(report.percent, report.stage)


def after_death(execution: Execution, exit_code: int | None) -> AttemptResult:
    """What follows when the child ended without a word; a death that we caused has our reason."""
    if execution.stop_reason is not None:
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
