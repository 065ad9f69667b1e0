"""The start of a worker while Redis or the database is away, or full: it waits, and then begins.

Nothing has been taken yet: a signal ends the wait at once, and nothing is handed back.
"""

import atexit
import logging
import mmap
import os
import queue
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.models import F
from redis.exceptions import RedisError

from plugspace_queue.db.transactions import is_locked, lock_timeout
from plugspace_queue.limits import policies
from plugspace_queue.models import QueueSettings

logger = logging.getLogger("plugspace_queue.worker")

T = TypeVar("T")

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 10.0
"""Seconds between two tries; each pause is twice as long as the one before."""

AWAY = (RedisError, OSError, DatabaseError, InterfaceError)


class ToldToStop(Exception):
    """A signal came before the worker had taken anything."""


class GaveUp(Exception):
    """What the worker needs did not come in time."""


class Start:
    """Tries what a start needs until it succeeds; with `--burst` for `patience` seconds only."""

    def __init__(self, patience: float, *, is_burst: bool) -> None:
        self._patience = patience
        self._is_burst = is_burst
        self._began = time.monotonic()
        # A signal's handler runs in the thread that waits here: it must take no lock.
        self._stops: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_told = False

    @property
    def goes_without(self) -> bool:
        """Whether it has waited long enough to begin without what it can do without."""
        return not self._is_burst and self._is_overdue()

    def stop(self) -> None:
        """Called by a signal: ends the wait, or the call that holds it up. Raises ToldToStop."""
        if self._is_told:
            # It is on its way out: a second signal must not break that off.
            return
        self._is_told = True
        self._stops.put(None)
        raise ToldToStop

    def until(self, what: str, step: Callable[[], T]) -> T:
        """The answer of `step` as soon as `what` lets it have one. Raises ToldToStop, GaveUp."""
        pause, began = FIRST_PAUSE, time.monotonic()
        while True:
            # What the signal raised may have been lost in a destructor or a callback.
            self._end_if_told()
            try:
                answer = step()
            except AWAY as error:
                self._wait(what, error, pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                self._end_if_told()
                if pause > FIRST_PAUSE:
                    waited = time.monotonic() - began
                    logger.warning("%s is there after %.1f s; the worker begins", what, waited)
                return answer

    def _is_overdue(self) -> bool:
        return time.monotonic() - self._began >= self._patience

    def _end_if_told(self) -> None:
        if self._is_told:
            raise ToldToStop

    def _wait(self, what: str, error: Exception, pause: float) -> None:
        if self._is_burst and self._is_overdue():
            raise GaveUp(
                f"{what} did not let the worker begin within START_PATIENCE"
                f" ({self._patience:g} s): {error}"
            ) from error
        logger.warning("the worker waits for %s: %s; again in %.2f s", what, error, pause)
        try:
            self._stops.get(timeout=pause)
        except queue.Empty:
            return


def require_database(kinds: Sequence[str]) -> None:
    """Raise a database error unless these queues' rows can be read and written.

    A server that takes no writes (its disk is full, it is a standby) accepts no start of a task.
    """
    policies.clear_cache()
    try:
        with lock_timeout():
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
    """Whether a worker of this command gave up, told to the process that the user started.

    RQ's pool ends with 0 whatever became of its workers. The byte is shared with the children that
    it forks; it is made when this module is loaded, which the pool does before it forks.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 1)
        self._owner = os.getpid()

    def tell(self) -> None:
        """A worker gave up."""
        self._shared[0] = 1

    def end_pool(self) -> None:
        """At the end of the process that made this: its exit code says what its children told."""
        if os.getpid() == self._owner and self._shared[0]:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)


failures = Failures()
atexit.register(failures.end_pool)
