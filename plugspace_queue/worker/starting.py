"""The start of a worker: waits while Redis or the database is unavailable or read-only.

No lease is held yet, so a signal ends the wait at once and nothing has to be handed back.
"""

import atexit
import logging
import mmap
import os
import queue
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.models import F
from redis.exceptions import RedisError

from plugspace_queue.db.transactions import is_locked, lock_timeout
from plugspace_queue.limits import policies, registrations
from plugspace_queue.models import QueueSettings

logger = logging.getLogger("plugspace_queue.worker")

T = TypeVar("T")

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 10.0
"""Bounds of the pause between two tries in seconds; it doubles each time."""

AWAY = (RedisError, OSError, DatabaseError, InterfaceError)


class StopRequested(Exception):
    """A signal arrived before the worker had acquired anything."""


class GaveUp(Exception):
    """A service that the worker needs did not become available in time."""


class Start:
    """Retries the steps of a start until they succeed; a burst gives up after `seconds`."""

    def __init__(self, seconds: float, *, is_burst: bool) -> None:
        self._seconds = seconds
        self._is_burst = is_burst
        self._began = time.monotonic()
        # The signal handler runs in the waiting thread, so it must not need a lock.
        self._stops: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_stopped = False

    @property
    def goes_without(self) -> bool:
        """Whether it has waited long enough to start without optional services."""
        return not self._is_burst and self._is_overdue()

    def stop(self) -> None:
        """Signal handler: ends the wait, or the blocking call, by raising StopRequested."""
        if self._is_stopped:
            # The worker is ending already; a second signal must not interrupt that.
            return
        self._is_stopped = True
        self._stops.put(None)
        raise StopRequested

    def until(self, what: str, step: Callable[[], T]) -> T:
        """Retry `step` until it succeeds and return its result; `what` names the service in logs.

        Raises StopRequested, GaveUp.
        """
        pause, began = FIRST_PAUSE, time.monotonic()
        while True:
            # Python drops an exception raised in a destructor or a callback, so check the flag too.
            self._raise_if_stopped()
            try:
                answer = step()
            except AWAY as error:
                self._wait(what, error, pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                self._raise_if_stopped()
                if pause > FIRST_PAUSE:
                    waited = time.monotonic() - began
                    logger.warning("%s is there after %.1f s; the worker begins", what, waited)
                return answer

    def _is_overdue(self) -> bool:
        return time.monotonic() - self._began >= self._seconds

    def _raise_if_stopped(self) -> None:
        if self._is_stopped:
            raise StopRequested

    def _wait(self, what: str, error: Exception, pause: float) -> None:
        if self._is_burst and self._is_overdue():
            raise GaveUp(
                f"{what} did not let the worker begin within START_PATIENCE"
                f" ({self._seconds:g} s): {error}"
            ) from error
        logger.warning("the worker waits for %s: %s; again in %.2f s", what, error, pause)
        try:
            self._stops.get(timeout=pause)
        except queue.Empty:
            return


def require_database(kinds: Sequence[str]) -> None:
    """Raise a database error unless these queues' rows can be read and written.

    A server that accepts no writes (full disk, standby) would accept no start of a task either.
    """
    policies.clear_cache()
    try:
        with lock_timeout():
            registrations.write(kinds)
            QueueSettings.objects.filter(type__in=kinds).update(completed=F("completed"))
        for kind in kinds:
            policies.queue_settings(kind)
    except OperationalError as error:
        if not is_locked(error):
            connection.close()
            raise
    except (DatabaseError, InterfaceError):
        connection.close()
        raise


class Failures:
    """Passes the failure of a pool's worker to the pool's own process.

    RQ's pool exits with 0 even if its workers failed. The byte is shared with the children that it
    forks; it is created when this module is loaded, which happens before the pool forks.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 1)
        self._owner = os.getpid()

    def record(self) -> None:
        """Record that a worker gave up."""
        self._shared[0] = 1

    def end_pool(self) -> None:
        """At exit of the process that created this, exit with 1 if a worker has given up."""
        if os.getpid() == self._owner and self._shared[0]:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)


failures = Failures()
atexit.register(failures.end_pool)


def ignore_signals_at_exit() -> None:
    """A second SIGINT or SIGTERM must not kill a worker that has stopped and is exiting.

    Python restores the default handlers while it exits, which takes 0.3 s and longer; the process
    manager would see a failed stop. Signals that are ignored stay ignored.
    """
    atexit.register(_ignore_signals)


def _ignore_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
