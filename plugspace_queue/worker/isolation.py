"""Attempts in processes of their own: for code that may crash, hang or kill its process.

Children come from the forkserver (`forkserver.py`): the running worker is never forked.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait

from plugspace_queue.conf import get_settings
from plugspace_queue.domain import backoff, clock
from plugspace_queue.processing import attempt, outcome
from plugspace_queue.processing.outcome import Ending, Failure
from plugspace_queue.processing.registry import Processor
from plugspace_queue.processing.run import Run, Told
from plugspace_queue.worker import child, child_process, forkserver
from plugspace_queue.worker.child_process import POLL, ChildProcess, NoProcess
from plugspace_queue.worker.table import Held

logger = logging.getLogger("plugspace_queue.worker")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds that a slot rests when no process came up; doubled each time until one does."""

Ended = Callable[[Held, Ending], None]
HandBack = Callable[[Held, Run], None]


class ProcessSlots:
    """One child process per attempt, each minded by a thread."""

    def __init__(self, ended: Ended, hand_back: HandBack) -> None:
        self._ended = ended
        self._hand_back = hand_back
        self._children: dict[Run, ChildProcess] = {}
        self._failed_starts = 0
        """Attempts in succession for which no process came up."""

    def is_starting(self, run: Run) -> bool:
        """Whether its process is still starting: that time is not the attempt's.

        It is bounded by itself (`child_process.START_UP`).
        """
        return run.began_at is None

    def start(self, held: Held, run: Run, entry: Processor) -> None:
        run.began_at = None
        process = ChildProcess(run)
        self._children[run] = process
        name = f"plugspace-child-of-{run.task_id}"
        minded = (held, run, process, entry.isolation == "process")
        threading.Thread(target=self._mind, args=minded, name=name, daemon=True).start()

    def look(self) -> None:
        """Called at each beat: no attempt waits for a forkserver that hangs."""
        forkserver.look(child_process.START_UP)

    def interrupt(self, run: Run) -> None:
        if process := self._children.get(run):
            process.interrupt()

    def stop(self) -> None:
        """End every child; their tasks were handed back before."""
        for run in list(self._children):
            self.interrupt(run)

    def _mind(self, held: Held, run: Run, process: ChildProcess, is_rule: bool) -> None:
        """From start to end; `is_rule`: all attempts of this queue run in processes."""
        try:
            ending = self._outcome(run, process)
        except NoProcess as error:
            self._go_without(held, run, process, is_rule, error)
            ending = after_death(run, None)
        except Exception as error:
            ending = outcome.after_failure(run.task, outcome.failure_of(error), clock.now())
        self._children.pop(run, None)
        self._ended(held, ending)

    def _outcome(self, run: Run, process: ChildProcess) -> Ending:
        ending, exit_code = None, None
        try:
            if process.start():
                self._failed_starts = 0
                run.begin(clock.now())
                ending = _listen(process.connection, process.process.sentinel, run)
        finally:
            exit_code = process.close()
        return ending or after_death(run, exit_code)

    def _go_without(
        self, held: Held, run: Run, process: ChildProcess, is_rule: bool, error: NoProcess
    ) -> None:
        """Hand the attempt back, blameless; its slot rests, or it would be here again at once.

        Before that where no attempt of the queue can run here: another worker may have processes. A
        task that runs alone among threads is kept meanwhile: it would put slot after slot to rest.
        """
        pause = min(FIRST_PAUSE * 2 ** min(self._failed_starts, 10), LONGEST_PAUSE)
        self._failed_starts += 1
        logger.error(
            "no process for %s: %s; it goes back, its slot rests for %g s",
            run.task_id,
            error,
            pause,
        )
        if not is_rule:
            _rest(process, pause)
        if run.told is not Told.CANCEL:
            self._hand_back(held, run)
            _rest(process, pause if is_rule else FIRST_PAUSE)


def _rest(process: ChildProcess, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not process.is_unwanted and time.monotonic() < until:
        time.sleep(POLL)


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
    """What follows when the child ended without a word; a death that we caused has our reason.

    Where none of the attempt's code has run it goes back and nothing is counted.
    """
    if run.told is Told.CANCEL:
        return outcome.cancelled(attempt.cancelled_failure())
    if run.told is Told.TIMEOUT:
        return outcome.after_failure(run.task, attempt.timeout_failure(run), clock.now())
    if run.told is not None or run.began_at is None:
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
