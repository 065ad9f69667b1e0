"""How late delayed tasks come into line: Redis keeps both moments, by its own clock."""

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from redis import Redis

from benchmarks.trial import Incomplete

SCHEDULED = "rq:scheduled:architect"
SOON = 600
"""Seconds: what is due later than this is not waited for."""

PATIENCE = 60.0
STEP = 0.05
"""Seconds between two looks, well below the shortest delay."""


def lateness(redis: Redis, count: int) -> list[float]:
    """Wait until `count` delayed tasks have come into line; ms from due to there, sorted."""
    due = _await(redis, count)
    came = _came(redis, due)
    return sorted((there - due[task_id]) * 1000 for task_id, there in came.items())


def _await(redis: Redis, count: int) -> dict[str, float]:
    """When each was due, once none of them is delayed any more."""
    due: dict[str, float] = {}
    until = time.monotonic() + PATIENCE
    while True:
        delayed: Any = redis.zrangebyscore(SCHEDULED, 0, time.time() + SOON, withscores=True)
        due.update(delayed)
        if len(due) >= count and not delayed:
            return due
        if time.monotonic() > until:
            raise Incomplete(f"{len(due)} of {count} tasks were delayed, {len(delayed)} still are")
        time.sleep(STEP)


def _came(redis: Redis, ids: Iterable[str]) -> dict[str, float]:
    """When each came into line last, as RQ's field of its job says to the microsecond."""
    asked = list(ids)
    with redis.pipeline(transaction=False) as pipeline:
        for task_id in asked:
            pipeline.hget(f"rq:job:{task_id}", "enqueued_at")
        told = pipeline.execute()
    moments = (datetime.fromisoformat(moment).timestamp() for moment in told)
    return dict(zip(asked, moments, strict=True))
