"""Counters shared by all processes in one hash in Redis, and the number of live workers."""

from collections.abc import Mapping
from typing import Any

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import guarded

WORKERS = f"{RQ_KEY_PREFIX}:workers"


@guarded
def add(connection: Redis, counts: Mapping[str, int]) -> None:
    """Add to the counters, all in one round trip. Raises Unavailable."""
    with connection.pipeline(transaction=False) as pipe:
        for field, count in counts.items():
            pipe.hincrby(keys.metrics(), field, count)
        pipe.execute()


@guarded
def read(connection: Redis) -> dict[str, int]:
    """All counters. Raises Unavailable."""
    found: Any = connection.hgetall(keys.metrics())
    return {field.decode(): int(count) for field, count in found.items()}


@guarded
def workers_alive(connection: Redis) -> int:
    """Number of registered workers whose heartbeat has not expired. Raises Unavailable."""
    names: Any = connection.smembers(WORKERS)
    return int(connection.exists(*names)) if names else 0
