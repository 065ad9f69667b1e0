"""Looks at a queue in full and puts its structures right: one function a script, typed in and out.

All of it is bounded: as many ids or entries as are given, or as many as there are slots.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Literal

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import guarded
from plugspace_queue.broker.scripts import Arg, Call, name_of, on_queue, raw

Disagreement = Literal["active", "lease", "record", "line", "count"]
LaneWord = Literal["strange", "empty", "both", "off", "held", "strays"]

MOST_IDS = 50
"""Ids of one call of `audit`: some milliseconds of the server at the most."""

MOST_ENTRIES = 1000
"""Entries of lanes, and members of other structures, in one call."""


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


LINE = Holds.IDX | Holds.WAIT | Holds.LANE | Holds.SERVED


@dataclass(frozen=True, slots=True)
class RedisTaskState:
    """Where a task is."""

    task_id: str
    holds: Holds
    lane: str
    """`<band>:<organization>` by idx, else empty; with IDX too, when its entry is no place."""
    fence: int
    """Of the running attempt, else 0."""
    lease_ms: int
    """What is left of its lease; negative when it ran out, 0 without one."""
    due_ms: int
    """When it is due, ms since 1970, if it is delayed."""


@dataclass(frozen=True, slots=True)
class QueueAudit:
    """What a queue's structures say against each other."""

    waiting: int
    indexed: int
    disagreements: list[tuple[Disagreement, str]]
    """What disagrees about running attempts, and the id, RQ's member or the organization."""


@dataclass(frozen=True, slots=True)
class LanesAudit:
    """How far a look at lanes came, and what it found."""

    done: int
    offset: int
    findings: list[tuple[LaneWord, str]]


def audit(queue: str, ids: Sequence[str]) -> Call[list[RedisTaskState]]:
    """Where each task is, in full; at most MOST_IDS of them."""

    def parse(reply: list[Any]) -> list[RedisTaskState]:
        rows = zip(*[iter(reply)] * 5, strict=True)
        return [
            RedisTaskState(id_, Holds(sum_), name_of(lane), int(fence), int(left), int(due))
            for id_, (sum_, lane, fence, left, due) in zip(ids, rows, strict=True)
        ]

    return _call("audit", queue, ids, parse)


def audit_queue(queue: str) -> Call[QueueAudit]:
    """Compare the sizes of wait and idx, and all about running attempts."""
    return _call(
        "audit_queue", queue, [], lambda reply: QueueAudit(reply[0], reply[1], _pairs(reply[2]))
    )


def audit_lanes(queue: str, lanes: Sequence[str], offset: int = 0) -> Call[LanesAudit]:
    """Compare lanes with ring, idx and gates, from an offset in the first one on."""
    args: list[Arg] = [MOST_ENTRIES, offset, *lanes]
    return _call(
        "audit_lanes",
        queue,
        args,
        lambda reply: LanesAudit(reply[0], reply[1], _pairs(reply[2])),
    )


def mend_running(queue: str, lease_ms: int) -> Call[int]:
    """Make active, leases, RQ's records and counts what `own` says."""
    return _call("mend_running", queue, [lease_ms], int)


def mend_wait(queue: str) -> Call[int]:
    """Write `wait` anew from what idx knows. Takes as long as there are waiting tasks."""
    return _call("mend_wait", queue, [], int)


def mend_lanes(queue: str, lanes: Sequence[str]) -> Call[int]:
    """Write lanes anew from what idx knows, and put them into the order."""
    return _call("mend_lanes", queue, lanes, int)


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
