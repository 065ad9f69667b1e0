"""The worker processes, for their page and for the cards of the queues."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from plugspace_queue.broker import workers
from plugspace_queue.broker.workers import WorkerSeen
from plugspace_queue.dashboards.cache import TimedCache
from plugspace_queue.domain.catalog import type_of_queue
from plugspace_queue.errors import Unavailable
from plugspace_queue.limits import policies

SILENT_AFTER = timedelta(seconds=15)
"""A worker sends a heartbeat every second; after so long without one it counts as dead."""

SHOWN_RUNS = 20
"""Tasks of one worker that a page lists; the others are counted."""


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """One process, its slots, and the tasks that it runs."""

    name: str
    queues: tuple[str, ...]
    state: str
    hostname: str
    pid: str
    started_at: datetime | None
    silence: timedelta | None
    slots: int
    runs: tuple[tuple[str, str], ...]
    """Queue and task, the oldest first."""

    @property
    def is_alive(self) -> bool:
        return self.silence is not None and self.silence < SILENT_AFTER

    @property
    def uptime(self) -> float | None:
        """Seconds since its start."""
        return (timezone.now() - self.started_at).total_seconds() if self.started_at else None

    @property
    def silent_for(self) -> int:
        """Seconds since the last heartbeat."""
        return max(int(self.silence.total_seconds()), 0) if self.silence is not None else 0

    @property
    def label(self) -> str:
        """Its state for the badge."""
        return self.state if self.is_alive else "silent"

    @property
    def shown(self) -> tuple[tuple[str, str], ...]:
        return self.runs[:SHOWN_RUNS]

    @property
    def hidden(self) -> int:
        return max(len(self.runs) - SHOWN_RUNS, 0)


def all_workers() -> list[WorkerStatus]:
    """The workers of our queues, at most a second old. Raises Unavailable."""
    return _cache.get()


def all_or_none() -> list[WorkerStatus] | None:
    """The same; None without Redis."""
    try:
        return all_workers()
    except Unavailable:
        return None


def named(name: str) -> WorkerStatus | None:
    """One worker, or None when it is gone. Raises Unavailable."""
    return next((worker for worker in all_workers() if worker.name == name), None)


def clear_cache() -> None:
    """Make the next call read again."""
    _cache.clear()


def _read() -> list[WorkerStatus]:
    now = timezone.now()
    return [_status(worker, now) for worker in workers.workers()]


def _status(worker: WorkerSeen, now: datetime) -> WorkerStatus:
    types = [found for name in worker.queues if (found := type_of_queue(name)) is not None]
    return WorkerStatus(
        name=worker.name,
        queues=worker.queues,
        state=worker.state,
        hostname=worker.hostname,
        pid=worker.pid,
        started_at=worker.birth,
        silence=now - worker.heartbeat if worker.heartbeat else None,
        slots=sum(policies.queue_settings(task_type).concurrency for task_type in types),
        runs=worker.runs,
    )


_cache = TimedCache(_read)
