"""Server-sent events of one subject: first what is kept after the cursor, then what comes.

Every event goes out once, whatever the overlap of the two: only what lies behind the last one sent
is sent. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import json
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from plugspace_queue.api import grants
from plugspace_queue.api.caps import Claim
from plugspace_queue.domain.lifecycle import FINAL
from plugspace_queue.errors import Unavailable
from plugspace_queue.events import fanout
from plugspace_queue.events.fanout import FORBIDDEN, Line
from plugspace_queue.events.frames import Entry, Portion, Subject, place_of, portions

logger = logging.getLogger("plugspace_queue.api")

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

    claim: Claim | None = None
    """The place that this stream takes, and for whom; None: nobody counts it or looks after it."""

    id: str = field(default_factory=lambda: secrets.token_hex(6))
    """What log and client call this stream when it fails."""


def end(reason: str, **more: str) -> bytes:
    """The last words of a stream; without an `id`, so that a client resumes where it was."""
    return f"event: end\ndata: {json.dumps({'reason': reason, **more})}\n\n".encode()


async def frames(feed: Feed) -> AsyncIterator[bytes]:
    """The body of the response; an error ends it with an event and is never raised.

    Django would take a TypeError for a body that it has to iterate in another way, and the server
    would cut the connection for any other: clients could not tell that from a bad network.
    """
    with ExitStack() as held:
        if feed.claim is not None:
            held.callback(feed.claim.release)
        try:
            hub = fanout.hub()
            line = hub.subscribe(feed.subject, feed.now)
            held.callback(hub.unsubscribe, feed.subject, line)
            if feed.claim is not None:
                held.callback(_look_after(line, feed.claim))
            yield RETRY
            async for part in _Stream(feed, line, hub).parts():
                yield part
        except Unavailable:
            yield end("unavailable")
        except Exception:
            subject = feed.subject
            logger.exception(
                "event stream %s of %s %s met an unexpected error and ends",
                *(feed.id, subject.field, subject.id),
            )
            yield end("error", stream=feed.id)


def _look_after(line: Line, claim: Claim) -> Callable[[], None]:
    """End the line when its holder's grant ends; the answer stops that."""
    loop = asyncio.get_running_loop()
    return grants.watch(claim.holder, lambda: loop.call_soon_threadsafe(line.end, FORBIDDEN))


class _Stream:
    """One client's way through the kept and the live events."""

    def __init__(self, feed: Feed, line: Line, hub: fanout.Hub) -> None:
        self._feed = feed
        self._line = line
        self._hub = hub
        self._place = place_of(feed.start)
        self._is_over = feed.is_over
        self._ends_at = asyncio.get_running_loop().time() + LIFETIME * random.uniform(0.9, 1.1)

    async def parts(self) -> AsyncIterator[bytes]:
        async for portion in self._kept():
            yield self._text(portion)
        async for part in self._live():
            yield part

    async def _kept(self) -> AsyncIterator[Portion]:
        """Events between the client's cursor and the start of its line."""
        cursor, until = self._feed.start, self._line.start
        newest = None
        while place_of(cursor) < place_of(until) and not self._line.ended:
            found, last = await fanout.aside(
                partial(fanout.kept, self._feed.subject, cursor, until)
            )
            if last == cursor:
                break
            cursor = last
            for entries in portions(found):
                newest = entries[-1]
                yield Portion(entries)
        if newest and _is_final(newest) and not self._is_over:
            self._is_over = await self._look()

    async def _live(self) -> AsyncIterator[bytes]:
        now = asyncio.get_running_loop().time
        while now() < self._ends_at:
            portion = await self._line.take(DRAIN if self._is_over else HEARTBEAT)
            if self._line.ended:
                yield end(self._line.ended)
                return
            if portion is not None and portion.last.place > self._place:
                yield self._text(portion)
                self._is_over = _is_final(portion.last) and await self._look()
            elif portion is None and self._is_over:
                yield end("final")
                return
            elif portion is None:
                yield BEAT
        yield end("lifetime")

    def _text(self, portion: Portion) -> bytes:
        """What the client has not seen of it yet; it has seen all of it then."""
        text = portion.behind(self._place, is_staff=self._feed.is_staff)
        self._place = portion.last.place
        return text

    async def _look(self) -> bool:
        look = self._feed.look
        return look is not None and await self._hub.look(self._feed.subject, self._place, look)


def _is_final(entry: Entry) -> bool:
    return entry.body.get("state") in FINAL
