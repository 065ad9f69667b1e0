"""Reads copies of rows that Redis holds: snapshots of tasks and of workflows."""

from collections.abc import Sequence
from typing import Any

from redis import Redis

from plugspace_queue.engine.connection import client, guarded


def texts(names: Sequence[str]) -> list[bytes]:
    """What is held by those of these keys that are there. Raises Unavailable."""
    return _texts(client(), names) if names else []


@guarded
def _texts(connection: Redis, names: Sequence[str]) -> list[bytes]:
    found: Any = connection.mget(names)
    return [text for text in found if text is not None]
