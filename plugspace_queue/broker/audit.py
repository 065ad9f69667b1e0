"""The reconciler's access to Redis: reads and rebuilds a queue's structures and copies of rows.

Every call is bounded by the number of given ids, keys or entries, or by the number of slots.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Literal, NamedTuple

from redis import Redis
from redis.exceptions import LockError
from redis.lock import Lock
from rq.defaults import RQ_KEY_PREFIX

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import guarded
from plugspace_queue.broker.scripts import Arg, Call, name_of, on_queue, raw
from plugspace_queue.conf import get_settings

MOST_IDS = 50
"""Most ids of one call of `audit`, which then takes a few milliseconds of the server at most."""

MOST_ENTRIES = 1000
"""Most entries of lanes, or members of other structures, in one call."""

QUEUE_KEYS = {
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

RQ_KEYS = {
    "queue": "list",
    "scheduled": "zset",
    "wip": "zset",
    "finished": "zset",
    "failed": "zset",
    "canceled": "zset",
}
"""The same for RQ's keys."""

SHARED_KEYS = {keys.paused_organizations: "set", keys.events: "stream"}
"""The same for keys that all queues of a server share."""

GATES = (
    *("paused", "concurrency", "limiter", "limiter_ms", "org_cap", "weighted", "version"),
    "overridden",
)
"""Fields of a queue's settings, in the order of the configure script."""


class Holds(IntFlag):
    """The structures that hold a task; the numbers are those of audit.lua."""

    IDX = 1
    WAIT = 2
    LANE = 4
    SERVED = 8
    """Its lane is on the ring or parked."""
    OWN = 16
    DELAYED = 32
    INBOX = 64
    JOB = 128
    SNAPSHOT = 256


@dataclass(frozen=True, slots=True)
class RedisTaskState:
    """Which structures of a queue hold a task."""

    task_id: str
    holds: Holds
    lane: str
    """`<band>:<organization>` from idx; empty without an entry, or when the entry is damaged."""
    fence: int
    """Of the running attempt, else 0."""
    lease_ms: int
    """Remaining time of its lease; negative when expired, 0 without one."""
    due_ms: int
    """When it is due, ms since 1970, if it is delayed."""


@dataclass(frozen=True, slots=True)
class LanesAudit:
    """Findings of a comparison of lanes, and where to continue it."""

    done: int
    offset: int
    findings: list[tuple[str, str]]
    """Pairs of code and lane."""


def audit(queue: str, ids: Sequence[str]) -> Call[list[RedisTaskState]]:
    """The full state of each task in Redis; at most MOST_IDS ids."""

    def parse(reply: list[Any]) -> list[RedisTaskState]:
        rows = zip(*[iter(reply)] * 5, strict=True)
        return [
            RedisTaskState(id_, Holds(sum_), name_of(lane), int(fence), int(left), int(due))
            for id_, (sum_, lane, fence, left, due) in zip(ids, rows, strict=True)
        ]

    return _call("audit", queue, ids, parse)


def audit_queue(queue: str) -> Call[list[tuple[str, str]]]:
    """Compare wait with idx, and the structures of running attempts; pairs of code and key."""
    return _call("audit_queue", queue, [], _pairs)


def audit_lanes(queue: str, lanes: Sequence[str], offset: int = 0) -> Call[LanesAudit]:
    """Compare lanes with ring, idx and gates, starting at an offset in the first lane."""
    args: list[Arg] = [MOST_ENTRIES, offset, *lanes]
    return _call(
        "audit_lanes",
        queue,
        args,
        lambda reply: LanesAudit(reply[0], reply[1], _pairs(reply[2])),
    )


def rebuild(
    queue: str, lease_ms: int, *, wait: bool = False, lanes: Sequence[str] = ()
) -> Call[int]:
    """Rebuild lanes from idx, or the structures of running attempts from own if none are given.

    With `wait`, the wait list is rebuilt too. The time grows with the number of waiting tasks, or
    with the length of the lanes.
    """
    args: list[Arg] = [lease_ms, int(wait), *lanes]
    return _call("rebuild", queue, args, int)


@guarded
def with_tasks(connection: Redis, queues: Sequence[str]) -> list[str]:
    """The queues of these that hold a task or a lane. Raises Unavailable."""
    places = (keys.idx, keys.own, keys.queue, keys.parked)
    with connection.pipeline(transaction=False) as pipe:
        for queue in queues:
            delayed = f"{RQ_KEY_PREFIX}:scheduled:{queue}"
            pipe.exists(delayed, *(key(queue) for key in places))
        found: list[int] = pipe.execute()
    return [queue for queue, number in zip(queues, found, strict=True) if number]


def known_ids(connection: Redis, queue: str) -> Iterator[list[str]]:
    """Pages of the ids that wait, run or are delayed in Redis. Raises Unavailable."""
    yield from _pages(connection, "HSCAN", keys.idx(queue))
    yield from _pages(connection, "HSCAN", keys.own(queue))
    yield from _pages(connection, "ZSCAN", f"{RQ_KEY_PREFIX}:scheduled:{queue}")


def lanes_in_order(connection: Redis, queue: str) -> Iterator[list[str]]:
    """Pages of the lanes on the ring and of the parked ones. Raises Unavailable."""
    yield from _pages(connection, "ZSCAN", keys.queue(queue))
    yield from _pages(connection, "ZSCAN", keys.parked(queue))


def _pages(connection: Redis, command: Literal["HSCAN", "ZSCAN"], key: str) -> Iterator[list[str]]:
    cursor = 0
    while True:
        cursor, members = _page(connection, command, key, cursor)
        if members:
            yield members
        if cursor == 0:
            return


