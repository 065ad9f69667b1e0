"""The project's own subclasses of RQ's three classes, and a job."""

import json
from typing import Any

from django_rq.queues import DjangoRQ
from rq import Queue, Worker
from rq.job import Job

RAN = "rqhost:ran"
"""A list in Redis: which classes each job met, as JSON."""


class HostJob(Job):
    """A job that knows its shop."""

    @property
    def shop(self) -> str:
        return str(self.meta.get("shop", ""))


class HostQueue(DjangoRQ):
    """A queue that counts in dozens."""

    def dozens(self) -> float:
        return self.count / 12


class HostWorker(Worker):
    """A worker that notes what it has run, and by which classes."""

    def perform_job(self, job: Job, queue: Queue, execution: Any) -> bool:
        met = {
            "worker": _path(self),
            "job": _path(job),
            "queue": _path(queue),
            "args": repr(job.args),
            "serializer": self.serializer.__name__,
        }
        self.connection.rpush(RAN, json.dumps(met))
        done: bool = super().perform_job(job, queue, execution)
        return done


def add(numbers: set[int]) -> int:
    """A job with an argument that JSON does not know."""
    return sum(numbers)


def _path(found: object) -> str:
    return f"{type(found).__module__}.{type(found).__qualname__}"
