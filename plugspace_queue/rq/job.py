"""RQ's Job for our queues: its verbs on a task are the manager's. Other jobs are the project's."""

from collections.abc import Iterable, Mapping
from typing import Any

from redis import Redis
from redis.client import Pipeline
from rq.job import Job as StockJob
from rq.job import JobStatus, parse_job_id
from rq.serializers import JSONSerializer
from rq.utils import as_text

from plugspace_queue.broker import keys
from plugspace_queue.rq import reading, stock, verbs

FINAL = {JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED}


class Job(StockJob):
    """RQ['JOB_CLASS'] of a project that uses this package.

    `create`, `fetch` and `fetch_many` build one of `RQ["STOCK_JOB_CLASS"]` for a job whose queue
    is not ours: RQ's constructor does not get the queue.
    """

    organization_id: str | None = None
    """Of a task's job; None for any other."""

    @classmethod
    def create(cls, *args: Any, **kwargs: Any) -> StockJob:
        """A new job for the queue that `origin` names."""
        origin = kwargs.get("origin")
        if origin and not stock.is_ours(origin):
            made: StockJob = stock.class_of(stock.JOB).create(*args, **kwargs)
            return made
        return super().create(*args, **kwargs)

    @classmethod
    def fetch(cls, id: str, connection: Redis | None = None, serializer: Any = None) -> StockJob:
        """The job of an id. Raises NoSuchJobError."""
        if connection is None or stock.is_ours(cls._origins([id], connection)[0]):
            return super().fetch(id, connection=connection, serializer=serializer)
        found: StockJob = stock.class_of(stock.JOB).fetch(
            id, connection=connection, serializer=serializer
        )
        return found

    @classmethod
    def fetch_many(
        cls, job_ids: Iterable[str], connection: Redis, serializer: Any = None
    ) -> list[StockJob | None]:
        """The jobs of several ids; None for one that is not there."""
        ids = list(job_ids)
        kinds = [stock.is_ours(origin) for origin in cls._origins(ids, connection)]
        sources = {True: super().fetch_many, False: stock.class_of(stock.JOB).fetch_many}
        found = {}
        for kind in set(kinds):
            chosen = [job_id for job_id, of_kind in zip(ids, kinds, strict=True) if of_kind is kind]
            found[kind] = iter(sources[kind](chosen, connection, serializer))
        return [next(found[kind]) for kind in kinds]

    @classmethod
    def _origins(cls, job_ids: list[str], connection: Redis) -> list[str]:
        with connection.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hget(cls.key_for(parse_job_id(job_id)), "origin")
            return [as_text(origin) if origin else "" for origin in pipe.execute()]

    @property
    def is_task(self) -> bool:
        """Whether this job carries a task of ours."""
        return self.organization_id is not None

    def restore(self, raw_data: Mapping[Any, Any]) -> None:
        """Take over the hash from Redis; a task's data is JSON whatever the caller thinks."""
        organization = raw_data.get(b"psq_org", raw_data.get("psq_org"))
        self.organization_id = as_text(organization) if organization else None
        if self.is_task:
            self.serializer = reading.serializer(JSONSerializer)
        super().restore(raw_data)

    def cancel(self, *args: Any, **kwargs: Any) -> dict[str, list[str]]:
        """A task is cancelled by the manager; nothing depends on it in RQ."""
        if not self.is_task:
            return super().cancel(*args, **kwargs)
        verbs.cancel(self.id)
        return {}

    def requeue(self, at_front: bool = False) -> StockJob:
        """A task is retried by the manager."""
        if not self.is_task:
            return super().requeue(at_front=at_front)
        verbs.retry(self.id)
        return self

    def delete(
        self,
        pipeline: Pipeline | None = None,
        remove_from_queue: bool = True,
        delete_dependents: bool = False,
    ) -> None:
        """An ended task loses its place on RQ's pages, not its row; any other one is cancelled."""
        if self.is_task and self._fetch_status() not in FINAL:
            verbs.cancel(self.id)
            return
        super().delete(pipeline, remove_from_queue, delete_dependents)

    def get_position(self) -> int | None:
        """The place among all that wait, from 0, in no exact order for a task."""
        if not self.is_task:
            return super().get_position()
        place: Any = self.connection.lpos(keys.wait(self.origin), self.id)
        return None if place is None else int(place)

    def _remove_from_registries(
        self, pipeline: Pipeline | None = None, remove_from_queue: bool = True
    ) -> None:
        # The scripts alone take tasks out of the line; RQ's LREM would leave the lane behind.
        super()._remove_from_registries(pipeline, remove_from_queue and not self.is_task)
