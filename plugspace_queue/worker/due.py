"""Lets delayed tasks come into line when they are due, whether this worker may start any or not.

A worker with a free slot asks for work at that moment anyway. One whose slots are taken, or whose
queue is paused or limited, would see them with its next tick only. It learns of due times by its
ticks: what is delayed for less than a second may still come in with the tick.
"""

import logging
import time
from collections.abc import Iterable

from redis import Redis
from redis.exceptions import RedisError

from plugspace_queue.broker import scripts, task_store
from plugspace_queue.broker.connection import is_spoiled

logger = logging.getLogger("plugspace_queue.worker")

SPACING = 0.05
"""Seconds between two looks at a queue: many due times in a row must not keep Redis busy."""

MOST_CALLS = 50
"""Calls of one look; each lets in a hundred."""

OVERDUE = 1
"""Ms that are told when more is due right now."""


class DueTimes:
    """When something of each queue is due next, as the ticks tell; used by one thread."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._due: dict[str, float] = {}

    def hear(self, name: str, due_ms: int) -> None:
        """The next one of this queue is due in so many ms; 0: none is delayed."""
        if due_ms:
            self._due[name] = time.monotonic() + max(due_ms / 1000, SPACING)
        else:
            self._due.pop(name, None)

    def within(self, most: float) -> float:
        """Seconds until there is something to do here, at most so many."""
        soonest = min(self._due.values(), default=float("inf"))
        return min(max(soonest - time.monotonic(), 0.0), most)

    def promote_due(self) -> None:
        """Let in what is due by now."""
        now = time.monotonic()
        for name in [name for name, moment in self._due.items() if moment <= now]:
            try:
                self._let_in(name)
            except RedisError as error:
                # The next tick lets them in, and tells when the next one is due.
                logger.warning("what is due waits for the next tick: %s", error)
                if not is_spoiled(error):
                    self._due.clear()
                    return
                self._due.pop(name, None)

    def _let_in(self, name: str) -> None:
        due_ms, foreign = OVERDUE, list[str]()
        for _ in range(MOST_CALLS):
            [(due_ms, refused)] = scripts.run(self._client, [task_store.promote_due(name)])
            foreign += refused
            if due_ms != OVERDUE:
                break
        self.hear(name, due_ms)
        tell_refused(name, foreign)


def tell_refused(name: str, foreign: Iterable[str]) -> None:
    """Say which jobs were not ours."""
    for task_id in foreign:
        logger.error("refused a stock job on %s: %s", name, task_id)
