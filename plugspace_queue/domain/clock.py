"""The time for a worker: Redis's time when the clock of its own host is wrong.

Scripts only use the server's clock. A worker with another time would end tasks too early, or
repeatedly hand back tasks that the server has rightly granted.
"""

import logging
import time
from datetime import UTC, datetime, timedelta

from django.utils import timezone

logger = logging.getLogger("plugspace_queue.worker")

TOLERANCE = timedelta(seconds=2)
"""Largest difference at which the host's clock counts as right."""

NOTHING = timedelta()


class Clock:
    """The server's last known time, advanced by the monotonic clock."""

    def __init__(self) -> None:
        self._server: tuple[datetime, float] | None = None
        self._is_off = False

    def now(self) -> datetime:
        """The host's time, or the server's where the two differ by seconds."""
        here = timezone.now()
        return here - self._ahead_at(here)

    def ahead(self) -> timedelta:
        """By how much the host's clock is ahead; 0 within the tolerance."""
        return self._ahead_at(timezone.now())

    def set_server_time(self, microseconds: int) -> None:
        """Set the server's current time, in microseconds since 1970."""
        self._server = (datetime.fromtimestamp(microseconds / 1e6, UTC), time.monotonic())
        ahead = self.ahead()
        if bool(ahead) != self._is_off:
            self._is_off = bool(ahead)
            _log(ahead)

    def _ahead_at(self, here: datetime) -> timedelta:
        if self._server is None:
            return NOTHING
        there, at = self._server
        ahead = here - there - timedelta(seconds=time.monotonic() - at)
        return ahead if abs(ahead) > TOLERANCE else NOTHING


def _log(ahead: timedelta) -> None:
    if ahead:
        logger.error(
            "the clock of this host is %.0f s off that of Redis, which counts here",
            ahead.total_seconds(),
        )
    else:
        logger.warning("the clock of this host is right again")


_clock = Clock()
"""The clock of this process, shared by all its threads."""

now = _clock.now
ahead = _clock.ahead
set_server_time = _clock.set_server_time
