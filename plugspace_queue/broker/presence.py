"""Presence of workers: each reports to its queues that it is alive and how many slots it has.

RQ's registry keeps dead workers for minutes and has neither slots nor processors.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

from redis import Redis

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import Client, client, guarded
from plugspace_queue.broker.scripts import Call, on_queue
from plugspace_queue.domain.catalog import queue_names
from plugspace_queue.domain.text import clean, shortened
from plugspace_queue.errors import Unavailable

LEAVING = -1


def heartbeat(queue: str, *, worker: str, slots: int) -> Call[None]:
    """Report that the worker is alive; 0 slots mean that it has no processor for this queue."""
    return on_queue("heartbeat", queue, [worker, slots], lambda reply: None)


def leave(queue: str, *, worker: str) -> Call[None]:
    """Report that the worker ends."""
    return on_queue("heartbeat", queue, [worker, LEAVING], lambda reply: None)


TROUBLE_TTL = 15
"""Seconds until a trouble expires after it was last reported."""


def tell_trouble(queue: str, reason: str) -> Call[None]:
    """Report why workers cannot work on this queue."""
    text = shortened(clean(reason), 500)
    return Call("snapshot", (keys.trouble(queue),), (text, TROUBLE_TTL), lambda reply: None)


@guarded
def _troubles(connection: Redis, queues: Sequence[str]) -> dict[str, str]:
    found: Any = connection.mget([keys.trouble(name) for name in queues])
    pairs = zip(queues, found, strict=True)
    return {name: text.decode(errors="replace") for name, text in pairs if text is not None}


def troubles() -> dict[str, str]:
    """Queues that workers cannot work on, and why; unavailable servers are left out."""
    servers: dict[Client, list[str]] = {}
    for name in queue_names():
        servers.setdefault(client(name), []).append(name)
    found: dict[str, str] = {}
    for server, queues in servers.items():
        with contextlib.suppress(Unavailable):
            found |= _troubles(server, queues)
    return found
