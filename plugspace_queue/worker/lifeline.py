"""A pipe by which the workers of a pool detect that the pool's own process has died.

RQ's pool forks its workers and cannot notify them when it is killed. The pool's process holds the
only write end; however it ends, that end is closed, and its workers read the end of the file.
"""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable

POOL = "rq.worker_pool"
"""The module of RQ's pool; only a process that imported it forks workers."""

MARK = "(WorkerPool "
"""What the pool puts into the names of its processes."""


class Lifeline:
    """The ends of the pipe that this process holds."""

    def __init__(self) -> None:
        self._reading: int | None = None
        self._writing: int | None = None

    def open(self) -> None:
        """Create the pipe before the first fork of a process that may be a pool's."""
        if POOL in sys.modules and self._reading is None:
            self._reading, self._writing = os.pipe()

    def keep_reading(self) -> None:
        """Close the write end in a process that was just forked."""
        if self._writing is not None:
            os.close(self._writing)
            self._writing = None

    def watch(self, on_death: Callable[[], None]) -> None:
        """In a worker of a pool, call `on_death` in a thread when the pool's process has died."""
        reading = self._reading
        if reading is None or MARK not in multiprocessing.current_process().name:
            # Not a pool's worker: the process that started it may end before it.
            return

        def wait() -> None:
            os.read(reading, 1)
            on_death()

        threading.Thread(target=wait, name="plugspace-lifeline", daemon=True).start()


_lifeline = Lifeline()
os.register_at_fork(before=_lifeline.open, after_in_child=_lifeline.keep_reading)

watch = _lifeline.watch
