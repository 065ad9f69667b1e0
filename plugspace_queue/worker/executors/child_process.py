"""The process of one isolated attempt: starting it, waiting for it, ending it.

None of the attempt's code runs before the child has sent `READY`, so a child that fails earlier is
not the task's fault.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from plugspace_queue.processing.execution import Execution
from plugspace_queue.worker.executors import child, forkserver

logger = logging.getLogger("plugspace_queue.worker")

POLL = 0.05
"""Seconds between two checks whether the attempt was asked to stop."""

START_UP = 120.0
"""Seconds that a forkserver may take to fork a child, and then the child to load its code."""

TRIES = 3
"""Processes that are started for an attempt, one after the other, before it is handed back."""


DIED = "it ended before its code was loaded"


class NoProcess(Exception):
    """No process could be started for an attempt; none of its code has run."""


class _Ended(Exception):
    """The process or its forkserver ended during the start; another try may succeed."""


class ChildProcess:
    """A child process, started by the attempt's watching thread; any thread may interrupt it."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._context = multiprocessing.get_context("forkserver")
        self._process: BaseProcess | None = None
        """None until the process was forked."""
        self._connection: Connection | None = None
        self._is_interrupted = False

    @property
    def process(self) -> BaseProcess:
        """The process; only valid once it was started."""
        assert self._process is not None
        return self._process

    @property
    def connection(self) -> Connection:
        """The connection to the process; only valid once that was started."""
        assert self._connection is not None
        return self._connection

    @property
    def is_unwanted(self) -> bool:
        """Whether the attempt was asked to stop, so that the process is not needed any more."""
        return self._execution.stop_reason is not None or self._is_interrupted

    def start(self) -> bool:
        """Start a process and wait until its code is loaded; False when it is not needed any more.

        Raises NoProcess when none can be started.
        """
        for number in range(1, TRIES + 1):
            try:
                return not self.is_unwanted and self._start()
            except NoProcess:
                self._discard()
                raise
            except _Ended as error:
                self._discard()
                reason = str(error)
                logger.warning(
                    "no process for %s (try %d of %d): %s",
                    self._execution.task_id,
                    number,
                    TRIES,
                    reason,
                )
        raise NoProcess(reason)

    def interrupt(self) -> None:
        """End the process; one that is still being forked is ended right after the fork."""
        # Set first: `_fork` checks it for a process that appears between this line and the next.
        self._is_interrupted = True
        if self._process:
            kill(self._process)

    def close(self) -> int | None:
        """Close the connection and kill the process; its exit code if it had ended by itself."""
        if self._connection is not None:
            self._connection.close()
        if self._process is None:
            return None
        self._process.join(timeout=1.0)
        exit_code = self._process.exitcode
        kill(self._process)
        return exit_code

    def _start(self) -> bool:
        try:
            self._connection, theirs = self._context.Pipe()
            with theirs:
                self._fork(theirs)
            return self._is_ready(self.connection, self.process.sentinel)
        except OSError as error:
            raise NoProcess(repr(error)) from error
        except forkserver.Gone as error:
            raise _Ended(f"the forkserver ended ({error})") from error

    def _fork(self, theirs: Connection) -> None:
        execution = self._execution
        order = child.Order(execution.row, execution.timeout, execution.results)
        process = self._context.Process(target=child.main, args=(theirs, order), daemon=True)
        try:
            forkserver.fork(process)
        finally:
            # Kept even when `fork` raises: a child of the wrong forkserver has to be killed.
            if process.pid:
                self._process = process
        if self._is_interrupted:
            kill(process)

    def _is_ready(self, connection: Connection, sentinel: int) -> bool:
        """Wait until the child has loaded its code; False when it is not needed any more."""
        deadline = time.monotonic() + START_UP
        while True:
            ready = wait([connection, sentinel], POLL)
            if self.is_unwanted:
                return False
            if connection in ready:
                return _receive_ready(connection)
            if ready:
                raise _Ended(DIED)
            if time.monotonic() > deadline:
                raise NoProcess(f"it did not load its code within {START_UP:g} s")

    def _discard(self) -> None:
        """Kill a process that failed to start, without the grace of `close`."""
        if self._process is not None:
            kill(self._process)
        self.close()
        self._process = self._connection = None


def _receive_ready(connection: Connection) -> bool:
    try:
        connection.recv()
    except (EOFError, OSError) as error:
        raise _Ended(DIED) from error
    return True


def kill(process: BaseProcess) -> None:
    """Kill the child and the processes it started, which share its process group."""
    # `killpg(0)` would kill the worker's own group.
    if process.pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
