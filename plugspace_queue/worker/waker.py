"""Waits for work while slots are free: blocks on the queues' markers and tells the pump.

A thread for each queue: one that blocks on the markers of some queues cannot hear that another
queue wants work again, and its tasks would wait until that block ends.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable

from redis import Redis
from redis.exceptions import RedisError

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import is_spoiled
from plugspace_queue.worker.messages import PumpMessage, Woken

logger = logging.getLogger("plugspace_queue.worker")

BLOCK = 2.0
"""Longest wait in seconds, so that a change of what is watched is heard."""


class Wakers:
    """The wakers of all queues of a worker."""

    def __init__(
        self, names: Iterable[str], client: Redis, tell: Callable[[PumpMessage], None]
    ) -> None:
        self._wakers = {name: Waker(name, client, tell) for name in names}

    @property
    def threads(self) -> list[threading.Thread]:
        return list(self._wakers.values())

    def watch(self, names: Collection[str]) -> None:
        """Wake the pump for these queues from now on, and for no others."""
        for name, waker in self._wakers.items():
            waker.watch(name in names)

    def start(self) -> None:
        for waker in self._wakers.values():
            waker.start()

    def stop(self) -> None:
        for waker in self._wakers.values():
            waker.stop()


class Waker(threading.Thread):
    """One BZPOPMIN on the marker of one queue, while that wants work."""

    def __init__(self, queue: str, client: Redis, tell: Callable[[PumpMessage], None]) -> None:
        super().__init__(name=f"plugspace-waker-{queue}", daemon=True)
        self._queue = queue
        self._client = client
        self._tell = tell
        self._is_wanted = False
        self._is_stopping = False
        self._changed = threading.Condition()

    def watch(self, is_wanted: bool) -> None:
        if is_wanted != self._is_wanted:
            with self._changed:
                self._is_wanted = is_wanted
                self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._is_stopping = True
            self._changed.notify()

    def run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_wanted or self._is_stopping)
                if self._is_stopping:
                    return
            self._wait()

    def _wait(self) -> None:
        try:
            popped = self._client.bzpopmin([keys.marker(self._queue)], timeout=BLOCK)
        except RedisError as error:
            if not is_spoiled(error):
                logger.warning("no wake-ups for a moment: %s", error)
            # A marker of a wrong type gives way to the next one; the ticks bring what waits.
            threading.Event().wait(1.0)
            return
        if popped is not None:
            # Not watched again until the pump has asked.
            with self._changed:
                self._is_wanted = False
            self._tell(Woken(self._queue))
