"""Queues whose data in Redis is damaged: each rests by itself, and the reason is told.

A key of a wrong type or a value that is no number makes scripts of one queue fail. The other queues
of the worker go on; this one is tried again after a growing pause, until somebody, or the
reconciler, has put it right.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

logger = logging.getLogger("plugspace_queue.worker")

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 8.0
"""Seconds between two tries."""

TOLD_EVERY = 60.0
"""Seconds between two records of the log about the same queue."""


@dataclass(eq=False)
class Trouble:
    """What keeps one queue from being worked on."""

    reason: str
    pause: float = FIRST_PAUSE
    since: float = field(default_factory=time.monotonic)
    told_at: float = float("-inf")
    failed_at: float = field(default_factory=time.monotonic)


class Troubles:
    """The troubles of one worker's queues, as its pump or its ticker has them."""

    def __init__(self) -> None:
        self._of: dict[str, Trouble] = {}

    def note(self, name: str, error: Exception) -> float:
        """Something of this queue failed; seconds until it is worth trying again."""
        trouble = self._of.setdefault(name, Trouble(str(error)))
        trouble.reason = str(error)
        now = trouble.failed_at = time.monotonic()
        if now - trouble.told_at >= TOLD_EVERY:
            trouble.told_at = now
            logger.error(
                "%s cannot be worked on, its data in Redis is damaged: %s"
                " (queue_reconcile --fix repairs it; it is tried again)",
                name,
                error,
            )
        pause, trouble.pause = trouble.pause, min(trouble.pause * 2, LONGEST_PAUSE)
        return pause

    def clear(self, name: str) -> None:
        """All of this queue went well; it is over when nothing failed for longer than a pause."""
        trouble = self._of.get(name)
        if trouble is not None and time.monotonic() - trouble.failed_at > LONGEST_PAUSE:
            del self._of[name]
            logger.warning("%s is worked on again", name)

    def reasons(self) -> Mapping[str, str]:
        """Why each of these queues rests."""
        return {name: trouble.reason for name, trouble in self._lasting()}

    def longest(self) -> float:
        """Seconds that the oldest of them lasts."""
        began = [trouble.since for _, trouble in self._lasting()]
        return time.monotonic() - min(began) if began else 0.0

    def _lasting(self) -> list[tuple[str, Trouble]]:
        """Those that failed lately: of a queue without work nobody may have asked since."""
        oldest = time.monotonic() - 2 * LONGEST_PAUSE
        return [(name, one) for name, one in list(self._of.items()) if one.failed_at > oldest]
