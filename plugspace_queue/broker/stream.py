"""The Redis stream of task events, for listeners in any process."""

import json
from collections.abc import Sequence
from typing import Any

from redis import Redis

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import guarded
from plugspace_queue.conf import get_settings

FIELD = b"event"
START = "0-0"
WORDS = ("name", "jobId", "workflowId", "organizationId", "state")
"""Fields of an event that readers of the stream compare; they must be text or null."""


@guarded
def append(client: Redis, payloads: Sequence[str]) -> None:
    """Write events (JSON) in one round trip. Raises Unavailable."""
    maxlen = get_settings().events_maxlen
    with client.pipeline(transaction=False) as pipe:
        for payload in payloads:
            pipe.xadd(keys.events(), {FIELD: payload}, maxlen=maxlen, approximate=True)
        pipe.execute()


def read(client: Redis, cursor: str, block_ms: int, count: int) -> list[tuple[str, dict[str, Any]]]:
    """Events after the cursor, oldest first, each with its own cursor; blocks until one arrives.

    An entry that is not an event gives {}. Raises Unavailable.
    """
    return [(found, body_of(text)) for found, text in follow(client, cursor, block_ms, count)]


@guarded
def follow(client: Redis, cursor: str, block_ms: int, count: int) -> list[tuple[str, bytes]]:
    """As `read`, but the events as text. Raises Unavailable."""
    reply: Any = client.xread({keys.events(): cursor}, count=count, block=block_ms)
    entries = reply[0][1] if reply else []
    return [(entry_id.decode(), fields.get(FIELD, b"")) for entry_id, fields in entries]


@guarded
def scan(client: Redis, after: str, until: str, count: int) -> list[tuple[str, bytes]]:
    """Kept events after a cursor and up to another, oldest first, as text. Raises Unavailable."""
    entries: Any = client.xrange(keys.events(), min=f"({after}", max=until, count=count)
    return [(entry_id.decode(), fields.get(FIELD, b"")) for entry_id, fields in entries]


def body_of(text: bytes) -> dict[str, Any]:
    """The event in an entry's text; {} when it is not an event."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) and all(map(_is_word, map(body.get, WORDS))) else {}


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, str)


@guarded
def last_cursor(client: Redis) -> str:
    """The cursor after which only new events follow. Raises Unavailable."""
    newest: Any = client.xrevrange(keys.events(), count=1)
    return newest[0][0].decode() if newest else START
