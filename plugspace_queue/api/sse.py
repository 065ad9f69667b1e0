"""Server-sent events of one topic: first the stored events after the cursor, then the live ones.

The two may overlap. Each event is sent once, because only events after the last one are sent.
https://html.spec.whatwg.org/multipage/server-sent-events.html
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
from plugspace_queue.api.stream_limits import StreamClaim
from plugspace_queue.domain.lifecycle import FINAL
from plugspace_queue.errors import Unavailable
from plugspace_queue.events import fanout
from plugspace_queue.events.fanout import FORBIDDEN, ClientBuffer
from plugspace_queue.events.frames import EventBatch, StreamEntry, Topic, batches, position_of

logger = logging.getLogger("plugspace_queue.api")

HEARTBEAT = 15.0
"""Seconds without events after which a comment is sent to keep the connection open."""

LIFETIME = 600.0
"""Seconds, about, after which a client must connect again with valid credentials."""

DRAIN = 0.5
"""Seconds to wait for more events after a final one: a cancel sends two."""

RETRY_FRAME = b"retry: 2000\n\n"
HEARTBEAT_FRAME = b": heartbeat\n\n"


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """What a client listens to, from which event on, and whether the topic has ended."""

    topic: Topic
    start: str
    now: str
    is_staff: bool
    is_over: bool = False
    check_over: Callable[[], bool] | None = None
    """Whether everything of the topic has ended, by the rows; None: the topic never ends."""

    claim: StreamClaim | None = None
    """The place that this stream occupies; None: it is not counted, and its grant not checked."""

    id: str = field(default_factory=lambda: secrets.token_hex(6))
    """Identifies a failed stream in the log and for the client."""


def end_frame(reason: str, **more: str) -> bytes:
    """The last event of a stream; without an `id`, so that a client resumes where it was."""
    return f"event: end\ndata: {json.dumps({'reason': reason, **more})}\n\n".encode()


async def frames(subscription: Subscription) -> AsyncIterator[bytes]:
    """The body of the response; an error ends it with an event and is never raised.

    On a TypeError Django would iterate the body in another way, and on any other error the server
    would cut the connection, which clients cannot tell from a bad network.
    """
    topic, claim = subscription.topic, subscription.claim
    with ExitStack() as held:
        if claim is not None:
            held.callback(claim.release)
        try:
            hub = fanout.hub()
            buffer = hub.subscribe(topic, subscription.now)
            held.callback(hub.unsubscribe, topic, buffer)
            if claim is not None:
                held.callback(_watch_grant(buffer, claim))
            yield RETRY_FRAME
            async for part in _StreamWriter(subscription, buffer, hub).parts():
                yield part
        except Unavailable:
            yield end_frame("unavailable")
        except Exception:
            logger.exception(
                "event stream %s of %s %s met an unexpected error and ends",
                *(subscription.id, topic.field, topic.id),
            )
            yield end_frame("error", stream=subscription.id)


def _watch_grant(buffer: ClientBuffer, claim: StreamClaim) -> Callable[[], None]:
    """Close the buffer when the grant of its holder ends; returns the function that stops this."""
    loop = asyncio.get_running_loop()
    return grants.watch(claim.holder, lambda: loop.call_soon_threadsafe(buffer.close, FORBIDDEN))


class _StreamWriter:
    """Yields the stored and then the live events of one client."""

    def __init__(
        self, subscription: Subscription, buffer: ClientBuffer, hub: fanout.EventHub
    ) -> None:
        self._subscription = subscription
        self._buffer = buffer
        self._hub = hub
        self._position = position_of(subscription.start)
        self._is_over = subscription.is_over
        self._ends_at = asyncio.get_running_loop().time() + LIFETIME * random.uniform(0.9, 1.1)

    async def parts(self) -> AsyncIterator[bytes]:
        async for batch in self._stored():
            yield self._render(batch)
        async for part in self._live():
            yield part

    async def _stored(self) -> AsyncIterator[EventBatch]:
        """Events between the client's cursor and the start of its buffer."""
        topic, cursor, until = (
            self._subscription.topic,
            self._subscription.start,
            self._buffer.start,
        )
        newest = None
        while position_of(cursor) < position_of(until) and not self._buffer.closed_because:
            page = partial(fanout.read_page, topic, cursor, until)
            found, last = await fanout.in_thread(page)
            if last == cursor:
                break
            cursor = last
            for entries in batches(found):
                newest = entries[-1]
                yield EventBatch(entries)
        if newest and _is_final(newest) and not self._is_over:
            self._is_over = await self._check_over()

    async def _live(self) -> AsyncIterator[bytes]:
        now = asyncio.get_running_loop().time
        while now() < self._ends_at:
            batch = await self._buffer.take(DRAIN if self._is_over else HEARTBEAT)
            if self._buffer.closed_because:
                yield end_frame(self._buffer.closed_because)
                return
            if batch is not None and batch.last.position > self._position:
                yield self._render(batch)
                self._is_over = _is_final(batch.last) and await self._check_over()
            elif batch is None and self._is_over:
                yield end_frame("final")
                return
            elif batch is None:
                yield HEARTBEAT_FRAME
        yield end_frame("lifetime")

    def _render(self, batch: EventBatch) -> bytes:
        """The events that the client has not got yet."""
        text = batch.frames_after(self._position, is_staff=self._subscription.is_staff)
        self._position = batch.last.position
        return text

    async def _check_over(self) -> bool:
        check = self._subscription.check_over
        if check is None:
            return False
        return await self._hub.check(self._subscription.topic, self._position, check)


def _is_final(entry: StreamEntry) -> bool:
    return entry.body.get("state") in FINAL
