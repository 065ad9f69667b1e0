"""Shared by all executors: interrupting code and cleaning up after a processor."""

import contextlib
import ctypes
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from plugspace_queue.domain.enums import Outcome
from plugspace_queue.processing import outcome
from plugspace_queue.processing.execution import Execution
from plugspace_queue.processing.outcome import AttemptResult, Failure
from plugspace_queue.processing.registry import Processor
from plugspace_queue.worker.state import HeldLease

logger = logging.getLogger("plugspace_queue.worker")

OnEnd = Callable[[HeldLease, AttemptResult], None]
"""Called when the call of a processor has returned."""


class Executor(Protocol):
    """A place where attempts run."""

    def start(self, held: HeldLease, execution: Execution, entry: Processor) -> None: ...

    def interrupt(self, execution: Execution) -> None: ...

    def stop(self) -> None: ...


class Interrupted(BaseException):
    """Raised inside a processor that did not stop when asked; processors must not catch it."""


def raise_in(thread_id: int) -> None:
    """Make the interpreter raise Interrupted in that thread at its next bytecode instruction."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread_id), ctypes.py_object(Interrupted)
    )


def clear_pending_interrupt() -> None:
    """Consume an interruption that may still be pending, so that it does not hit the next attempt.

    Setting it once more replaces a pending one. Clearing it with NULL would leave CPython 3.11's
    eval breaker set for good, which slows every thread (and hangs one that is profiled).
    """
    with contextlib.suppress(Interrupted):
        raise_in(threading.get_ident())
        while True:
            pass


def fail_on_open_transaction(
    result: AttemptResult, used: Iterable[BaseDatabaseWrapper]
) -> AttemptResult:
    """The result, or a failure when the processor left a transaction open, which is rolled back.

    Connections with open transactions are dropped to release their locks. Otherwise the next
    processor would write into that transaction, which nothing would ever commit.
    """
    left = [connection for connection in used if _is_open(connection)]
    for connection in left:
        _drop(connection)
    if not left or result.outcome is not Outcome.COMPLETE:
        return result
    message = (
        f"The processor left a transaction open ({', '.join(c.alias for c in left)}); what it wrote"
        " there was rolled back."
    )
    return outcome.failed(Failure(code="INTERNAL_ERROR", message=message, retryable=False))


def drop_connections() -> None:
    """Drop this thread's connections after an interruption.

    A query may still be in progress, and a transaction block may never have been exited: after
    closing alone, Django would not open a new connection.
    """
    for connection in connections.all(initialized_only=True):
        _drop(connection)


def end_if_forked(owner: int) -> None:
    """End this process if it is a copy of the worker that a processor forked."""
    if os.getpid() != owner:
        os._exit(0)


def _is_open(connection: BaseDatabaseWrapper) -> bool:
    """Whether it is in an atomic block that was not exited, or no longer in autocommit mode."""
    if connection.connection is None:
        return False
    return connection.in_atomic_block or connection.autocommit != _expected(connection)


def _expected(connection: BaseDatabaseWrapper) -> bool:
    return bool(connection.settings_dict["AUTOCOMMIT"])


def _drop(connection: BaseDatabaseWrapper) -> None:
    try:
        connection.close()
    except Exception:
        logger.warning("could not close %s after its processor", connection.alias)
    del connections[connection.alias]


EXIT_WAIT = 3.0
"""Seconds that threads started by processors get after the main thread has ended."""


def exit_despite_threads(exit_code: int) -> None:
    """End the process soon after its main thread, with this exit code.

    Python would wait for every non-daemon thread. Everything is written and settled by now.
    """
    left = [t.name for t in threading.enumerate() if not t.daemon and t is not _main()]
    if left:
        logger.warning("processors left %d threads behind: %s", len(left), ", ".join(left[:10]))
        threading.Thread(target=_end, args=(exit_code,), daemon=True).start()


def _end(exit_code: int) -> None:
    _main().join()
    threading.Event().wait(EXIT_WAIT)
    logging.shutdown()
    sys.stderr.flush()
    os._exit(exit_code)


def _main() -> threading.Thread:
    return threading.main_thread()
