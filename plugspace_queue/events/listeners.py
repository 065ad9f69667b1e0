"""Calls functions with each event of the stream, in a thread of this process."""

import logging
import re
import threading
from collections.abc import Callable

from django.db import close_old_connections, connections
from django.utils.translation import gettext as _

from plugspace_queue import metrics
from plugspace_queue.broker import stream
from plugspace_queue.broker.connection import client
from plugspace_queue.domain.enums import EventName
from plugspace_queue.errors import Unavailable
from plugspace_queue.events.publish import Payload, log_extra

logger = logging.getLogger("plugspace_queue.events")

CURSOR = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")

Listener = Callable[[Payload], object]


class Reader(threading.Thread):
    """Reads the stream from a cursor on and calls listeners by event name."""

    BLOCK_MS = 1000

    def __init__(self, cursor: str | None = None) -> None:
        super().__init__(name="plugspace-events", daemon=True)
        self.errors = 0
        self.is_shared = cursor is None
        self._cursor = cursor
        self._listeners: list[tuple[str, Listener]] = []
        self._stopping = threading.Event()
        self._ready = threading.Event()

    def add(self, name: str, listener: Listener) -> None:
        self._listeners.append((name, listener))

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._read_or_wait()
        finally:
            connections.close_all()

    def wait_until_ready(self, timeout: float = 5.0) -> bool:
        """Whether the place to read from is fixed: later events will not be missed."""
        return self._ready.wait(timeout)

    def stop(self) -> None:
        self._stopping.set()

    def _read_or_wait(self) -> None:
        try:
            self._read_once()
        except Exception as error:
            # If this thread ended, its listeners would silently get no more events.
            if not isinstance(error, Unavailable):
                logger.exception("events could not be read; it is tried again")
            self._ready.set()
            self._stopping.wait(1.0)

    def _read_once(self) -> None:
        source = client(purpose="block")
        if self._cursor is None:
            self._cursor = stream.last_cursor(source)
        self._ready.set()
        for cursor, body in stream.read(source, self._cursor, self.BLOCK_MS, 100):
            if body:
                self._deliver({**body, "id": cursor})
            self._cursor = cursor

    def _deliver(self, body: Payload) -> None:
        # A listener's connection may have been cut since the last event.
        close_old_connections()
        for name, listener in list(self._listeners):
            if name in (body.get("name"), "*"):
                self._call(listener, body)

    def _call(self, listener: Listener, body: Payload) -> None:
        try:
            listener(body)
        except Exception:
            self.errors += 1
            metrics.count(metrics.LISTENER_ERRORS)
            logger.exception("listener %r failed", listener, extra=log_extra(body))


_readers: list[Reader] = []
_lock = threading.Lock()


def on(name: EventName | str, listener: Listener, *, since: str | None = None) -> Reader:
    """Call `listener(payload)` for each event of this name ("*": all), in a thread of this process.

    From now on, or after the cursor `since` (an event's `id`). Raises ValueError for a name
    no event has and for what is no cursor. Returns the reader; `close()` stops them all.
    """
    wanted = name if name == "*" else EventName(name).value
    if since is not None and not CURSOR.fullmatch(since):
        raise ValueError(_("%(since)r is not the cursor of an event.") % {"since": since})
    with _lock:
        reader = _shared_reader() if since is None else None
        if reader is None:
            reader = Reader(since)
            _readers.append(reader)
        reader.add(wanted, listener)
        if not reader.is_alive():
            reader.start()
    reader.wait_until_ready()
    return reader


def _shared_reader() -> Reader | None:
    return next((r for r in _readers if r.is_shared and r.is_alive()), None)


def close() -> None:
    """Stop all listeners of this process and wait for them."""
    with _lock:
        readers, _readers[:] = list(_readers), []
    for reader in readers:
        reader.stop()
    for reader in readers:
        if reader.is_alive():
            reader.join(timeout=Reader.BLOCK_MS / 1000 + 2)
