"""Sends events to the many clients of one process: one reader of the Redis stream serves all.

All but the reading happens in the event loop, so the fan-out needs no lock. Each client has a
bounded buffer; a client whose buffer is full is dropped and may resume.

The loop serves all other requests too. So events are sent in batches, each batch is rendered once
for all clients, and one iteration of the loop hands it to a few clients only.
"""

import asyncio
import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from typing import TypeVar
from weakref import WeakKeyDictionary

from plugspace_queue.broker import stream
from plugspace_queue.broker.connection import client
from plugspace_queue.errors import Unavailable
from plugspace_queue.events.frames import (
    TOPIC_FIELDS,
    EventBatch,
    Position,
    StreamEntry,
    Topic,
    batches,
)

logger = logging.getLogger("plugspace_queue.feeds")

BUFFER_EVENTS = 256
"""Events that a client's buffer holds."""

BUFFER_BYTES = 1024 * 1024
"""Bytes of events that a client's buffer holds; one larger event still fits."""

SLOW, FORBIDDEN = "slow", "forbidden"
"""Why a buffer is closed before its topic has ended."""

GRACE = {SLOW: 30.0, FORBIDDEN: 1.0}
"""Seconds that a client has to read the reason before its request is cancelled."""

PAGE = 200
"""Entries of the Redis stream that one command reads."""

CLIENTS_AT_ONCE = 8
"""Clients that get a batch in one iteration of the loop."""

R = TypeVar("R")

# A small pool of our own: when hundreds of clients resume, their reads wait for each other here
# and the loop's default threads stay free for the project.
_threads = ThreadPoolExecutor(4, thread_name_prefix="plugspace-kept")


class ClientBuffer:
    """The events that one client has not taken yet."""

    def __init__(self, start: str, cancel: Callable[[], object]) -> None:
        self.start = start
        self.closed_because = ""
        """SLOW or FORBIDDEN when no more events come."""
        self.is_gone = False
        self._cancel = cancel
        self._batches: deque[EventBatch] = deque()
        self._count = 0
        self._bytes = 0
        self._filled = asyncio.Event()

    def push(self, batch: EventBatch) -> None:
        """Add events, or drop the client when its buffer is full."""
        if self.closed_because:
            return
        count, size = self._count + len(batch.entries), self._bytes + batch.size
        is_full = count > BUFFER_EVENTS or size > BUFFER_BYTES
        if is_full and count > 1:
            self.close(SLOW)
            return
        self._batches.append(batch)
        self._count, self._bytes = count, size
        self._filled.set()

    async def take(self, timeout: float) -> EventBatch | None:
        """The next events; None when none came in time, or the buffer is closed."""
        if not self._batches and not self.closed_because:
            self._filled.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._filled.wait()
            except TimeoutError:
                return None
        if not self._batches:
            return None
        batch = self._batches.popleft()
        self._count -= len(batch.entries)
        self._bytes -= batch.size
        return batch

    def close(self, reason: str) -> None:
        """Return no more events; a client that does not read the reason in time is cancelled."""
        if self.closed_because or self.is_gone:
            return
        self.closed_because = reason
        self._batches.clear()
        self._filled.set()
        asyncio.get_running_loop().call_later(GRACE[reason], self._cancel_if_stuck)

    def _cancel_if_stuck(self) -> None:
        if not self.is_gone:
            self._cancel()


class StreamFollower(threading.Thread):
    """Reads the Redis stream while there are clients; waits until each batch is handed out."""

    BLOCK_MS = 1000

    def __init__(
        self, cursor: str, deliver: Callable[["StreamFollower", Sequence[StreamEntry]], None]
    ) -> None:
        super().__init__(name="plugspace-feeds", daemon=True)
        self.delivered = threading.Event()
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
                logger.exception("cannot read the stream; trying again")
                self._stopping.wait(1.0)

    def stop(self) -> None:
        """End after the current read."""
        self._stopping.set()
        self.delivered.set()

    def _read(self) -> None:
        found = stream.follow(client(purpose="block"), self._cursor, self.BLOCK_MS, PAGE)
        for entries in batches([StreamEntry(cursor, text) for cursor, text in found]):
            if self._stopping.is_set():
                return
            self.delivered.clear()
            self._deliver(self, entries)
            self._cursor = entries[-1].cursor
            self.delivered.wait()


