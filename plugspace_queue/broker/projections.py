"""Reads copies of rows in Redis to compare them, and writes those that no script writes alone."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import guarded
from plugspace_queue.conf import get_settings

LINES = {
    keys.queue: "zset",
    keys.wait: "list",
    keys.active: "list",
    keys.idx: "hash",
    keys.own: "hash",
    keys.lease: "zset",
    keys.meta: "hash",
    keys.marker: "zset",
    keys.limiter: "list",
    keys.running: "hash",
    keys.parked: "zset",
    keys.virtual_time: "hash",
    keys.workers: "zset",
    keys.slots: "hash",
}
"""The keys of a queue that scripts work on, and their types."""

RQ_LINES = {
    "queue": "list",
    "scheduled": "zset",
    "wip": "zset",
    "finished": "zset",
    "failed": "zset",
    "canceled": "zset",
}
"""The same of those that are RQ's."""

SHARED = {keys.paused_organizations: "set", keys.events: "stream"}
"""The same of those that all queues of a server have in common."""

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
def strange_keys(connection: Redis, queue: str) -> list[tuple[str, str, str]]:
    """Keys of the queue that are of a wrong type: name, type, the right one. Raises Unavailable."""
    wanted = {key(queue): kind for key, kind in LINES.items()}
    wanted |= {keys.finished_tags(queue, band): "zset" for band in range(4)}
    wanted |= {f"{RQ_KEY_PREFIX}:{word}:{queue}": kind for word, kind in RQ_LINES.items()}
    wanted |= {key(): kind for key, kind in SHARED.items()}
    with connection.pipeline(transaction=False) as pipe:
        for name in wanted:
            pipe.type(name)
        found = [kind.decode() for kind in pipe.execute()]
    pairs = zip(wanted.items(), found, strict=True)
    return [(name, has, kind) for (name, kind), has in pairs if has not in ("none", kind)]


@guarded
def last_fence(connection: Redis, queue: str) -> str:
    """The fence that was granted last, as it stands there; 0 before the first."""
    found: Any = connection.hget(keys.meta(queue), "fence")
    return "0" if found is None else found.decode(errors="replace")


@guarded
def forget_fields(connection: Redis, queue: str, *names: str) -> None:
    """Delete fields of a queue's settings that are about to be written again."""
    connection.hdel(keys.meta(queue), *names)


@guarded
def gates(connection: Redis, queue: str) -> tuple[str, ...]:
    """What the queue goes by, in the order of GATES; empty where nothing is. Raises Unavailable."""
    found: Any = connection.hmget(keys.meta(queue), GATES)
    return tuple("" if value is None else value.decode(errors="replace") for value in found)


@guarded
def lifetime(connection: Redis, queue: str) -> tuple[int, int, int]:
    """What ended there complete and failed, and how many run now. Raises Unavailable."""
    with connection.pipeline(transaction=True) as pipe:
        pipe.hmget(keys.meta(queue), ("completed", "failed"))
        pipe.hlen(keys.own(queue))
        (completed, failed), running = pipe.execute()
    return _number(completed), _number(failed), running


def _number(value: bytes | None) -> int:
    """A count; what is no number counts as none."""
    text = (value or b"").decode(errors="replace")
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else 0


@guarded
def add_lifetime(connection: Redis, queue: str, completed: int, failed: int) -> None:
    """Count what was not counted there. Raises Unavailable."""
    names = ("completed", "failed")
    found: Any = connection.hmget(keys.meta(queue), names)
    with connection.pipeline(transaction=True) as pipe:
        for name, value in zip(names, found, strict=True):
            if value is not None and str(_number(value)).encode() != value:
                pipe.hdel(keys.meta(queue), name)
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
