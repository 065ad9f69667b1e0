"""The worker class of `manage.py rqworker`: ours for our queues, the project's for every other.

From RQ it keeps birth and death, heartbeats, commands over pub/sub and suspension; the loop is
the runtime's.
"""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError
from redis.retry import Retry
from rq import Worker as StockWorker
from rq import worker_registration
from rq.command import parse_payload
from rq.defaults import DEFAULT_LOGGING_DATE_FORMAT, DEFAULT_LOGGING_FORMAT
from rq.suspension import WORKERS_SUSPENDED
from rq.utils import as_text, ensure_job_list
from rq.worker import WorkerStatus
from rq.worker.base import BaseWorker, DequeueStrategy

from plugspace_queue.conf import get_settings
from plugspace_queue.domain.catalog import type_of_queue
from plugspace_queue.processing.registry import load_processors
from plugspace_queue.rq import stock
from plugspace_queue.rq.queue import Queue
from plugspace_queue.worker import lifeline, starting
from plugspace_queue.worker.executors import forkserver
from plugspace_queue.worker.executors.base import exit_despite_threads
from plugspace_queue.worker.fetcher import Limits
from plugspace_queue.worker.runtime import WorkerRuntime
from plugspace_queue.worker.starting import Start

logger = logging.getLogger("plugspace_queue.worker")

RQ_TIMEOUT = 5.0
"""Seconds that RQ's bookkeeping waits for an answer: nothing of it blocks on the server."""


