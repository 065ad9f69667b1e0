"""Wakes callers that wait for the end of a task or workflow: one reader of the stream a process.

An event only wakes; the caller that waits then reads the row. Events may be lost while Redis is
away, so it reads the row now and then without one too.
"""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from weakref import WeakSet

from plugspace_queue.domain.lifecycle import FINAL
from plugspace_queue.errors import Unavailable
from plugspace_queue.events import fanout
from plugspace_queue.events.frames import StreamEntry, Topic

logger = logging.getLogger("plugspace_queue.events")

WAITED_FOR = ("jobId", "workflowId")
"""The fields of an event that can be waited for."""


class Waiter:
    """What one thread or coroutine waits on, until it is closed or garbage collected.

    The latter happens to responses that never begin because the client has disconnected.
    """

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.woken: Future[None] = Future()

    def again(self) -> None:
        """Be ready for the next event; to be called before the row is read."""
        self.woken = Future()

    def wake(self) -> None:
        """End the wait; from any thread."""
        # Done already, or given up by a coroutine.
        with suppress(InvalidStateError):
            self.woken.set_result(None)

    def close(self) -> None:
        """Wait no more; the last one ends the reader within a second."""
        with _lock:
            _waiting.get(self.topic, WeakSet()).discard(self)


_lock = threading.Lock()
_waiting: dict[Topic, WeakSet[Waiter]] = {}
_reader: "EndReader | None" = None


class EndReader(fanout.StreamFollower):
    """Reads the stream as long as a caller waits."""

    def run(self) -> None:
        while not self._has_stopped():
            try:
                self._read()
            except Unavailable:
                self._stopping.wait(1.0)
            except Exception:
                logger.exception("cannot read the stream; trying again")
                self._stopping.wait(1.0)

    def _has_stopped(self) -> bool:
        global _reader
        with _lock:
            for topic in [topic for topic, waiters in _waiting.items() if not waiters]:
                del _waiting[topic]
            if not _waiting:
                _reader = None
            return not _waiting


def register(topic: Topic) -> Waiter:
    """A waiter that is woken by each event from now on that says that a task has ended.

    Without Redis nothing wakes it. Costs a call to Redis when no other caller waits.
    """
    waiter = Waiter(topic)
    with _lock:
        _waiting.setdefault(topic, WeakSet()).add(waiter)
    with suppress(Unavailable):
        _ensure_reader()
    return waiter


def _ensure_reader() -> None:
    global _reader
    if _is_reading():
        return
    cursor = fanout.last_cursor()
    with _lock:
        if not _is_reading():
            _reader = EndReader(cursor, _wake)
            _reader.start()


def _is_reading() -> bool:
    # A thread does not survive a fork.
    return _reader is not None and _reader.is_alive()


def _wake(reader: fanout.StreamFollower, entries: Sequence[StreamEntry]) -> None:
    ended = [entry.body for entry in entries if entry.body.get("state") in FINAL]
    topics = {Topic(field, body.get(field) or "") for body in ended for field in WAITED_FOR}
    with _lock:
        woken = [waiter for topic in topics for waiter in _waiting.get(topic, ())]
    for waiter in woken:
        waiter.wake()
    reader.delivered.set()
