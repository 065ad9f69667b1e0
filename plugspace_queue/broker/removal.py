"""Removes what Redis holds of a task type that is not declared any more.

Its rows stay; the keys are all made from rows, so they are written again when the type returns.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from django.conf import settings
from redis import Redis
from rq.defaults import RQ_KEY_PREFIX

from plugspace_queue.broker import keys
from plugspace_queue.broker.audit import QUEUE_KEYS, RQ_KEYS
from plugspace_queue.broker.connection import Client, client, guarded
from plugspace_queue.domain.task_types import queue_of

BANDS = range(4)

AT_ONCE = 500
"""Keys of one command."""

RQ_SET = f"{RQ_KEY_PREFIX}:queues"
"""The names of all queues that RQ knows."""


def remove_queue(task_type: str) -> int:
    """Remove the structures of the type's queue; how many there were. Raises Unavailable."""
    queue = queue_of(task_type)
    names = [key(queue) for key in (*QUEUE_KEYS, keys.trouble)]
    names += [keys.finished_tags(queue, band) for band in BANDS]
    names += [
        f"{RQ_KEY_PREFIX}{kind}:{queue}" for kind in (*RQ_KEYS, "deferred", "clean_registries")
    ]
    return _remove_queue(_server(queue), names, queue)


def remove_tasks(task_type: str, task_ids: Sequence[str]) -> int:
    """Remove copies, results and jobs of these tasks; how many there were. Raises Unavailable."""
    names = [
        name
        for task_id in task_ids
        for name in (
            keys.task(task_id),
            keys.result(task_id, task_type),
            f"{RQ_KEY_PREFIX}:job:{task_id}",
            f"{RQ_KEY_PREFIX}:results:{task_id}",
            f"{RQ_KEY_PREFIX}:executions:{task_id}",
        )
    ]
    return _remove(_server(queue_of(task_type)), names)


def _server(queue: str) -> Client:
    """The server of its entry in RQ_QUEUES; without one that of the home queue."""
    return client(queue if queue in settings.RQ_QUEUES else None)


@guarded
def _remove_queue(connection: Redis, names: Sequence[str], queue: str) -> int:
    lanes = connection.scan_iter(match=f"{keys.queue(queue)}:lane:*", count=AT_ONCE)
    connection.srem(RQ_SET, f"{RQ_KEY_PREFIX}:queue:{queue}")
    return sum(connection.unlink(*some) for some in _parts((*names, *lanes)))


@guarded
def _remove(connection: Redis, names: Sequence[str]) -> int:
    return sum(connection.unlink(*some) for some in _parts(names))


def _parts(names: Iterable[str | bytes]) -> Iterator[list[str | bytes]]:
    rest = iter(names)
    while some := list(islice(rest, AT_ONCE)):
        yield some
