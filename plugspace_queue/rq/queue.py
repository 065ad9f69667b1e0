"""RQ's Queue for our queues: shows RQ's pages and commands the tasks that wait, in order.

Tasks come in through the queue manager and go out through the worker's scripts; what RQ's own code
enqueues here is refused. For any other name a call of the class builds the project's own queue.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

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

from plugspace_queue import embedded_redis
from plugspace_queue.broker import keys, scripts, task_store
from plugspace_queue.broker.connection import heal
from plugspace_queue.broker.fair_order import service_order
from plugspace_queue.domain.catalog import queue_names
from plugspace_queue.errors import translated as _
from plugspace_queue.rq import reading, stock, verbs


class Queue(DjangoRQ):
    """QUEUE_CLASS of our six entries in RQ_QUEUES, and of `RQ`, which the pages of django-rq ask.

    With the name of a queue that is not ours it builds one of `RQ["STOCK_QUEUE_CLASS"]`.
    """

    def __new__(cls, name: str = "default", *args: Any, **kwargs: Any) -> Any:
        if stock.is_ours(name):
            return super().__new__(cls)
        if "job_class" in kwargs:
            kwargs["job_class"] = stock.job_class(kwargs["job_class"])
        made = stock.class_of(stock.QUEUE)(name, *args, **kwargs)
        _start_with(made.connection)
        return made

    @classmethod
    def all(cls, connection: Redis, *args: Any, **kwargs: Any) -> list[StockQueue]:
        """Our six, and the stock ones that RQ knows."""
        stock.set_up()
        known = super().all(connection, *args, **kwargs)
        others = [queue for queue in known if not stock.is_ours(queue.name)]
        return [cls(name, connection=connection) for name in queue_names()] + others

    @classmethod
    def from_queue_key(
        cls, queue_key: str, connection: Redis, *args: Any, **kwargs: Any
    ) -> StockQueue:
        """The queue of a key; `plugspace:code:wait` and `rq:queue:code` are the same one."""
        stock.set_up()
        name = next((name for name in queue_names() if queue_key == keys.wait(name)), None)
        if name is not None:
            return cls(name, connection=connection)
        return super().from_queue_key(queue_key, connection, *args, **kwargs)

    def __init__(self, name: str = "default", *args: Any, **kwargs: Any) -> None:
        init: Callable[..., None] = super().__init__
        init(name, *args, **kwargs)
        heal(self.connection)
        self._key = keys.wait(name)
        # rqworker passes pickle along; our jobs are JSON.
        self.serializer = reading.serializer(JSONSerializer)

    @property
    def inbox_key(self) -> str:
        """Where RQ's own code pushes ids; the scripts adopt or refuse them."""
        return f"{RQ_KEY_PREFIX}:queue:{self.name}"

    # Enqueueing.

    def enqueue_job(self, job: StockJob, *args: Any, **kwargs: Any) -> StockJob:
        """A task is retried, anything else refused."""
        return self._retry_or_refuse(job, kwargs.get("pipeline"))

    def enqueue_many(
        self,
        job_datas: Iterable[EnqueueData],
        pipeline: Pipeline | None = None,
        group_id: str | None = None,
    ) -> list[StockJob]:
        """All are refused."""
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
        return self._refuse(job, pipeline)

    def _enqueue_job(
        self,
        job: StockJob,
        pipeline: Pipeline | None = None,
        at_front: bool = False,
        unique: bool = False,
    ) -> StockJob:
        return self._retry_or_refuse(job, pipeline)

    def _enqueue_rate_limited_job(self, job: StockJob, *args: Any, **kwargs: Any) -> StockJob:
        return self._refuse(job, kwargs.get("pipeline"))

    def push_job_id(
        self, job_id: str, pipeline: Pipeline | None = None, at_front: bool = False
    ) -> None:
        """Into the inbox: a worker sees within a second whether it is a task."""
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
        job_id = job_or_id.id if isinstance(job_or_id, StockJob) else job_or_id
        [[place]] = scripts.run(self.connection, [task_store.withdraw(self.name, [job_id])])
        return int(place.name == "removed")

    def empty(self) -> Any:
        """Cancel every waiting task; how many there were."""
        ids = [as_text(job_id) for job_id in self.connection.lrange(self.key, 0, -1)]
        for job_id in ids:
            verbs.cancel(job_id)
        return len(ids)

    def delete(self, delete_jobs: bool = True) -> None:
        """Cancel every waiting task; the queue itself stays."""
        if delete_jobs:
            self.empty()

    def compact(self) -> None:
        """Nothing to do: the scripts skip ids without a job."""

    def pop_job_id(self) -> str | None:
        """Refused: only our worker takes tasks, with a lease."""
        raise _not_by_rq(self.name)

    @classmethod
    def dequeue_any(cls, queues: Iterable[StockQueue], *args: Any, **kwargs: Any) -> Any:
        """Refused for our queues: only our worker takes tasks, with a lease."""
        queues = list(queues)
        ours = next((queue.name for queue in queues if stock.is_ours(queue.name)), None)
        if ours is not None:
            raise _not_by_rq(ours)
        return stock.class_of(stock.QUEUE).dequeue_any(queues, *args, **kwargs)

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
        if length == 0:
            return []
        end = None if length < 0 else offset + length
        return service_order(self.connection, self.name)[offset:end]

    def get_job_position(self, job_or_id: StockJob | str) -> int | None:
        """How many start before it, by today's order; None when it does not wait."""
        job_id = job_or_id.id if isinstance(job_or_id, StockJob) else job_or_id
        order = service_order(self.connection, self.name)
        return order.index(job_id) if job_id in order else None


def _not_by_rq(name: str) -> InvalidJobOperation:
    return InvalidJobOperation(
        _(
            "%(name)s is served by plugspace_queue's worker: manage.py rqworker, with"
            " its WORKER_CLASS."
        )
        % {"name": name}
    )


def _start_with(connection: Redis) -> None:
    """Let a queue of the project on the embedded server start it, as ours do."""
    path = connection.connection_pool.connection_kwargs.get("path")
    if path is not None and path == embedded_redis.socket_path():
        heal(connection)
