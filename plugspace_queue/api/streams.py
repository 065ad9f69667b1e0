"""Server-sent events of one subject: first what is kept after the cursor, then what comes.

Every event goes out once, whatever the overlap of the two: only what lies behind the last one sent
is sent. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from plugspace_queue import feeds
from plugspace_queue.errors import Unavailable
from plugspace_queue.feeds import Entry, Line, Subject, place_of
from plugspace_queue.rules.lifecycle import FINAL

HEARTBEAT = 15.0
"""Seconds of silence before a comment shows that the stream lives."""

LIFETIME = 600.0
"""Seconds, about, after which a client must come again and show valid credentials."""

DRAIN = 0.5
"""Seconds of silence after a final event: a cancel is told by two."""

RETRY = b"retry: 2000\n\n"
BEAT = b": heartbeat\n\n"


@dataclass(frozen=True, kw_only=True)
class Feed:
    """What a client listens to, from where on, and what is known of its end."""

    subject: Subject
    start: str
    now: str
    is_staff: bool
    is_over: bool = False
    look: Callable[[], bool] | None = None
    """Whether all of the subject has ended by the rows; None: it never ends."""


def frame(entry: Entry, *, is_staff: bool) -> bytes:
    """One event on the wire; its `id` is the cursor to resume from."""
    text = entry.staff_text if is_staff else entry.text
    name = entry.body.get("name", "message")
    return f"id: {entry.cursor}\nevent: {name}\ndata: {text}\n\n".encode()


def end(reason: str) -> bytes:
    """The last words of a stream; without an `id`, so that a client resumes where it was."""
    return f"event: end\ndata: {json.dumps({'reason': reason})}\n\n".encode()


async def frames(feed: Feed) -> AsyncIterator[bytes]:
    """The body of the response."""
    hub = feeds.hub()
    line = hub.subscribe(feed.subject, feed.now)
    try:
        yield RETRY
        async for part in _Stream(feed, line).parts():
            yield part
    finally:
        hub.unsubscribe(feed.subject, line)


class _Stream:
    """One client's way through the kept and the live events."""

    def __init__(self, feed: Feed, line: Line) -> None:
        self._feed = feed
        self._line = line
        self._place = place_of(feed.start)
        self._is_over = feed.is_over
        self._ends_at = asyncio.get_running_loop().time() + LIFETIME * random.uniform(0.9, 1.1)

    async def parts(self) -> AsyncIterator[bytes]:
        try:
            async for entry in self._kept():
                yield frame(entry, is_staff=self._feed.is_staff)
        except Unavailable:
            yield end("unavailable")
            return
        async for part in self._live():
            yield part

    async def _kept(self) -> AsyncIterator[Entry]:
        """Events between the client's cursor and the start of its line."""
        cursor, until = self._feed.start, self._line.start
        has_final = False
        while place_of(cursor) < place_of(until):
            found, last = await asyncio.to_thread(feeds.kept, self._feed.subject, cursor, until)
            if last == cursor:
                break
            cursor = last
            for entry in found:
                self._place = entry.place
                has_final = _is_final(entry)
                yield entry
        if has_final and not self._is_over:
            self._is_over = await self._look()

    async def _live(self) -> AsyncIterator[bytes]:
        now = asyncio.get_running_loop().time
        while now() < self._ends_at:
            entry = await self._line.take(DRAIN if self._is_over else HEARTBEAT)
            if self._line.is_dropped:
                yield end("slow")
                return
            if entry is None and self._is_over:
                yield end("final")
                return
            if entry is None:
                yield BEAT
            elif entry.place > self._place:
                self._place = entry.place
                yield frame(entry, is_staff=self._feed.is_staff)
                self._is_over = _is_final(entry) and await self._look()
        yield end("lifetime")

    async def _look(self) -> bool:
        look = self._feed.look
        return look is not None and await asyncio.to_thread(look)


def _is_final(entry: Entry) -> bool:
    return entry.body.get("state") in FINAL