@guarded
def _page(
    connection: Redis, command: Literal["HSCAN", "ZSCAN"], key: str, cursor: int
) -> tuple[int, list[str]]:
    scan: Any = connection.hscan if command == "HSCAN" else connection.zscan
    following, found = scan(key, cursor, count=MOST_ENTRIES)
    # A hash comes as a dict, a sorted set as pairs.
    names = found if isinstance(found, dict) else (name for name, _ in found)
    return following, [name_of(name) for name in names]


def _call(name: str, queue: str, args: Sequence[Arg], parse: Any) -> Call[Any]:
    return on_queue(name, queue, [raw(arg) if isinstance(arg, str) else arg for arg in args], parse)


def _pairs(flat: list[Any]) -> list[Any]:
    words = [name_of(value) for value in flat]
    return list(zip(words[::2], words[1::2], strict=True))


@guarded
def texts(connection: Redis, names: Sequence[str]) -> list[str | None]:
    """The strings under these keys, whatever they hold. Raises Unavailable."""
    found: Any = connection.mget(names) if names else []
    return [None if value is None else value.decode(errors="replace") for value in found]


@guarded
def missing(connection: Redis, names: Sequence[str], kind: str) -> list[str]:
    """The keys of these that do not exist, or are of another type. Raises Unavailable."""
    with connection.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.type(name)
        found = [has.decode() for has in pipe.execute()]
    return [name for name, has in zip(names, found, strict=True) if has != kind]


@guarded
def delete(connection: Redis, names: Sequence[str]) -> None:
    """Delete keys that are about to be rewritten. Raises Unavailable."""
    if names:
        connection.delete(*names)


class WrongKey(NamedTuple):
    """A key that is of a wrong type, which no script can work on."""

    queue: str
    name: str
    has: str
    wanted: str


@guarded
def keys_of_wrong_type(connection: Redis, queues: Sequence[str]) -> list[WrongKey]:
    """Keys of these queues of a server that are of a wrong type. Raises Unavailable."""
    wanted = [(queue, name, kind) for queue in queues for name, kind in _types(queue).items()]
    with connection.pipeline(transaction=False) as pipe:
        for _, name, _ in wanted:
            pipe.type(name)
        found = [kind.decode() for kind in pipe.execute()]
    pairs = zip(wanted, found, strict=True)
    return [
        WrongKey(queue, name, has, kind)
        for (queue, name, kind), has in pairs
        if has not in ("none", kind)
    ]


def _types(queue: str) -> dict[str, str]:
    wanted = {key(queue): kind for key, kind in QUEUE_KEYS.items()}
    wanted |= {keys.finished_tags(queue, band): "zset" for band in range(4)}
    wanted |= {f"{RQ_KEY_PREFIX}:{word}:{queue}": kind for word, kind in RQ_KEYS.items()}
    return wanted | {key(): kind for key, kind in SHARED_KEYS.items()}


@guarded
def delete_fields(connection: Redis, queue: str, *names: str) -> None:
    """Delete fields of a queue's settings that are about to be rewritten."""
    connection.hdel(keys.meta(queue), *names)


@guarded
def gates(connection: Redis, queues: Sequence[str]) -> list[tuple[str, ...]]:
    """The settings in force of each queue, in the order of GATES; "" for one that is missing."""
    with connection.pipeline(transaction=False) as pipe:
        for queue in queues:
            pipe.hmget(keys.meta(queue), GATES)
        found: list[Any] = pipe.execute()
    return [
        tuple("" if value is None else value.decode(errors="replace") for value in values)
        for values in found
    ]


@guarded
def lifetimes(connection: Redis, queues: Sequence[str]) -> list[tuple[int, int, int]]:
    """The lifetime counts of each queue, and the number of running tasks. Raises Unavailable."""
    with connection.pipeline(transaction=True) as pipe:
        for queue in queues:
            pipe.hmget(keys.meta(queue), ("completed", "failed"))
            pipe.hlen(keys.own(queue))
        found: list[Any] = pipe.execute()
    return [
        (_number(completed), _number(failed), running)
        for (completed, failed), running in zip(found[::2], found[1::2], strict=True)
    ]


def _number(value: bytes | None) -> int:
    """A count; 0 for a value that is not a number."""
    text = (value or b"").decode(errors="replace")
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else 0


@guarded
def add_lifetime(connection: Redis, queue: str, completed: int, failed: int) -> None:
    """Add to the lifetime counts; damaged values are reset first. Raises Unavailable."""
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
    """Write an organization's newest tasks: id → time of creation. Raises Unavailable."""
    name = keys.organization_tasks(organization_id)
    with connection.pipeline(transaction=True) as pipe:
        # It may be of a wrong type.
        pipe.delete(name)
        pipe.zadd(name, dict(created_ms))
        pipe.zremrangebyrank(name, 0, -get_settings().org_tasks_maxlen - 1)
        pipe.execute()


@guarded
def hold_lock(connection: Redis, key: str, token: str, ttl: float) -> bool:
    """Acquire or extend a lock for `ttl` seconds; False when another token holds it."""
    if connection.pttl(key) == -1:
        # No lock of ours: it would be held for ever.
        connection.delete(key)
    lock = _lock(connection, key, token, ttl)
    try:
        return lock.reacquire()
    except LockError:
        return bool(lock.acquire(blocking=False, token=token))


@guarded
def release_lock(connection: Redis, key: str, token: str) -> None:
    """Release the lock if this token holds it. Raises Unavailable."""
    with contextlib.suppress(LockError):
        _lock(connection, key, token).release()


def _lock(connection: Redis, key: str, token: str, ttl: float | None = None) -> Lock:
    lock: Lock = connection.lock(key, ttl, thread_local=False)
    lock.local.token = token.encode()
    return lock
