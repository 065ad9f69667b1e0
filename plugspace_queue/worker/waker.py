"""Waits for work while slots are free: blocks on the queues' markers and tells the pump."""

import logging
import threading
from collections.abc import Callable, Collection
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from plugspace_queue import keys
from plugspace_queue.worker.messages import PumpMessage, Woken

logger = logging.getLogger("plugspace_queue.worker")

BLOCK = 2.0
"""Longest wait in seconds, so that a change of what is watched is heard."""


class Waker(threading.Thread):
    """One BZPOPMIN over the markers of all queues that want work."""

    def __init__(self, client: Redis, tell: Callable[[PumpMessage], None]) -> None:
        super().__init__(name="plugspace-waker", daemon=True)
        self._client = client
        self._tell = tell
        self._wanted: frozenset[str] = frozenset()
        self._changed = threading.Condition()
        self._is_stopping = False

    def watch(self, names: Collection[str]) -> None:
        """Wake the pump for these queues from now on."""
        wanted = frozenset(names)
        if wanted != self._wanted:
            with self._changed:
                self._wanted = wanted
                self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._is_stopping = True
            self._changed.notify()

    def run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._is_stopping)
                if self._is_stopping:
                    return
                names = sorted(self._wanted)
            self._wait_for(names)

    def _wait_for(self, names: Collection[str]) -> None:
        try:
            popped = self._client.bzpopmin([keys.marker(name) for name in names], timeout=BLOCK)
        except RedisError as error:
            logger.warning("no wake-ups for a moment: %s", error)
            threading.Event().wait(1.0)
            return
        if popped is not None:
            self._report(cast(bytes, popped[0]).decode(), names)

    def _report(self, key: str, names: Collection[str]) -> None:
        name = next((name for name in names if keys.marker(name) == key), None)
        if name is not None:
            # Not watched again until the pump has asked.
            with self._changed:
                self._wanted -= {name}
            self._tell(Woken(name))
