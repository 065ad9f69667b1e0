"""What Redis still holds when everything has ended, and what it tells that is not so."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from redis import Redis

from plugspace_queue import keys
from plugspace_queue.engine.connection import client
from plugspace_queue.models import Task
from plugspace_queue.rules.catalog import QUEUE_NAMES

LOOKED_AT = 500


def in_redis() -> dict[str, Any]:
    """Places of waiting and running tasks that are not empty: key to size."""
    connection = client()
    return {key: size for name in QUEUE_NAMES for key, size in _places(connection, name) if size}


def _places(connection: Redis, name: str) -> Iterator[tuple[str, Any]]:
    for key in (keys.wait(name), keys.active(name)):
        yield key, connection.llen(key)
    for key in (keys.own(name), keys.idx(name)):
        yield key, connection.hlen(key)
    for key in (keys.queue(name), keys.lease(name), keys.parked(name), f"rq:scheduled:{name}"):
        yield key, connection.zcard(key)
    yield f"rq:wip:{name}", connection.zcard(f"rq:wip:{name}")
    yield keys.running(name), sum(int(n) for n in connection.hvals(keys.running(name)))


def stale_snapshots(tasks: Mapping[str, Task]) -> dict[str, str]:
    """Tasks whose snapshot names another state than their row."""
    ids = list(tasks)
    found: dict[str, str] = {}
    for start in range(0, len(ids), LOOKED_AT):
        found |= _stale(ids[start : start + LOOKED_AT], tasks)
    return found


def _stale(ids: Sequence[str], tasks: Mapping[str, Task]) -> dict[str, str]:
    texts = client().mget([keys.task(task_id) for task_id in ids])
    told = {i: json.loads(text)["state"] for i, text in zip(ids, texts, strict=True) if text}
    return {task_id: state for task_id, state in told.items() if state != tasks[task_id].state}