class EventHub:
    """The clients of one event loop and the one reader for all of them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffers: dict[Topic, set[ClientBuffer]] = defaultdict(set)
        self._checks: dict[Topic, tuple[Position, asyncio.Future[bool]]] = {}
        self._reader: StreamFollower | None = None
        self._cursor = stream.START

    def subscribe(self, topic: Topic, now: str) -> ClientBuffer:
        """A buffer that gets every event after its `start`; `now` is the stream's last cursor."""
        if self._reader is None:
            reader = StreamFollower(now, self._from_reader)
            # Raises when the process can start no thread; the next client tries again.
            reader.start()
            self._cursor, self._reader = now, reader
        task = asyncio.current_task()
        buffer = ClientBuffer(self._cursor, task.cancel if task else lambda: None)
        self._buffers[topic].add(buffer)
        return buffer

    def unsubscribe(self, topic: Topic, buffer: ClientBuffer) -> None:
        """Remove a client; the last one stops the reader."""
        buffer.is_gone = True
        buffers = self._buffers[topic]
        buffers.discard(buffer)
        if not buffers:
            del self._buffers[topic]
            self._checks.pop(topic, None)
        if not self._buffers and self._reader is not None:
            self._reader.stop()
            self._reader = None

    def _from_reader(self, reader: StreamFollower, entries: Sequence[StreamEntry]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._fan_out, reader, entries)
        except RuntimeError:
            # The loop is closed, so there are no clients.
            reader.stop()

    def _fan_out(self, reader: StreamFollower, entries: Sequence[StreamEntry]) -> None:
        """Select the clients of each event; later subscribers start after these events."""
        if reader is not self._reader:
            reader.delivered.set()
            return
        selected: dict[Topic, list[StreamEntry]] = defaultdict(list)
        for entry in filter(attrgetter("is_public"), entries):
            for field in TOPIC_FIELDS:
                topic = Topic(field, entry.body.get(field) or "")
                if topic in self._buffers:
                    selected[topic].append(entry)
        self._cursor = entries[-1].cursor
        by_topic = {topic: EventBatch(some) for topic, some in selected.items()}
        self._hand_out(
            reader, deque((buffer, by_topic[t]) for t in by_topic for buffer in self._buffers[t])
        )

    def _hand_out(
        self, reader: StreamFollower, waiting: deque[tuple[ClientBuffer, EventBatch]]
    ) -> None:
        """Give a few clients their batch, then let the loop do other work before the next ones.

        The reader continues when all clients could run: a client is slow when it does not read,
        not because there are many clients.
        """
        for _ in range(min(CLIENTS_AT_ONCE, len(waiting))):
            buffer, batch = waiting.popleft()
            buffer.push(batch)
        if waiting:
            self._loop.call_soon(self._hand_out, reader, waiting)
        else:
            self._loop.call_soon(reader.delivered.set)

    async def check(self, topic: Topic, position: Position, check: Callable[[], bool]) -> bool:
        """The result of `check` after the event at `position`; called once for all clients."""
        known = self._checks.get(topic)
        if known is None or known[0] < position or _has_failed(known[1]):
            known = position, self._loop.run_in_executor(_threads, check)
            self._checks[topic] = known
        # A client that disconnects must not cancel the check for the others.
        return await asyncio.shield(known[1])


def _has_failed(future: "asyncio.Future[bool]") -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, EventHub] = WeakKeyDictionary()


def hub() -> EventHub:
    """The hub of the running loop."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = EventHub()
    return _hubs[loop]


async def in_thread(function: Callable[[], R]) -> R:
    """Call a function that waits for a server in the small pool for that."""
    return await asyncio.get_running_loop().run_in_executor(_threads, function)


def last_cursor() -> str:
    """The cursor after which only new events come. Raises Unavailable."""
    return stream.last_cursor(client())


def read_page(topic: Topic, after: str, until: str = "+") -> tuple[list[StreamEntry], str]:
    """The topic's events in one page of the stored stream, and the page's last cursor.

    The cursor is `after` when nothing is left. Raises Unavailable.
    """
    page = stream.scan(client(), after, until, PAGE)
    # Most events belong to others: the bytes are searched before anything is parsed.
    likely = ((cursor, text) for cursor, text in page if topic.id.encode() in text)
    entries = [StreamEntry(cursor, text) for cursor, text in likely]
    found = [entry for entry in entries if entry.belongs_to(topic)]
    return found, page[-1][0] if page else after
