"""Events for many clients of one process: one reader of the stream, fanned out to all of them.

Everything but the reading happens in the event loop, so the fan-out needs no lock. A client has a
bounded line of what it has not taken yet; who lets it run full is dropped and may resume.
"""

import asyncio
import json
import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from plugspace_queue.engine import events as stream
from plugspace_queue.engine.connection import client
from plugspace_queue.errors import Unavailable

logger = logging.getLogger("plugspace_queue.feeds")

MOST_WAITING = 256
"""Events a client may leave untaken."""

MOST_BYTES = 1024 * 1024
"""Bytes of events a client may leave untaken; one larger event still fits."""

GRACE = 30.0
"""Seconds a dropped client has to read why, before its request is cut."""

PAGE = 200


class Subject(NamedTuple):
    """Whose events: the field of an event that names it, and its value."""

    field: str
    id: str


SUBJECT_FIELDS = ("jobId", "workflowId", "organizationId")

Place = tuple[int, int]


def place_of(cursor: str) -> Place:
    """A cursor as something that can be compared.

    >>> place_of("17-2") < place_of("17-10") < place_of("18")
    True
    """
    milliseconds, _, number = cursor.partition("-")
    return int(milliseconds), int(number or 0)


class Entry:
    """One event of the stream; what is sent of it is made once for all clients."""

    def __init__(self, cursor: str, body: dict[str, Any]) -> None:
        self.cursor = cursor
        self.place = place_of(cursor)
        self.body = {**body, "id": cursor}

    @cached_property
    def told(self) -> dict[str, Any]:
        """The event for customers: stacks show our code and our paths."""
        error = self.body.get("error")
        if not isinstance(error, dict):
            return self.body
        return self.body | {"error": {k: v for k, v in error.items() if k != "stack"}}

    @cached_property
    def text(self) -> str:
        """The customers' event as JSON."""
        return json.dumps(self.told)

    @cached_property
    def staff_text(self) -> str:
        """The whole event as JSON."""
        return json.dumps(self.body)

    def is_of(self, subject: Subject) -> bool:
        """Whether the event is the subject's."""
        return bool(self.body.get(subject.field) == subject.id)


class Line:
    """What one client has not taken yet."""

    def __init__(self, start: str, cut: Callable[[], object]) -> None:
        self.start = start
        self.is_dropped = False
        self.is_closed = False
        self._cut = cut
        self._waiting: deque[Entry] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def push(self, entry: Entry) -> None:
        """Put an event into the line, or drop the client that lets it run full."""
        if self.is_dropped:
            return
        size = len(entry.text)
        is_full = len(self._waiting) >= MOST_WAITING or self._bytes + size > MOST_BYTES
        if is_full and self._waiting:
            self._drop()
            return
        self._waiting.append(entry)
        self._bytes += size
        self._filled.set()

    async def take(self, timeout: float) -> Entry | None:
        """The next event; None when none came in time, or the client is dropped."""
        if not self._waiting:
            self._filled.clear()
            if self.is_dropped:
                return None
            try:
                async with asyncio.timeout(timeout):
                    await self._filled.wait()
            except TimeoutError:
                return None
        if not self._waiting:
            return None
        entry = self._waiting.popleft()
        self._bytes -= len(entry.text)
        return entry

    def _drop(self) -> None:
        self.is_dropped = True
        self._waiting.clear()
        self._filled.set()
        asyncio.get_running_loop().call_later(GRACE, self._cut_if_stuck)

    def _cut_if_stuck(self) -> None:
        if not self.is_closed:
            self._cut()


class Reader(threading.Thread):
    """Follows the stream while anybody listens; hands on a batch when the last one is taken."""

    BLOCK_MS = 1000

    def __init__(self, cursor: str, deliver: Callable[["Reader", Sequence[Entry]], None]) -> None:
        super().__init__(name="plugspace-feeds", daemon=True)
        self.taken = threading.Event()
        self._cursor = cursor
        self._deliver = deliver
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read()
            except Unavailable:
                self._stopping.wait(1.0)
            except Exception:
                logger.exception("the stream could not be read; it is tried again")
                self._stopping.wait(1.0)

    def stop(self) -> None:
        """End after the running read."""
        self._stopping.set()
        self.taken.set()

    def _read(self) -> None:
        found = stream.read(client(purpose="block"), self._cursor, self.BLOCK_MS, PAGE)
        if not found or self._stopping.is_set():
            return
        self.taken.clear()
        self._deliver(self, [Entry(cursor, body) for cursor, body in found])
        self._cursor = found[-1][0]
        self.taken.wait()


class Hub:
    """The clients of one event loop and the one reader for all of them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: dict[Subject, set[Line]] = defaultdict(set)
        self._reader: Reader | None = None
        self._position = stream.START

    def subscribe(self, subject: Subject, now: str) -> Line:
        """A line that gets every event after its `start`; `now` is the stream's end as known."""
        if self._reader is None:
            self._position = now
            self._reader = Reader(now, self._from_reader)
            self._reader.start()
        task = asyncio.current_task()
        line = Line(self._position, task.cancel if task else lambda: None)
        self._lines[subject].add(line)
        _count(1)
        return line

    def unsubscribe(self, subject: Subject, line: Line) -> None:
        """The client is gone; the last one stops the reader."""
        line.is_closed = True
        lines = self._lines[subject]
        lines.discard(line)
        _count(-1)
        if not lines:
            del self._lines[subject]
        if not self._lines and self._reader is not None:
            self._reader.stop()
            self._reader = None

    def _from_reader(self, reader: Reader, entries: Sequence[Entry]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._fan_out, reader, entries)
        except RuntimeError:
            # The loop is closed: nobody listens any more.
            reader.stop()

    def _fan_out(self, reader: Reader, entries: Sequence[Entry]) -> None:
        try:
            if reader is self._reader:
                for entry in entries:
                    self._push(entry)
                self._position = entries[-1].cursor
        finally:
            reader.taken.set()

    def _push(self, entry: Entry) -> None:
        for field in SUBJECT_FIELDS:
            subject = Subject(field, entry.body.get(field) or "")
            for line in self._lines.get(subject, ()):
                line.push(entry)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()
_open = 0
_lock = threading.Lock()


def hub() -> Hub:
    """The hub of the running loop."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]


def opened() -> int:
    """Clients that listen in this process."""
    return _open


def _count(step: int) -> None:
    global _open
    with _lock:
        _open += step


def newest() -> str:
    """The cursor behind which only new events come. Raises Unavailable."""
    return stream.last_cursor(client())


def kept(subject: Subject, after: str, until: str = "+") -> tuple[list[Entry], str]:
    """A page of the stream: the subject's events in it, and the page's last cursor.

    The cursor is `after` when nothing is left. Raises Unavailable.
    """
    page = stream.scan(client(), after, until, PAGE)
    # Most are somebody else's: looked at as text before they are parsed.
    near = ((cursor, text) for cursor, text in page if subject.id.encode() in text)
    found = [Entry(cursor, stream.body_of(text)) for cursor, text in near]
    return [e for e in found if e.is_of(subject)], page[-1][0] if page else after
