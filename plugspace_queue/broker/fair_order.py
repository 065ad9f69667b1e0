"""Computes the order in which waiting tasks would start, for display; changes nothing."""

import heapq
from typing import Any

from redis import Redis

from plugspace_queue.broker import keys

MOST = 1000
"""Most tasks whose order is computed; with more waiting, roughly the order of arrival is used."""

UNIT = 64
WEIGHTS = (8, 4, 2, 1)


def service_order(client: Redis, queue: str) -> list[str]:
    """Ids of all waiting tasks, first to start first; parked lanes come last."""
    if client.llen(keys.wait(queue)) > MOST:
        return _decoded(client.lrange(keys.wait(queue), 0, -1))
    with client.pipeline(transaction=True) as pipe:
        pipe.zrange(keys.queue(queue), 0, -1, withscores=True)
        pipe.zrange(keys.parked(queue), 0, -1, withscores=True)
        pipe.hget(keys.meta(queue), "weighted")
        ring, parked, weighted = pipe.execute()
    return _merge(client, queue, ring, weighted) + _merge(client, queue, parked, weighted)


def _merge(
    client: Redis, queue: str, lanes: list[tuple[bytes, float]], weighted: bytes | None
) -> list[str]:
    """One task at a time from the lane with the lowest tag, as the acquire script does it."""
    with client.pipeline(transaction=False) as pipe:
        for lane, _ in lanes:
            band, organization = lane.decode().split(":", 1)
            pipe.lrange(keys.lane(queue, int(band), organization), 0, -1)
        lines = dict(zip((lane for lane, _ in lanes), map(_decoded, pipe.execute()), strict=True))
    heap = [(score, lane, 0) for lane, score in lanes if lines[lane]]
    heapq.heapify(heap)
    order: list[str] = []
    while heap:
        score, lane, place = heap[0]
        order.append(lines[lane][place])
        if place + 1 < len(lines[lane]):
            step = UNIT / WEIGHTS[int(lane[:1])] if weighted == b"1" else UNIT
            heapq.heapreplace(heap, (score + step, lane, place + 1))
        else:
            heapq.heappop(heap)
    return order


def _decoded(values: list[Any]) -> list[str]:
    return [value.decode() for value in values]
