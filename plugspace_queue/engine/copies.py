"""Reads copies of rows in Redis to compare them, and writes those that no script writes alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis

from plugspace_queue import keys
from plugspace_queue.conf import get_settings
from plugspace_queue.engine.connection import guarded

GATES = ("paused", "concurrency", "limiter", "limiter_ms", "org_cap", "weighted", "version")
"""Fields of a queue's settings, in the order of the configure script."""


@guarded
def texts(connection: Redis, names: Sequence[str]) -> list[str | None]:
    """The strings under these keys, whatever they hold. Raises Unavailable."""
    found: Any = connection.mget(names) if names else []
    return [None if value is None else value.decode(errors="replace") for value in found]


@guarded
def missing(connection: Redis, names: Sequence[str]) -> list[str]:
    """Those of these keys that do not exist. Raises Unavailable."""
    with connection.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.exists(name)
        return [name for name, there in zip(names, pipe.execute(), strict=True) if not there]


@guarded
def forget(connection: Redis, names: Sequence[str]) -> None:
    """Delete copies that are about to be written again. Raises Unavailable."""
    if names:
        connection.delete(*names)


@guarded
def gates(connection: Redis, queue: str) -> tuple[str, ...]:
    """What the queue goes by, in the order of GATES; empty where nothing is. Raises Unavailable."""
    found: Any = connection.hmget(keys.meta(queue), GATES)
    return tuple("" if value is None else value.decode() for value in found)


@guarded
def lifetime(connection: Redis, queue: str) -> tuple[int, int, int]:
    """What ended there complete and failed, and how many run now. Raises Unavailable."""
    with connection.pipeline(transaction=True) as pipe:
        pipe.hmget(keys.meta(queue), ("completed", "failed"))
        pipe.hlen(keys.own(queue))
        (completed, failed), running = pipe.execute()
    return int(completed or 0), int(failed or 0), running


@guarded
def add_lifetime(connection: Redis, queue: str, completed: int, failed: int) -> None:
    """Count what was not counted there. Raises Unavailable."""
    with connection.pipeline(transaction=True) as pipe:
        pipe.hincrby(keys.meta(queue), "completed", completed)
        pipe.hincrby(keys.meta(queue), "failed", failed)
        pipe.execute()


@guarded
def write_newest(connection: Redis, organization_id: str, created_ms: Mapping[str, int]) -> None:
    """The newest tasks of an organization: id → when it was made. Raises Unavailable."""
    name = keys.organization_tasks(organization_id)
    with connection.pipeline(transaction=True) as pipe:
        pipe.zadd(name, dict(created_ms))
        pipe.zremrangebyrank(name, 0, -get_settings().org_tasks_maxlen - 1)
        pipe.execute()