class QueueWorker(StockWorker):
    """Runs many tasks at once for our queues.

    With queues that are not ours it builds one of `RQ["STOCK_WORKER_CLASS"]`; with both kinds it
    raises ImproperlyConfigured.
    """

    def __new__(cls, queues: Any = (), *args: Any, **kwargs: Any) -> Any:
        names = stock.names_of(queues)
        if reason := stock.mixed(names):
            raise ImproperlyConfigured(reason)
        if not names or stock.is_ours(names[0]):
            return super().__new__(cls)
        if "job_class" in kwargs:
            kwargs["job_class"] = stock.job_class(kwargs["job_class"])
        kwargs["serializer"] = stock.serializer(kwargs.get("serializer"), names[0])
        return stock.class_of(stock.WORKER)(queues, *args, **kwargs)

    @classmethod
    def find_by_key(
        cls, worker_key: str, connection: Redis, *args: Any, **kwargs: Any
    ) -> BaseWorker | None:
        """The worker of a key in Redis, as its class shows it."""
        names = as_text(connection.hget(worker_key, "queues") or b"").split(",")
        if stock.is_ours(names[0]):
            return super().find_by_key(worker_key, connection, *args, **kwargs)
        of_host = stock.class_of(stock.WORKER)
        found: BaseWorker | None = of_host.find_by_key(worker_key, connection, *args, **kwargs)
        return found

    def __init__(self, queues: Any, *args: Any, **kwargs: Any) -> None:
        self.runtime: WorkerRuntime | None = None
        self._start: Start | None = None
        self._is_suspended = False
        queues = [_ours(queue, kwargs.get("connection")) for queue in ensure_job_list(queues)]
        kwargs["queue_class"] = Queue
        # The command passes pickle; our jobs are JSON and their data is never loaded.
        kwargs["serializer"] = "rq.serializers.JSONSerializer"
        super().__init__(queues, *args, **kwargs)

    def work(
        self,
        burst: bool = False,
        logging_level: str | None = None,
        date_format: str = DEFAULT_LOGGING_DATE_FORMAT,
        log_format: str = DEFAULT_LOGGING_FORMAT,
        max_jobs: int | None = None,
        max_idle_time: int | None = None,
        with_scheduler: bool = False,
        dequeue_strategy: DequeueStrategy = DequeueStrategy.DEFAULT,
    ) -> bool:
        """Work until stopped (RQ's signature); whether anything was done.

        Our queues need no scheduler and have an order of their own: the last two count for nothing.
        """
        load_processors()
        limits = Limits(burst=burst, max_jobs=max_jobs, max_idle_time=max_idle_time)
        if not self._begins(
            limits, partial(self.bootstrap, logging_level, date_format, log_format)
        ):
            return False
        assert self.runtime is not None
        _freeze_objects()
        exit_code = 1
        try:
            self._look_at_suspension(burst)
            has_worked = self.runtime.work() > 0
            exit_code = 0
            return has_worked
        finally:
            self._teardown_ours()
            exit_despite_threads(exit_code)

    def _begins(self, limits: Limits, bootstrap: Callable[[], None]) -> bool:
        """Wait for the database and Redis; False when a signal stops the worker meanwhile.

        Ends the process with 1 when a burst waited in vain.
        """
        self._start = Start(get_settings().start_patience, is_burst=limits.burst)
        # Installed before the registration, so that a registered worker always stops cleanly.
        self._install_signal_handlers()  # type: ignore[no-untyped-call]
        starting.ignore_signals_at_exit()
        kinds = [str(type_of_queue(name)) for name in self.queue_names()]
        try:
            # Before any thread, and before anything is taken.
            forkserver.start()
            lifeline.watch(self._end_without_pool)
            self._start.until("the database", partial(starting.require_database, kinds))
            self._start.until("Redis", partial(self._sign_on, bootstrap))
            self.runtime = self._start.until("the database", partial(self._make_runtime, limits))
            return True
        except starting.StopRequested:
            self._teardown_ours()
            return False
        except starting.GaveUp as error:
            logger.error("%s", error)
            self._teardown_ours()
            starting.failures.record()
            sys.exit(1)

    def _sign_on(self, bootstrap: Callable[[], None]) -> None:
        """Register this worker with RQ and subscribe to its commands."""
        super()._set_ip_address(self.connection)
        try:
            bootstrap()
        except OutOfMemoryError as error:
            if self._start is None or not self._start.goes_without:
                raise
            # Working frees memory in Redis; the heartbeat registers this worker later.
            logger.warning("begins without registration, to make room in Redis: %s", error)
            self.subscribe()  # type: ignore[no-untyped-call]

    def register_birth(self) -> None:
        """As in RQ; once more when the answer to the first time got lost."""
        if self.birth_date is not None and self._is_registered():
            self._register_again()
        else:
            super().register_birth()  # type: ignore[no-untyped-call]

    def _is_registered(self) -> bool:
        registered = self.connection.hmget(self.key, "pid", "hostname")
        return bool(registered == [str(self.pid).encode(), str(self.hostname).encode()])

    def _set_ip_address(self, connection: Redis) -> None:
        """Asks the server only when it starts to work, where it can wait for it."""
        self.ip_address = "unknown"

    def _make_runtime(self, limits: Limits) -> WorkerRuntime:
        return WorkerRuntime(
            self.name,
            self.queue_names(),
            limits=limits,
            heartbeat=self._beat,
            is_suspended=lambda: self._is_suspended,
        )

    def _set_connection(self, connection: Redis) -> Redis:
        """RQ would wait seven minutes for a server that froze, also at the end of the process."""
        connection.connection_pool.connection_kwargs.update(
            socket_timeout=RQ_TIMEOUT, retry=Retry(NoBackoff(), 0)
        )
        return connection

    def _look_at_suspension(self, burst: bool) -> None:
        """Before the first heartbeat, so that a new worker takes nothing either."""
        assert self.runtime is not None
        try:
            self._is_suspended = self._ask_whether_suspended()
        except RedisError:
            # Until a heartbeat reads the real value.
            self._is_suspended = True
            return
        if self._is_suspended:
            self.log.info("Worker %s: all workers are suspended; it takes nothing", self.name)
            if burst:
                # As RQ's own worker: a burst ends instead of waiting to be resumed.
                self.runtime.stop()

    def _ask_whether_suspended(self) -> bool:
        """RQ's `is_suspended` as a plain read, which a server with a full memory answers.

        RQ asks inside MULTI, where redis-server refuses every command while its memory is full: the
        worker would take nothing, and nothing would free memory.
        """
        return bool(self.connection.exists(WORKERS_SUSPENDED))

    def _end_without_pool(self) -> None:
        """Stop this worker, as its pool's process was killed and cannot (called in a thread).

        As by SIGTERM, and within two leases.
        """
        self.log.error("Worker %s: the process of its pool has died; it hands back", self.name)
        if self.runtime is not None:
            self.runtime.shorten_grace(get_settings().lease)
        os.kill(os.getpid(), signal.SIGTERM)

    def _beat(self) -> None:
        """Called once a second by a thread of its own: RQ's heartbeat, state and suspension."""
        assert self.runtime is not None
        self._is_suspended = self._ask_whether_suspended()
        busy = WorkerStatus.BUSY if self.runtime.table.all() else WorkerStatus.IDLE
        with self.connection.pipeline() as pipe:
            pipe.hexists(self.key, "birth")
            self.heartbeat(pipeline=pipe)
            self.set_state(WorkerStatus.SUSPENDED if self._is_suspended else busy, pipe)
            is_known, *_ = pipe.execute()
        if not is_known:
            self._register_again()

    def _register_again(self) -> None:
        """Register again after a data loss of the server or a late heartbeat."""
        with self.connection.pipeline() as pipe:
            pipe.hset(self.key, mapping=self.serialize())
            worker_registration.register(self, pipe)
            pipe.execute()

    def _teardown_ours(self) -> None:
        if self.birth_date is None:
            return
        try:
            self.teardown()  # type: ignore[no-untyped-call]
        except RedisError as error:
            self.log.warning("Worker %s: could not sign off: %s", self.name, error)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM, SIGINT: warm stop; once more, later than a second: cold."""
        if self.runtime is not None:
            self.runtime.stop()
        elif self._start is not None:
            self._start.stop()
        else:
            super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def handle_payload(self, message: dict[str, Any]) -> None:
        """Commands over pub/sub: stop-job and shutdown mean ours."""
        if self.runtime is None:
            super().handle_payload(message)  # type: ignore[no-untyped-call]
            return
        payload = parse_payload(message)
        if payload["command"] in ("stop-job", "stop-execution"):
            self.runtime.stop_task(str(payload.get("job_id", "")))
        elif payload["command"] == "shutdown":
            os.kill(os.getpid(), signal.SIGINT)


Worker = QueueWorker
"""The name in settings and on command lines."""


def _freeze_objects() -> None:
    """Exclude all objects loaded so far from garbage collection, as they are never freed.

    Measured at 50 slots: about 7 % more no-op tasks per second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _ours(queue: Any, connection: Any) -> Queue:
    """The queue as our class: `rqworker-pool` hands over names or stock queues."""
    if isinstance(queue, Queue):
        return queue
    name = str(getattr(queue, "name", queue))
    return Queue(name, connection=getattr(queue, "connection", connection))
