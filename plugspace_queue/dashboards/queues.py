"""The queues on the dashboard: their cards, and the last hour by the minute for the charts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from plugspace_queue.broker import presence, queue_state, routing
from plugspace_queue.broker.queue_state import Gauge, Oldest
from plugspace_queue.dashboards import workers
from plugspace_queue.dashboards.cache import TimedCache
from plugspace_queue.dashboards.workers import WorkerStatus
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.limits import policies
from plugspace_queue.limits.policies import QueuePolicy
from plugspace_queue.models import QueueMinute, QueueSettings, tenancy_queries

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Card:
    """The state of one queue."""

    policy: QueuePolicy
    completed: int
    failed: int
    failed_lately: int
    """Within the last hour, or since the first sample."""
    paused_since: datetime | None
    gauge: Gauge | None
    """None while Redis is away."""
    workers: int
    slots: int
    trouble: str = ""
    """Why no worker can work on it, when its data in Redis is damaged."""

    @property
    def type(self) -> TaskType:
        return self.policy.type

    @property
    def oldest(self) -> Sequence[Oldest]:
        return self.gauge.oldest if self.gauge else ()

    @property
    def bands(self) -> list[tuple[int, int]]:
        """Priority and how many wait in it."""
        return list(enumerate(self.gauge.bands)) if self.gauge else []

    @property
    def near_limit(self) -> float:
        """From so many starts on, the limiter is close to its limit."""
        return (self.policy.limiter_max or 0) * 0.8

    @property
    def note(self) -> str:
        """Why nothing starts although something waits, in words; empty when there is no reason."""
        gauge, policy = self.gauge, self.policy
        if self.trouble:
            text = _("Stopped: its data in Redis is damaged (%(error)s). Run queue_reconcile.")
            return text % {"error": self.trouble}
        if policy.is_paused:
            return _("Paused: nothing starts.")
        if gauge is None or not gauge.waiting:
            return ""
        if not self.workers:
            text = _("No worker is running: start manage.py rqworker %(queue)s.")
            return text % {"queue": self.type.queue_name}
        if policy.global_concurrency and gauge.active >= policy.global_concurrency:
            return _("The cap of running tasks is reached.")
        if policy.limiter_max and gauge.starts >= policy.limiter_max:
            return _("The limiter is exhausted: starts continue when its window moves.")
        return _("All slots are in use.") if gauge.active >= self.slots else ""


@dataclass(frozen=True, kw_only=True)
class Board:
    """All queues at one moment."""

    cards: list[Card]
    is_live: bool
    """Whether Redis answered."""
    at: datetime

    def card(self, task_type: TaskType) -> Card:
        """The card of one queue."""
        return next(card for card in self.cards if card.type is task_type)


def board() -> Board:
    """The state of all queues, at most a second old."""
    return _cache.get()


def clear_cache() -> None:
    """Make the next call read again."""
    _cache.clear()
    workers.clear_cache()


def last_hour(now: datetime | None = None) -> dict[str, Any]:
    """Minutes as seconds since 1970, and per queue what completed, failed, and waited.

    From the samples that workers wrote, at most 366 rows. A minute without a sample has None, so
    that a chart shows a gap and not a zero.
    """
    end = (now or timezone.now()).replace(second=0, microsecond=0)
    minutes = [end - HOUR + MINUTE * step for step in range(61)]
    rows = tenancy_queries.minutes_between(minutes[0], end)
    known = {(row.type, row.minute): row for row in rows}
    return {
        "minutes": [int(minute.timestamp()) for minute in minutes[:-1]],
        "queues": [_series(kind, [known.get((kind, m)) for m in minutes]) for kind in TaskType],
    }


def _read() -> Board:
    now = timezone.now()
    rows = tenancy_queries.queue_rows()
    before = _failed_an_hour_ago(now)
    figures, seen = _figures(), workers.all_or_none()
    is_live = bool(figures) and seen is not None
    troubles = presence.troubles() if figures else {}
    cards = [
        _card(
            rows.get(kind) or QueueSettings(type=kind),
            before.get(kind),
            figures.get(kind.queue_name),
            seen or [],
            troubles.get(kind.queue_name, ""),
        )
        for kind in TaskType
    ]
    return Board(cards=cards, is_live=is_live, at=now)


def _card(
    row: QueueSettings,
    failed_before: int | None,
    gauge: Gauge | None,
    seen: Sequence[WorkerStatus],
    trouble: str,
) -> Card:
    policy = policies.in_force(row)
    alive = [w for w in seen if w.is_alive and policy.type.queue_name in w.queues]
    return Card(
        policy=policy,
        completed=row.completed,
        failed=row.failed,
        failed_lately=0 if failed_before is None else row.failed - failed_before,
        paused_since=row.paused_at,
        gauge=gauge,
        workers=len(alive),
        slots=len(alive) * policy.concurrency,
        trouble=trouble,
    )


def _figures() -> Mapping[str, Gauge]:
    """Of each queue; without those whose server is away or whose data is damaged."""
    return routing.ask_each(
        {kind.queue_name: queue_state.gauge(kind.queue_name) for kind in TaskType}
    )


def _failed_an_hour_ago(now: datetime) -> dict[str, int]:
    """Failures over the lifetime by then; of the first sample when there is none so old."""
    rows = tenancy_queries.minutes_after(now - HOUR)[: len(TaskType)]
    return {row.type: row.failed for row in reversed(rows)}


def _series(task_type: TaskType, rows: list[QueueMinute | None]) -> dict[str, Any]:
    """What happened between two samples belongs to the minute that the first one begins."""
    pairs = list(pairwise(rows))
    return {
        "type": task_type.value,
        "completed": [_increase(a, b, "completed") for a, b in pairs],
        "failed": [_increase(a, b, "failed") for a, b in pairs],
        "waitMedian": [_seconds(b.wait_median if b else None) for _, b in pairs],
        "waitMost": [_seconds(b.wait_most if b else None) for _, b in pairs],
    }


def _increase(before: QueueMinute | None, after: QueueMinute | None, name: str) -> float | None:
    if before is None or after is None:
        return None
    return max(float(getattr(after, name) - getattr(before, name)), 0.0)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


_cache = TimedCache(_read)
