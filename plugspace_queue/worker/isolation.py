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
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from plugspace_queue.conf import get_settings
from plugspace_queue.domain import backoff, clock
from plugspace_queue.processing import attempt, outcome
from plugspace_queue.processing.outcome import Ending, Failure
from plugspace_queue.processing.registry import Processor
from plugspace_queue.processing.run import Run, Told
from plugspace_queue.worker import child, forkserver
from plugspace_queue.worker.table import Held

logger = logging.getLogger("plugspace_queue.worker")

POLL = 0.05
"""Seconds between two looks whether the attempt was told to stop."""

START_UP = 120.0
"""Seconds a child may take to start; one that takes longer counts as one that died."""


class ProcessSlots:
    """One child process per attempt, each minded by a thread."""

    def __init__(self, ended: Callable[[Held, Ending], None]) -> None:
        self._ended = ended
        self._context = multiprocessing.get_context("forkserver")
        self._children: dict[Run, BaseProcess | None] = {}
        """None until the process is there, which takes a moment."""
        self._interrupted: set[Run] = set()

    def is_starting(self, run: Run) -> bool:
        """Whether its process is still starting: that time is not the attempt's."""
        return run.began_at is None and time.monotonic() - run.started < START_UP

    def start(self, held: Held, run: Run, entry: Processor) -> None:
        run.began_at = None
        self._children[run] = None
        name = f"plugspace-child-of-{run.task_id}"
        threading.Thread(target=self._mind, args=(held, run), name=name, daemon=True).start()

    def interrupt(self, run: Run) -> None:
        if run not in self._children:
            return
        # Noted first: a process that comes between this line and the next one looks for it.
        self._interrupted.add(run)
        if process := self._children.get(run):
            _end(process)

    def stop(self) -> None:
        """End every child; their tasks were handed back before."""
        for run in list(self._children):
            self.interrupt(run)

    def _mind(self, held: Held, run: Run) -> None:
        try:
            ending = self._outcome(run)
        except Exception as error:
            ending = outcome.failed(outcome.failure_of(error))
        self._children.pop(run, None)
        self._interrupted.discard(run)
        self._ended(held, ending)

    def _outcome(self, run: Run) -> Ending:
        ours, theirs = self._context.Pipe()
        try:
            process = self._process(run, theirs)
        except (OSError, EOFError):
            # No fault of the task, and no process of it is left.
            logger.exception("no process for %s", run.task_id)
            ours.close()
            return after_death(run, None)
        finally:
            theirs.close()
        self._children[run] = process
        if run in self._interrupted:
            _end(process)
        try:
            ending = _attend(ours, process.sentinel, run)
        finally:
            ours.close()
            process.join(timeout=1.0)
            _end(process)
        return ending or after_death(run, process.exitcode)

    def _process(self, run: Run, theirs: Connection) -> BaseProcess:
        """The child, started; once more when the forkserver ended at just that moment."""
        order = child.Order(run.task, run.fence, run.timeout, run.started_at, run.results)
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


def _attend(connection: Connection, sentinel: int, run: Run) -> Ending | None:
    """The child's own ending; None when it died before, or was not let begin."""
    if not _is_ready(connection, sentinel, run):
        return None
    run.begin(clock.now())
    return _listen(connection, sentinel, run)


def _end(process: BaseProcess) -> None:
    """Kill the child and what it started: it leads a session of its own."""
    # Group 0 would be our own.
    if process.pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _is_ready(connection: Connection, sentinel: int, run: Run) -> bool:
    """Wait until the child has started; False when it died, took too long or is not wanted."""
    deadline = run.started + START_UP
    with contextlib.suppress(EOFError, OSError):
        while run.told is None and time.monotonic() < deadline:
            ready = wait([connection, sentinel], POLL)
            if connection in ready:
                connection.recv()
                return run.told is None
            if ready:
                return False
    if run.told is None:
        logger.error("the process of %s did not start", run.task_id)
    return False


def _listen(connection: Connection, sentinel: int, run: Run) -> Ending | None:
    """Let the child begin, take its reports until its ending; None when it died before.

    By the sentinel: what the child has forked keeps its end of the connection open.
    """
    told: child.Word | None = None
    with contextlib.suppress(EOFError, OSError):
        connection.send(child.BEGIN)
        while True:
            if run.told and (word := child.Word(run.told, run.must_stop)) != told:
                told = word
                connection.send(word)
            ready = wait([connection, sentinel], POLL)
            if connection in ready:
                report: child.Report = connection.recv()
                _take_in(run, report)
                if report.ending is not None:
                    ending = _by_our_clock(report.ending, report.wait or 0.0)
                    return attempt.heard(run, ending)
            elif ready:
                return None
    return None


def _by_our_clock(ending: Ending, wait: float) -> Ending:
    """The child's clock may be off or changed by its processor: only the wait counts, bounded."""
    if ending.wake_at is None:
        return ending
    bounded = timedelta(seconds=min(max(wait, 0.0), backoff.LONGEST))
    return replace(ending, wake_at=clock.now() + bounded)


def _take_in(run: Run, report: child.Report) -> None:
    if report.tokens or report.cost:
        run.add_usage(report.tokens, report.cost)
    if report.line is not None:
        run.add_log(report.line)
    if report.percent is not None:
        run.add_progress(report.percent, report.stage)


def after_death(run: Run, exit_code: int | None) -> Ending:
    """What follows when the child ended without a word; a death that we caused has our reason."""
    if run.told is Told.CANCEL:
        return outcome.cancelled(attempt.cancelled_failure())
    if run.told is Told.TIMEOUT:
        return outcome.after_failure(run.task, attempt.timeout_failure(run), clock.now())
    if run.told is not None:
        return outcome.handed_back(run.task)
    if run.task.recovery_count + 1 > get_settings().max_recoveries:
        return outcome.failed(_lost(run, exit_code))
    return outcome.lost(run.task)


def _lost(run: Run, exit_code: int | None) -> Failure:
    return Failure(
        code="WORKER_LOST",
        message=(
            f"The process of this task died {run.task.recovery_count + 1} times"
            f" (last exit code {exit_code}); see the worker's log."
        ),
        retryable=False,
    )
