"""What time it is for a worker: Redis's time when the clock of its own host is off.

Scripts know the server's clock only. A worker that judged rows by another one would end tasks
before their time, or hand back again and again what the server has rightly granted.
"""

import logging
import time
from datetime import UTC, datetime, timedelta

from django.utils import timezone

logger = logging.getLogger("plugspace_queue.worker")

TOLERANCE = timedelta(seconds=2)
"""The host's own clock counts as right within this."""

NOTHING = timedelta()


class Clock:
    """The server's time as last heard, carried on by a clock that does not jump."""

    def __init__(self) -> None:
        self._heard: tuple[datetime, float] | None = None
        self._is_off = False

    def now(self) -> datetime:
        """The host's time, or the server's where the two differ by seconds."""
        here = timezone.now()
        return here - self._ahead_at(here)

    def ahead(self) -> timedelta:
        """How far the host's clock is off; nothing within the tolerance."""
        return self._ahead_at(timezone.now())

    def hear(self, microseconds: int) -> None:
        """The server just said that it is so many microseconds since 1970."""
        self._heard = (datetime.fromtimestamp(microseconds / 1e6, UTC), time.monotonic())
        ahead = self.ahead()
        if bool(ahead) != self._is_off:
            self._is_off = bool(ahead)
            _tell(ahead)

    def _ahead_at(self, here: datetime) -> timedelta:
        if self._heard is None:
            return NOTHING
        there, at = self._heard
        ahead = here - there - timedelta(seconds=time.monotonic() - at)
        return ahead if abs(ahead) > TOLERANCE else NOTHING


def _tell(ahead: timedelta) -> None:
    if ahead:
        logger.error(
            "the clock of this host is %.0f s off that of Redis, which counts here",
            ahead.total_seconds(),
        )
    else:
        logger.warning("the clock of this host is right again")


_clock = Clock()
"""This process's, for all its threads."""

now = _clock.now
ahead = _clock.ahead
hear = _clock.hear
