"""Stock RQ with its SimpleWorker: one job at a time in the worker's process, records in Redis."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from redis import Redis
from rq import Queue
from rq.registry import FinishedJobRegistry

from benchmarks import job, processes, producing
from benchmarks.ground import Ground

QUEUE = "bench"
URL = "BENCH_REDIS_URL"
IDLE = "import rq, rq.cli, benchmarks.systems.rq_simple, signal; signal.pause()"


@dataclass(frozen=True)
class SimpleWorker:
    """`rq worker --worker-class rq.worker.SimpleWorker`."""

    name = "RQ SimpleWorker"
    is_ours = False
    is_slow = True
    is_python = True
    needs_postgres = False
    keeps_records = False
    environment = None

    @property
    def version(self) -> str:
        """RQ's version."""
        return version("rq")

    def redis(self, ground: Ground) -> "Redis":
        """The server without persistence."""
        return ground.redis(False)

    def stage(self, ground: Ground) -> Mapping[str, str]:
        """Nothing but the address."""
        path = self.redis(ground).connection_pool.connection_kwargs["path"]
        return {URL: f"unix://{path}"}

    def producer(self) -> list[str]:
        """This module."""
        return processes.python("-m", __name__)

    def worker(self) -> list[str]:
        """RQ's command; a line of log per job would only slow it down."""
        command = "import os, sys; from rq.cli import main;"
        command += f"sys.argv[1:1] = ['worker', '--url', os.environ['{URL}']]; main()"
        options = ("--quiet", "--worker-class", "rq.worker.SimpleWorker", QUEUE)
        return processes.python("-c", command, *options)

    def idle(self) -> list[str]:
        """RQ and the job loaded."""
        return processes.python("-c", IDLE)


def perform(given: dict[str, str]) -> int:
    """The job."""
    started = time.monotonic_ns()
    return job.run(given["prompt"], started)


class Producer:
    """`enqueue` and `enqueue_many`."""

    def __init__(self) -> None:
        self._queue = Queue(QUEUE, connection=Redis.from_url(os.environ[URL]))
        # As a worker finds it; this module may run as __main__.
        self._function = "benchmarks.systems.rq_simple.perform"

    def add(self, kind: str, number: int) -> None:
        """One job."""
        self._queue.enqueue(self._function, job.payload(kind, number))

    def add_stamped(self, kind: str, number: int) -> int:
        """One job; without records it is the queue's from the call on."""
        given = job.payload(kind, number)
        called = time.monotonic_ns()
        self._queue.enqueue(self._function, given)
        return called

    def add_many(self, kind: str, numbers: Sequence[int]) -> None:
        """Many jobs in one pipeline."""
        prepare = Queue.prepare_data
        self._queue.enqueue_many(
            [prepare(self._function, args=(job.payload(kind, number),)) for number in numbers]
        )

    def completed(self) -> int:
        """Length of the registry of finished jobs."""
        return FinishedJobRegistry(queue=self._queue).get_job_count(cleanup=False)


if __name__ == "__main__":
    producing.main(Producer(), sys.argv[1:])
