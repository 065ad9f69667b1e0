"""Waits for tasks while slots are free: blocks on the markers of the queues and wakes the loop.

There is a thread for each queue: a single thread, while blocked on the markers of some queues,
could not start to watch another queue until the block ends.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable

from redis import Redis
from redis.exceptions import RedisError

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import is_spoiled
from plugspace_queue.worker.state import LoopMessage, Woken

logger = logging.getLogger("plugspace_queue.worker")

BLOCK = 2.0
"""Longest block in seconds, so that a change of what is watched takes effect."""


class Notifiers:
    """The notifiers of all queues of a worker."""

    def __init__(
        self, names: Iterable[str], client: Redis, put: Callable[[LoopMessage], None]
    ) -> None:
        self._notifiers = {name: Notifier(name, client, put) for name in names}

    @property
    def threads(self) -> list[threading.Thread]:
        return list(self._notifiers.values())

    def watch(self, names: Collection[str]) -> None:
        """Wake the loop for these queues from now on, and for no others."""
        for name, notifier in self._notifiers.items():
            notifier.watch(name in names)

    def start(self) -> None:
        for notifier in self._notifiers.values():
            notifier.start()

    def stop(self) -> None:
        for notifier in self._notifiers.values():
            notifier.stop()


class Notifier(threading.Thread):
    """One BZPOPMIN on the marker of one queue, while that wants tasks."""

    def __init__(self, queue: str, client: Redis, put: Callable[[LoopMessage], None]) -> None:
        super().__init__(name=f"plugspace-notifier-{queue}", daemon=True)
        self._queue = queue
        self._client = client
        self._put = put
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
                logger.warning("no notifications for a moment: %s", error)
            # The next write replaces a marker of a wrong type; ticks write one while tasks wait.
            threading.Event().wait(1.0)
            return
        if popped is not None:
            # Not watched again until the loop has acquired.
            with self._changed:
                self._is_wanted = False
            self._put(Woken(self._queue))
