"""Counts the tasks of queues by organization, in round trips that do not grow with the queues.

It reads the lengths of lanes and not their tasks, so the time depends on the number of
organizations and not of tasks. The server executes other commands between the round trips.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX

from plugspace_queue.broker import keys, scripts
from plugspace_queue.broker.connection import guarded, unless_spoiled
from plugspace_queue.broker.scripts import Call, on_queue
from plugspace_queue.domain.tiers import LOWEST_PRIORITY

BANDS = range(LOWEST_PRIORITY + 1)

MOST = 5_000
"""Most lanes of one queue that are counted separately."""

MOST_DELAYED = 500
"""Most delayed tasks that are counted separately; each of them is read."""

AT_ONCE = 500
"""Lanes of one round trip, so that no script call blocks the server for long."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Tasks of one queue in one state: how many, and how many of each organization."""

    total: int
    of: Counter[str]
    """Sums to less than the total when there were too many to count separately."""


class Own(NamedTuple):
    """How many tasks of one organization wait in a queue, and how many run."""

    waiting: int
    running: int


class Line(NamedTuple):
    """The counts of one queue."""

    waiting: Holding
    delayed: Holding
    running: Holding


Parts = Counter[str] | None
"""The tasks of each organization; None when the data of the queue is damaged."""


@guarded
def of_organization(
    connection: Redis, queues: Sequence[str], organization_id: str
) -> dict[str, Own | None]:
    """What one organization has in queues of a server; None where the data is damaged.

    Raises Unavailable.
    """
    with connection.pipeline(transaction=False) as pipe:
        for queue in queues:
            for band in BANDS:
                pipe.llen(keys.lane(queue, band, organization_id))
            # A list, so that no count differs from damaged data.
            pipe.hmget(keys.running(queue), [organization_id])
        replies = list(map(unless_spoiled, pipe.execute(raise_on_error=False)))
    size = len(BANDS) + 1
    return {queue: _own(replies[size * at : size * (at + 1)]) for at, queue in enumerate(queues)}


def _own(replies: Sequence[Any]) -> Own | None:
    *lengths, counts = replies
    try:
        # None in place of a reply is as damaged as a count that is no number.
        (running,) = counts
        return Own(sum(lengths), int(running or 0))
    except (TypeError, ValueError):
        return None


@guarded
def lines_of(connection: Redis, queues: Sequence[str], most: int = MOST) -> dict[str, Line]:
    """How many tasks wait, are delayed and run in queues of a server, without damaged ones.

    Raises Unavailable.
    """
    waiting, delayed = _waiting(connection, queues, most), _delayed(connection, queues, most)
    running = _running(connection, queues)
    with connection.pipeline(transaction=False) as pipe:
        for queue in queues:
            pipe.llen(keys.wait(queue))
            pipe.zcard(_scheduled(queue))
            pipe.llen(keys.active(queue))
        totals = list(map(unless_spoiled, pipe.execute(raise_on_error=False)))
    rows = zip(*[iter(totals)] * len(Line._fields), strict=True)
    found: dict[str, Line] = {}
    for queue, row in zip(queues, rows, strict=True):
        pairs = zip(row, (waiting[queue], delayed[queue], running[queue]), strict=True)
        holdings = [
            Holding(total, parts)
            for total, parts in pairs
            if total is not None and parts is not None
        ]
        if len(holdings) == len(Line._fields):
            found[queue] = Line(*holdings)
    return found


def lines(queue: str, place: str, cursor: int) -> Call[tuple[int, dict[str, int]]]:
    """Lanes in the ring or parked, from a cursor on, with their lengths, and the next cursor."""
    return on_queue("lines", queue, [place, cursor, AT_ONCE], _lengths)


def _scheduled(queue: str) -> str:
    return f"{RQ_KEY_PREFIX}:scheduled:{queue}"


def _waiting(connection: Redis, queues: Sequence[str], most: int) -> dict[str, Parts]:
    found: dict[str, dict[str, int] | None] = {queue: {} for queue in queues}
    for place in ("ring", "parked"):
        cursors = dict.fromkeys(queues, 0)
        while cursors:
            calls = [lines(queue, place, cursor) for queue, cursor in cursors.items()]
            outcomes = map(unless_spoiled, scripts.run_each(connection, calls))
            answers = dict(zip(cursors, outcomes, strict=True))
            cursors = dict(_further(found, answers, most))
    return {queue: None if lanes is None else _by_owner(lanes) for queue, lanes in found.items()}


def _further(
    found: dict[str, dict[str, int] | None],
    answers: Mapping[str, tuple[int, dict[str, int]] | None],
    most: int,
) -> Iterator[tuple[str, int]]:
    """Add the lanes that were read; yields the queues that have more, and their cursors."""
    for queue, answer in answers.items():
        lanes = found[queue]
        if answer is None or lanes is None:
            found[queue] = None
            continue
        cursor, part = answer
        # A lane that moves between ring and parked may be returned twice.
        lanes |= dict(islice(part.items(), most - len(lanes)))
        if cursor and len(lanes) < most:
            yield queue, cursor


def _by_owner(lanes: Mapping[str, int]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for lane, length in lanes.items():
        counts[lane[2:]] += length
    return counts


def _lengths(reply: list[Any]) -> tuple[int, dict[str, int]]:
    cursor, flat = reply
    return cursor, dict(zip(map(bytes.decode, flat[::2]), flat[1::2], strict=True))


def _delayed(connection: Redis, queues: Sequence[str], most: int) -> dict[str, Parts]:
    """Delayed tasks by the organization in their jobs; only the first that are due."""
    last = min(most, MOST_DELAYED) - 1
    with connection.pipeline(transaction=False) as pipe:
        for queue in queues:
            pipe.zrange(_scheduled(queue), 0, last)
        found = list(map(unless_spoiled, pipe.execute(raise_on_error=False)))
    first = dict(zip(queues, found, strict=True))
    wanted = [(queue, task_id) for queue, ids in first.items() for task_id in ids or ()]
    counts: dict[str, Parts] = {
        queue: None if ids is None else Counter() for queue, ids in first.items()
    }
    with connection.pipeline(transaction=False) as pipe:
        for _, task_id in wanted:
            pipe.hget(f"{RQ_KEY_PREFIX}:job:{task_id.decode()}", "psq_org")
        # A job key of a wrong type gives an error, and counts for no organization.
        owners: list[Any] = pipe.execute(raise_on_error=False)
    for (queue, _), owner in zip(wanted, owners, strict=True):
        parts = counts[queue]
        if parts is not None and isinstance(owner, bytes):
            parts[owner.decode()] += 1
    return counts


def _running(connection: Redis, queues: Sequence[str]) -> dict[str, Parts]:
    with connection.pipeline(transaction=False) as pipe:
        for queue in queues:
            pipe.hgetall(keys.running(queue))
        found = list(map(unless_spoiled, pipe.execute(raise_on_error=False)))
    return {queue: _counts(counts) for queue, counts in zip(queues, found, strict=True)}


def _counts(counts: Mapping[bytes, bytes] | None) -> Parts:
    try:
        return None if counts is None else Counter({n.decode(): int(c) for n, c in counts.items()})
    except ValueError:
        return None
