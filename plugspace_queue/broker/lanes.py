"""Counts the tasks of a queue by organization.

It reads the lengths of lanes and not their tasks, so the time depends on the number of
organizations and not of tasks. The server executes other commands between the round trips.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX

from plugspace_queue.broker import keys, scripts
from plugspace_queue.broker.connection import Spoiled, guarded
from plugspace_queue.broker.scripts import Call, on_queue
from plugspace_queue.domain.tiers import LOWEST_PRIORITY

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


class Line(NamedTuple):
    """The counts of one queue."""

    waiting: Holding
    delayed: Holding
    running: Holding


@guarded
def of_organization(connection: Redis, queue: str, organization_id: str) -> tuple[int, int]:
    """How many tasks of one organization wait and how many run. Raises Unavailable."""
    with connection.pipeline(transaction=False) as pipe:
        for band in range(LOWEST_PRIORITY + 1):
            pipe.llen(keys.lane(queue, band, organization_id))
        pipe.hget(keys.running(queue), organization_id)
        *lengths, running = pipe.execute()
    try:
        return sum(lengths), int(running or 0)
    except ValueError as error:
        raise Spoiled(f"The count of what runs is no number: {running!r}") from error


@guarded
def line(connection: Redis, queue: str, most: int = MOST) -> Line:
    """How many tasks wait, are delayed and run. Raises Unavailable."""
    parts = (
        _waiting(connection, queue, most),
        _delayed(connection, queue, most),
        _running(connection, queue),
    )
    with connection.pipeline(transaction=False) as pipe:
        pipe.llen(keys.wait(queue))
        pipe.zcard(_scheduled(queue))
        pipe.llen(keys.active(queue))
        totals: list[Any] = pipe.execute()
    return Line(*map(Holding, totals, parts))


def lines(queue: str, place: str, cursor: int) -> Call[tuple[int, dict[str, int]]]:
    """Lanes in the ring or parked, from a cursor on, with their lengths, and the next cursor."""
    return on_queue("lines", queue, [place, cursor, AT_ONCE], _lengths)


def _scheduled(queue: str) -> str:
    return f"{RQ_KEY_PREFIX}:scheduled:{queue}"


def _waiting(connection: Redis, queue: str, most: int) -> Counter[str]:
    found: dict[str, int] = {}
    for place in ("ring", "parked"):
        cursor = 0
        while len(found) < most:
            [(cursor, part)] = scripts.run(connection, [lines(queue, place, cursor)])
            # A lane that moves between ring and parked may be returned twice.
            found |= dict(islice(part.items(), most - len(found)))
            if not cursor:
                break
    counts: Counter[str] = Counter()
    for lane, length in found.items():
        counts[lane[2:]] += length
    return counts


def _lengths(reply: list[Any]) -> tuple[int, dict[str, int]]:
    cursor, flat = reply
    return cursor, dict(zip(map(bytes.decode, flat[::2]), flat[1::2], strict=True))


def _delayed(connection: Redis, queue: str, most: int) -> Counter[str]:
    """Delayed tasks by the organization in their jobs; only the first that are due."""
    ids: Any = connection.zrange(_scheduled(queue), 0, min(most, MOST_DELAYED) - 1)
    with connection.pipeline(transaction=False) as pipe:
        for task_id in ids:
            pipe.hget(f"{RQ_KEY_PREFIX}:job:{task_id.decode()}", "psq_org")
        # A job key of a wrong type gives an error, and counts for no organization.
        owners: list[Any] = pipe.execute(raise_on_error=False)
    return Counter(owner.decode() for owner in owners if isinstance(owner, bytes))


def _running(connection: Redis, queue: str) -> Counter[str]:
    found: Any = connection.hgetall(keys.running(queue))
    return Counter({name.decode(): int(count) for name, count in found.items()})
