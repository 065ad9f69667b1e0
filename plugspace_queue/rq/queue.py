"""RQ's Queue for our six names: an honest view of the line for RQ's pages and commands.

Tasks come in through the front door and go out through the worker's scripts; what RQ's own code
enqueues here is refused. For any other name this is django-rq's class.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import django
from django.apps import apps
from django_rq.queues import DjangoRQ
from redis import Redis
from redis.client import Pipeline
from rq.defaults import RQ_KEY_PREFIX
from rq.exceptions import InvalidJobOperation
from rq.job import Job as StockJob
from rq.job_lifecycle import record_job_failure
from rq.queue import EnqueueData
from rq.queue import Queue as StockQueue
from rq.serializers import JSONSerializer
from rq.utils import as_text

from plugspace_queue.broker import keys, scripts, task_store
from plugspace_queue.broker.connection import heal
from plugspace_queue.broker.fair_order import service_order
from plugspace_queue.domain.catalog import queue_names, type_of_queue
from plugspace_queue.rq import reading, verbs


class Queue(DjangoRQ):
    """QUEUE_CLASS of our six entries in RQ_QUEUES."""

    @classmethod
    def all(cls, connection: Redis, *args: Any, **kwargs: Any) -> list[StockQueue]:
        """Our six, and the stock ones that RQ knows."""
        _set_up()
        stock = [q for q in super().all(connection, *args, **kwargs) if not _is_ours(q.name)]
        return [cls(name, connection=connection) for name in queue_names()] + stock

    @classmethod
    def from_queue_key(
        cls, queue_key: str, connection: Redis, *args: Any, **kwargs: Any
    ) -> StockQueue:
        """The queue of a key; `plugspace:code:wait` and `rq:queue:code` are the same one."""
        name = next((name for name in queue_names() if queue_key == keys.wait(name)), None)
        if name is not None:
            return cls(name, connection=connection)
        return super().from_queue_key(queue_key, connection, *args, **kwargs)

    def __init__(self, name: str = "default", *args: Any, **kwargs: Any) -> None:
        _set_up()
        stock: Callable[..., None] = super().__init__
        stock(name, *args, **kwargs)
        heal(self.connection)
        self.is_ours = _is_ours(name)
        if self.is_ours:
            self._key = keys.wait(name)
            # rqworker passes pickle along; our jobs are JSON.
            self.serializer = JSONSerializer
        self.serializer = reading.serializer(self.serializer)

    @property
    def inbox_key(self) -> str:
        """Where RQ's own code pushes ids; the scripts adopt or refuse them."""
        return f"{RQ_KEY_PREFIX}:queue:{self.name}"

    # Enqueueing.

    def enqueue_job(self, job: StockJob, *args: Any, **kwargs: Any) -> StockJob:
        """A task is retried, anything else refused."""
        if not self.is_ours:
            return super().enqueue_job(job, *args, **kwargs)
        return self._retry_or_refuse(job, kwargs.get("pipeline"))

    def enqueue_many(
        self,
        job_datas: Iterable[EnqueueData],
        pipeline: Pipeline | None = None,
        group_id: str | None = None,
    ) -> list[StockJob]:
        """All are refused."""
        if not self.is_ours:
            return super().enqueue_many(job_datas, pipeline=pipeline, group_id=group_id)
        jobs = [
            self.create_job(
                data.func,
                args=data.args,
                kwargs=data.kwargs,
                job_id=data.job_id,
                timeout=data.timeout,
            )
            for data in job_datas
        ]
        return [self._refuse(job, pipeline) for job in jobs]

    def schedule_job(
        self,
        job: StockJob,
        datetime: datetime,
        pipeline: Pipeline | None = None,
        unique: bool = False,
    ) -> StockJob:
        """Refused: give `run_at` to the manager."""
        if not self.is_ours:
            return super().schedule_job(job, datetime, pipeline, unique)
        return self._refuse(job, pipeline)

    def _enqueue_job(
        self,
        job: StockJob,
        pipeline: Pipeline | None = None,
        at_front: bool = False,
        unique: bool = False,
    ) -> StockJob:
        if not self.is_ours:
            return super()._enqueue_job(job, pipeline, at_front, unique)
        return self._retry_or_refuse(job, pipeline)

    def _enqueue_rate_limited_job(self, job: StockJob, *args: Any, **kwargs: Any) -> StockJob:
        if not self.is_ours:
            return super()._enqueue_rate_limited_job(job, *args, **kwargs)
        return self._refuse(job, kwargs.get("pipeline"))

    def push_job_id(
        self, job_id: str, pipeline: Pipeline | None = None, at_front: bool = False
    ) -> None:
        """Into the inbox: a worker sees within a second whether it is a task."""
        if not self.is_ours:
            super().push_job_id(job_id, pipeline, at_front)
            return
        connection = self.connection if pipeline is None else pipeline
        connection.rpush(self.inbox_key, job_id)
        connection.zadd(keys.marker(self.name), {"work": 0})

    def _retry_or_refuse(self, job: StockJob, pipeline: Pipeline | None) -> StockJob:
        if not self.connection.hexists(job.key, "psq_org"):
            return self._refuse(job, pipeline)
        verbs.retry(job.id)
        return job

    def _refuse(self, job: StockJob, pipeline: Pipeline | None) -> StockJob:
        """Into RQ's failed registry with a message, as the inbox does it."""
        self.log.error("%s: %s", self.name, task_store.REFUSAL)
        own = self.connection.pipeline() if pipeline is None else pipeline
        self._prepare_for_queue(job)
        record_job_failure(job, task_store.REFUSAL, own)
        if pipeline is None:
            own.execute()
        return job

    # Removing.

    def remove(self, job_or_id: StockJob | str, pipeline: Pipeline | None = None) -> Any:
        """Take a task out of the line, at once; its row is the caller's to change."""
        if not self.is_ours:
            return super().remove(job_or_id, pipeline)
        job_id = job_or_id.id if isinstance(job_or_id, StockJob) else job_or_id
        [[place]] = scripts.run(self.connection, [task_store.withdraw(self.name, [job_id])])
        return int(place.name == "removed")

    def empty(self) -> Any:
        """Cancel every waiting task; how many there were."""
        if not self.is_ours:
            return super().empty()  # type: ignore[no-untyped-call]
        ids = [as_text(job_id) for job_id in self.connection.lrange(self.key, 0, -1)]
        for job_id in ids:
            verbs.cancel(job_id)
        return len(ids)

    def delete(self, delete_jobs: bool = True) -> None:
        """Cancel every waiting task; the queue itself stays."""
        if not self.is_ours:
            super().delete(delete_jobs)
        elif delete_jobs:
            self.empty()

    def compact(self) -> None:
        """Nothing to do: the scripts skip ids without a job."""
        if not self.is_ours:
            super().compact()  # type: ignore[no-untyped-call]

    def pop_job_id(self) -> str | None:
        """Refused: only our worker takes tasks, with a lease."""
        self._only_stock([self])
        return super().pop_job_id()

    @classmethod
    def dequeue_any(cls, queues: Iterable[StockQueue], *args: Any, **kwargs: Any) -> Any:
        """Refused for our queues: only our worker takes tasks, with a lease."""
        queues = list(queues)
        cls._only_stock(queues)
        return super().dequeue_any(queues, *args, **kwargs)

    @staticmethod
    def _only_stock(queues: Sequence[StockQueue]) -> None:
        for queue in queues:
            if _is_ours(queue.name):
                raise InvalidJobOperation(
                    f"{queue.name} is served by plugspace_queue's worker: manage.py rqworker."
                )

    # Reading.

    def fetch_job(self, job_id: str) -> StockJob | None:
        """The job, or None; on a page also for one that cannot be read, so that others are seen."""
        try:
            return super().fetch_job(job_id)
        except reading.UNREADABLE:
            if not reading.is_page():
                raise
            self.log.warning("%s: job %s cannot be read", self.name, job_id, exc_info=True)
            return None

    def get_job_ids(self, offset: int = 0, length: int = -1) -> list[str]:
        """Waiting ids in the order in which they would start."""
        if not self.is_ours:
            return super().get_job_ids(offset, length)
        if length == 0:
            return []
        end = None if length < 0 else offset + length
        return service_order(self.connection, self.name)[offset:end]

    def get_job_position(self, job_or_id: StockJob | str) -> int | None:
        """How many start before it, by today's order; None when it does not wait."""
        if not self.is_ours:
            return super().get_job_position(job_or_id)
        job_id = job_or_id.id if isinstance(job_or_id, StockJob) else job_or_id
        order = service_order(self.connection, self.name)
        return order.index(job_id) if job_id in order else None


def _set_up() -> None:
    """Start Django for RQ's own command, which does not: our queues are those of declared types."""
    if not (apps.ready or apps.loading):
        django.setup()


def _is_ours(name: str) -> bool:
    return type_of_queue(name) is not None
