"""BullMQ's Python port, on Redis or on PostgreSQL; finished jobs are kept, as is its default."""

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

from bullmq import Queue, Worker

from benchmarks import job

NAME, SLOTS = "bench", 50


def options() -> dict[str, Any]:
    """On PostgreSQL when the stage names a database."""
    if url := os.environ.get("BENCH_DATABASE_URL"):
        return {"backend": "postgres", "connection": url}
    return {"connection": os.environ["BENCH_REDIS_URL"]}


async def perform(given: Any, token: str) -> int:
    """The processor."""
    started = time.monotonic_ns()
    return await job.run_async(given.data["prompt"], started)


def work() -> None:
    """A worker, until it is killed."""
    asyncio.run(_work())


def prepare() -> None:
    """The first queue of an empty database makes the tables."""
    Producer().completed()


async def _work() -> None:
    Worker(NAME, perform, {**options(), "concurrency": SLOTS})
    await asyncio.Event().wait()


class Producer:
    """`add` and `addBulk`."""

    def __init__(self) -> None:
        self._run = asyncio.Runner().run
        self._queue = self._run(self._open())

    def add(self, kind: str, number: int) -> None:
        """One job."""
        self._run(self._queue.add("perform", job.payload(kind, number)))

    def add_stamped(self, kind: str, number: int) -> int:
        """One job; the call on Redis, its return on PostgreSQL: there it is a commit."""
        called = time.monotonic_ns()
        self.add(kind, number)
        return time.monotonic_ns() if "backend" in options() else called

    def add_many(self, kind: str, numbers: Sequence[int]) -> None:
        """Many jobs in one transaction."""
        jobs = [{"name": "perform", "data": job.payload(kind, number)} for number in numbers]
        self._run(self._queue.addBulk(jobs))

    def completed(self) -> int:
        """As the queue counts them."""
        counts: dict[str, int] = self._run(self._queue.getJobCounts("completed"))
        return counts["completed"]

    async def _open(self) -> Any:
        return Queue(NAME, options())
