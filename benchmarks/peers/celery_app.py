"""Celery on Redis, results in Redis too: its defaults, as its first steps show them."""

import os
import time
from collections.abc import Sequence

from celery import Celery

from benchmarks import job

URL = os.environ["BENCH_REDIS_URL"].replace("unix://", "redis+socket://")

app = Celery("bench", broker=URL, backend=URL, broker_connection_retry_on_startup=True)


@app.task(name="perform")
def perform(given: dict[str, str]) -> int:
    """The task."""
    started = time.monotonic_ns()
    return job.run(given["prompt"], started)


class Producer:
    """`delay`; many through kombu's batch, which sends 500 in one pipeline."""

    def add(self, kind: str, number: int) -> None:
        """One task."""
        perform.delay(job.payload(kind, number))

    def add_stamped(self, kind: str, number: int) -> int:
        """One task; the call."""
        given = job.payload(kind, number)
        called = time.monotonic_ns()
        perform.delay(given)
        return called

    def add_many(self, kind: str, numbers: Sequence[int]) -> None:
        """Many tasks by one producer."""
        with app.producer_or_acquire() as producer, producer.batch(len(numbers)):
            for number in numbers:
                perform.apply_async((job.payload(kind, number),), producer=producer)

    def completed(self) -> int:
        """Results: a task has one when it has ended, and none of these fails."""
        return sum(1 for _ in app.backend.client.scan_iter("celery-task-meta-*", count=5000))
