"""Dramatiq on Redis with its default middleware; by default it keeps no results."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks import job, records

broker = RedisBroker(url=os.environ["BENCH_REDIS_URL"])
dramatiq.set_broker(broker)


@dramatiq.actor(actor_name="perform")
def perform(given: dict[str, str]) -> int:
    """The actor."""
    started = time.monotonic_ns()
    return job.run(given["prompt"], started)


class Producer:
    """`send`; there is no call for many."""

    def add(self, kind: str, number: int) -> None:
        """One message."""
        perform.send(job.payload(kind, number))

    def add_stamped(self, kind: str, number: int) -> int:
        """One message; the call."""
        given = job.payload(kind, number)
        called = time.monotonic_ns()
        perform.send(given)
        return called

    def add_many(self, kind: str, numbers: Sequence[int]) -> None:
        """One after the other."""
        for number in numbers:
            self.add(kind, number)

    def completed(self) -> int:
        """What ran, less what is not acknowledged yet."""
        kept = int(broker.client.hlen("dramatiq:default.msgs"))
        return records.count(Path(os.environ[records.FILE])) - kept
