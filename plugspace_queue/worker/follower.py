"""What follows a group commit is done here while the next one is being written.

In a thread of its own: the recorder waits for the database much of its time, and this is as much
work as the commit's own. Commits are followed up in the order they were made.
"""

import queue
import threading
from collections.abc import Callable

from django.db import close_old_connections, connection

from plugspace_queue.worker.commit import Batch, Counts
from plugspace_queue.worker.following import FollowUp


class Follower(threading.Thread):
    """Takes what was committed; `owe` hears of counts that came up on the way."""

    def __init__(self, follow_up: FollowUp, owe: Callable[[Counts], None]) -> None:
        super().__init__(name="plugspace-follower", daemon=True)
        self._inbox: queue.SimpleQueue[Batch | threading.Event | None] = queue.SimpleQueue()
        self._follow_up = follow_up
        self._owe = owe
        self._is_cut_off = False

    def put(self, batch: Batch) -> None:
        """Follow this up, after all before it; never blocks."""
        self._inbox.put(batch)

    def drain(self) -> None:
        """Wait until everything put so far is followed up."""
        done = threading.Event()
        self._inbox.put(done)
        while self.is_alive() and not done.wait(0.1):
            pass

    def reconnect(self) -> None:
        """The database was away: this thread's connection is as good as none."""
        self._is_cut_off = True

    def stop(self) -> None:
        """End when everything put so far is followed up."""
        self._inbox.put(None)

    def run(self) -> None:
        try:
            while (item := self._inbox.get()) is not None:
                if isinstance(item, Batch):
                    self._follow(item)
                else:
                    item.set()
        finally:
            connection.close()

    def _follow(self, batch: Batch) -> None:
        self._refresh_connection()
        self._follow_up.run(batch)
        if owed := self._follow_up.take_owed():
            self._owe(owed)

    def _refresh_connection(self) -> None:
        if self._is_cut_off:
            self._is_cut_off = False
            connection.close()
        close_old_connections()
