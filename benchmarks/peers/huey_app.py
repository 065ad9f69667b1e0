"""Huey on Redis with its defaults: what a task returns is kept until it is read."""

import os
import time
from collections.abc import Sequence

from huey import RedisHuey

from benchmarks import job

huey = RedisHuey("bench", url=os.environ["BENCH_REDIS_URL"])


@huey.task()
def perform(given: dict[str, str]) -> int:
    """The task."""
    started = time.monotonic_ns()
    return job.run(given["prompt"], started)


class Producer:
    """A call enqueues; there is no call for many."""

    def add(self, kind: str, number: int) -> None:
        """One task."""
        perform(job.payload(kind, number))

    def add_stamped(self, kind: str, number: int) -> int:
        """One task; the call."""
        given = job.payload(kind, number)
        called = time.monotonic_ns()
        perform(given)
        return called

    def add_many(self, kind: str, numbers: Sequence[int]) -> None:
        """One after the other."""
        for number in numbers:
            self.add(kind, number)

    def completed(self) -> int:
        """Results that are kept."""
        return int(huey.result_count())
