"""Events for many clients of one process: one reader of the stream, fanned out to all of them.

Everything but the reading happens in the event loop, so the fan-out needs no lock. A client has a
bounded line of what it has not taken yet; who lets it run full is dropped and may resume.

The loop serves all other requests too. So events go out in portions, what is sent of a portion is
made once for all clients, and one turn of the loop hands it to a few of them only.
"""

import asyncio
import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakKeyDictionary

from plugspace_queue.broker import stream
from plugspace_queue.broker.connection import client
from plugspace_queue.errors import Unavailable
from plugspace_queue.events.frames import SUBJECT_FIELDS, Entry, Place, Portion, Subject, portions

logger = logging.getLogger("plugspace_queue.feeds")

MOST_WAITING = 256
"""Events a client may leave untaken."""

MOST_BYTES = 1024 * 1024
"""Bytes of events a client may leave untaken; one larger event still fits."""

SLOW, FORBIDDEN = "slow", "forbidden"
"""Why a line ends before its subject does."""

GRACE = {SLOW: 30.0, FORBIDDEN: 1.0}
"""Seconds a client whose line has ended has to read why, before its request is cut."""

PAGE = 200

AT_ONCE = 8
"""Clients that get a portion in one turn of the loop."""

R = TypeVar("R")

# Of our own, and few: clients that resume by the hundred read what is kept in turn, and leave the
# loop's default threads to the project.
_threads = ThreadPoolExecutor(4, thread_name_prefix="plugspace-kept")


class Line:
    """What one client has not taken yet."""

    def __init__(self, start: str, cut: Callable[[], object]) -> None:
        self.start = start
        self.ended = ""
        """Why nothing more comes: SLOW or FORBIDDEN."""
        self.is_closed = False
        self._cut = cut
        self._waiting: deque[Portion] = deque()
        self._count = 0
        self._bytes = 0
        self._filled = asyncio.Event()

    def push(self, portion: Portion) -> None:
        """Put events into the line, or drop the client that lets it run full."""
        if self.ended:
            return
        count, size = self._count + len(portion.entries), self._bytes + portion.size
        is_full = count > MOST_WAITING or size > MOST_BYTES
        if is_full and count > 1:
            self.end(SLOW)
            return
        self._waiting.append(portion)
        self._count, self._bytes = count, size
        self._filled.set()

    async def take(self, timeout: float) -> Portion | None:
        """The next events; None when none came in time, or the line has ended."""
        if not self._waiting and not self.ended:
            self._filled.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._filled.wait()
            except TimeoutError:
                return None
        if not self._waiting:
            return None
        portion = self._waiting.popleft()
        self._count -= len(portion.entries)
        self._bytes -= portion.size
        return portion

    def end(self, reason: str) -> None:
        """Hand out nothing more; a client that does not read why is cut."""
        if self.ended or self.is_closed:
            return
        self.ended = reason
        self._waiting.clear()
        self._filled.set()
        asyncio.get_running_loop().call_later(GRACE[reason], self._cut_if_stuck)

    def _cut_if_stuck(self) -> None:
        if not self.is_closed:
            self._cut()


class Reader(threading.Thread):
    """Follows the stream while anybody listens; hands on a portion when the last one is taken."""

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
        found = stream.follow(client(purpose="block"), self._cursor, self.BLOCK_MS, PAGE)
        for entries in portions([Entry(cursor, text) for cursor, text in found]):
            if self._stopping.is_set():
                return
            self.taken.clear()
            self._deliver(self, entries)
            self._cursor = entries[-1].cursor
            self.taken.wait()


class Hub:
    """The clients of one event loop and the one reader for all of them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: dict[Subject, set[Line]] = defaultdict(set)
        self._looks: dict[Subject, tuple[Place, asyncio.Future[bool]]] = {}
        self._reader: Reader | None = None
        self._position = stream.START

    def subscribe(self, subject: Subject, now: str) -> Line:
        """A line that gets every event after its `start`; `now` is the stream's end as known."""
        if self._reader is None:
            reader = Reader(now, self._from_reader)
            # A process that has no thread left raises here; the next client tries again.
            reader.start()
            self._position, self._reader = now, reader
        task = asyncio.current_task()
        line = Line(self._position, task.cancel if task else lambda: None)
        self._lines[subject].add(line)
        return line

    def unsubscribe(self, subject: Subject, line: Line) -> None:
        """The client is gone; the last one stops the reader."""
        line.is_closed = True
        lines = self._lines[subject]
        lines.discard(line)
        if not lines:
            del self._lines[subject]
            self._looks.pop(subject, None)
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
        """Note who gets what; who comes later starts behind these events."""
        if reader is not self._reader:
            reader.taken.set()
            return
        found: dict[Subject, list[Entry]] = defaultdict(list)
        for entry in entries:
            for field in SUBJECT_FIELDS:
                subject = Subject(field, entry.body.get(field) or "")
                if subject in self._lines:
                    found[subject].append(entry)
        self._position = entries[-1].cursor
        told = {subject: Portion(some) for subject, some in found.items()}
        self._hand_out(reader, deque((line, told[s]) for s in told for line in self._lines[s]))

    def _hand_out(self, reader: Reader, waiting: deque[tuple[Line, Portion]]) -> None:
        """Give a few clients their portion, and the loop's other work its turn before the next.

        The reader goes on when all have been woken and could take: a client is slow when it does
        not read, not when there are many.
        """
        for _ in range(min(AT_ONCE, len(waiting))):
            line, portion = waiting.popleft()
            line.push(portion)
        if waiting:
            self._loop.call_soon(self._hand_out, reader, waiting)
        else:
            self._loop.call_soon(reader.taken.set)

    async def look(self, subject: Subject, place: Place, look: Callable[[], bool]) -> bool:
        """What `look` says of a subject after the event at `place`; asked once for all clients."""
        known = self._looks.get(subject)
        if known is None or known[0] < place or _has_failed(known[1]):
            known = place, self._loop.run_in_executor(_threads, look)
            self._looks[subject] = known
        # A client that goes away must not take the answer from the others.
        return await asyncio.shield(known[1])


def _has_failed(future: "asyncio.Future[bool]") -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of the running loop."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]


async def aside(function: Callable[[], R]) -> R:
    """Call what waits for a server in one of the few threads for that."""
    return await asyncio.get_running_loop().run_in_executor(_threads, function)


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
    found = [Entry(cursor, text) for cursor, text in near]
    return [e for e in found if e.is_of(subject)], page[-1][0] if page else after
