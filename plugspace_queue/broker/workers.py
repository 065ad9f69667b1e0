"""RQ's registered workers, and the tasks that each of them runs according to our leases."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX
from rq.utils import utcparse

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import Client, client, guarded
from plugspace_queue.domain.catalog import queue_names

WORKERS = f"{RQ_KEY_PREFIX}:workers"
NAMED = f"{RQ_KEY_PREFIX}:worker:"
FIELDS = ("queues", "state", "hostname", "pid", "birth", "last_heartbeat", "death")
MOST = 500
"""Most workers of one server that are read."""


@dataclass(frozen=True, kw_only=True)
class WorkerSeen:
    """One worker process as of its last heartbeat."""

    name: str
    queues: tuple[str, ...]
    state: str
    hostname: str
    pid: str
    birth: datetime | None
    heartbeat: datetime | None
    runs: tuple[tuple[str, str], ...] = field(default=())
    """Queue and task of each of its leases, the oldest first."""


def workers() -> list[WorkerSeen]:
    """The workers of our queues on all their servers, by name. Raises Unavailable."""
    servers: dict[Client, list[str]] = defaultdict(list)
    for name in queue_names():
        servers[client(name)].append(name)
    found = {w.name: w for server, queues in servers.items() for w in _of_server(server, queues)}
    return [found[name] for name in sorted(found)]


@guarded
def _of_server(connection: Redis, queues: list[str]) -> list[WorkerSeen]:
    names = sorted(_text(key) for key in connection.smembers(WORKERS))[:MOST]
    with connection.pipeline(transaction=False) as pipe:
        for key in names:
            pipe.hmget(key, FIELDS)
        for queue in queues:
            pipe.hgetall(keys.own(queue))
        replies = pipe.execute()
    runs = _runs(zip(queues, replies[len(names) :], strict=True))
    rows = zip(names, replies[: len(names)], strict=True)
    seen = (_seen(key.removeprefix(NAMED), values, runs) for key, values in rows)
    return [worker for worker in seen if worker is not None]


def _runs(owners: Iterable[tuple[str, dict[bytes, bytes]]]) -> dict[str, list[tuple[str, str]]]:
    """The leases of each worker; values are `<fence>|<lane>|<worker>|<execution>`."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for queue, own in owners:
        for task_id, owner in sorted(own.items(), key=lambda item: item[1]):
            found[_text(owner).split("|")[2]].append((queue, _text(task_id)))
    return found


def _seen(
    name: str, values: list[bytes | None], runs: Mapping[str, list[tuple[str, str]]]
) -> WorkerSeen | None:
    """The worker; None when it has ended or works for other queues only."""
    fields = {key: _text(value) for key, value in zip(FIELDS, values, strict=True) if value}
    queues = tuple(queue for queue in fields.get("queues", "").split(",") if queue)
    if "death" in fields or not set(queues) & set(queue_names()):
        return None
    return WorkerSeen(
        name=name,
        queues=queues,
        state=fields.get("state", "?"),
        hostname=fields.get("hostname", ""),
        pid=fields.get("pid", ""),
        birth=_moment(fields.get("birth")),
        heartbeat=_moment(fields.get("last_heartbeat")),
        runs=tuple(runs.get(name, ())),
    )


def _moment(text: str | None) -> datetime | None:
    return utcparse(text) if text else None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
