"""RQ's heartbeat in a thread of its own: RQ's connection waits minutes for a server that hangs."""

import logging
import threading
from collections.abc import Callable

from redis.exceptions import RedisError

logger = logging.getLogger("plugspace_queue.worker")


class Heartbeat(threading.Thread):
    """Tells RQ once a second that this worker lives, and hears whether all are suspended."""

    INTERVAL = 1.0

    def __init__(self, beat: Callable[[], None]) -> None:
        super().__init__(name="plugspace-heartbeat", daemon=True)
        self._beat = beat
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.wait(self.INTERVAL):
            try:
                self._beat()
            except (RedisError, OSError) as error:
                logger.warning("no heartbeat: %s", error)
            except Exception:
                # A thread that ended here would let RQ take a living worker for dead.
                logger.exception("no heartbeat")
