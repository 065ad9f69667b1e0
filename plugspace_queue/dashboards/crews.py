"""The worker processes as operators see them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from plugspace_queue.broker import workers
from plugspace_queue.broker.workers import WorkerSeen
from plugspace_queue.dashboards.shared import Shared
from plugspace_queue.domain.catalog import type_of_queue
from plugspace_queue.errors import Unavailable
from plugspace_queue.limits import policies

SILENT_AFTER = timedelta(seconds=15)
"""A worker speaks once a second; one that is silent for so long is not counted on."""

SHOWN_RUNS = 20
"""Tasks of one worker that a page names; the rest is a number."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """One process, its slots, and what it runs."""

    name: str
    queues: tuple[str, ...]
    state: str
    hostname: str
    pid: str
    born_at: datetime | None
    silence: timedelta | None
    slots: int
    runs: tuple[tuple[str, str], ...]
    """Queue and task, the oldest first."""

    @property
    def is_alive(self) -> bool:
        return self.silence is not None and self.silence < SILENT_AFTER

    @property
    def uptime(self) -> float | None:
        """Seconds since its birth."""
        return (timezone.now() - self.born_at).total_seconds() if self.born_at else None

    @property
    def silent_for(self) -> int:
        """Seconds since the last heartbeat."""
        return max(int(self.silence.total_seconds()), 0) if self.silence is not None else 0

    @property
    def word(self) -> str:
        """Its state for people."""
        return self.state if self.is_alive else "silent"

    @property
    def shown(self) -> tuple[tuple[str, str], ...]:
        return self.runs[:SHOWN_RUNS]

    @property
    def hidden(self) -> int:
        return max(len(self.runs) - SHOWN_RUNS, 0)


def seen() -> list[Crew]:
    """The workers of our queues as they were within the last second. Raises Unavailable."""
    return _shared.get()


def seen_or_none() -> list[Crew] | None:
    """The same; None without Redis."""
    try:
        return seen()
    except Unavailable:
        return None


def named(name: str) -> Crew | None:
    """One worker, or None when it is gone. Raises Unavailable."""
    return next((worker for worker in seen() if worker.name == name), None)


def forget() -> None:
    """Read anew when asked next."""
    _shared.forget()


def _read() -> list[Crew]:
    now = timezone.now()
    return [_crew(worker, now) for worker in workers.workers()]


def _crew(worker: WorkerSeen, now: datetime) -> Crew:
    kinds = [kind for name in worker.queues if (kind := type_of_queue(name)) is not None]
    return Crew(
        name=worker.name,
        queues=worker.queues,
        state=worker.state,
        hostname=worker.hostname,
        pid=worker.pid,
        born_at=worker.birth,
        silence=now - worker.heartbeat if worker.heartbeat else None,
        slots=sum(policies.queue_settings(kind).concurrency for kind in kinds),
        runs=worker.runs,
    )


_shared = Shared(_read)
