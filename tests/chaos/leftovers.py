"""What Redis still holds when everything has ended, and what it tells that is not so."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from redis import Redis

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import client
from plugspace_queue.conf import SEED_TYPES
from plugspace_queue.models import Task

LOOKED_AT = 500


def in_redis() -> dict[str, Any]:
    """Places of waiting and running tasks that are not empty: key to size."""
    connection = client()
    return {
        key: size
        for name in map(str.lower, SEED_TYPES)
        for key, size in _places(connection, name)
        if size
    }


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
    """Tasks whose snapshot, or their workflow's, names another state than their row."""
    told = dict(_told_of_tasks(list(tasks)))
    workflows = {str(task.workflow_id) for task in tasks.values() if task.workflow_id}
    told_too = dict(_told_of_steps(sorted(workflows)))
    found = {i: state for i, state in told.items() if state != tasks[i].state}
    return found | {
        i: f"{state} in its workflow's" for i, state in told_too.items() if state != tasks[i].state
    }


def _told_of_tasks(ids: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in _texts([keys.task(task_id) for task_id in ids]):
        told = json.loads(text)
        yield told["id"], told["state"]


def _told_of_steps(workflow_ids: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in _texts([keys.workflow(workflow_id) for workflow_id in workflow_ids]):
        for step in json.loads(text)["steps"]:
            yield step["id"], step["state"]


def _texts(names: Sequence[str]) -> Iterator[bytes]:
    """What these keys hold, without those that are not there."""
    for start in range(0, len(names), LOOKED_AT):
        yield from filter(None, client().mget(names[start : start + LOOKED_AT]))
