"""The queues as cards of the dashboard: what waits, runs, fails, and which gate is near."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from plugspace_queue.broker import presence, queue_state, routing
from plugspace_queue.broker.queue_state import Gauge, Oldest
from plugspace_queue.dashboards import crews
from plugspace_queue.dashboards.crews import Crew
from plugspace_queue.dashboards.shared import Shared
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.limits import policies
from plugspace_queue.limits.policies import QueuePolicy
from plugspace_queue.models import QueueSettings, tenancy_queries

HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Card:
    """One queue as it stands."""

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
        """From so many starts on the limiter is about to hold the queue up."""
        return (self.policy.limiter_max or 0) * 0.8

    @property
    def note(self) -> str:
        """Why nothing starts although something waits, in words; empty when there is no reason."""
        gauge, policy = self.gauge, self.policy
        if self.trouble:
            return f"Stands: its data in Redis is damaged ({self.trouble}). See queue_reconcile."
        if policy.is_paused:
            return "Paused: nothing starts."
        if gauge is None or not gauge.waiting:
            return ""
        if not self.workers:
            return f"No worker: start manage.py rqworker {self.type.queue_name}."
        if policy.global_concurrency and gauge.active >= policy.global_concurrency:
            return "At its cap of running tasks."
        if policy.limiter_max and gauge.starts >= policy.limiter_max:
            return "The limiter is used up: starts go on as its window moves."
        return "All slots are taken." if gauge.active >= self.slots else ""


@dataclass(frozen=True, kw_only=True)
class Board:
    """All queues at one moment."""

    cards: list[Card]
    is_live: bool
    """Whether Redis answered."""
    at: datetime

    def card(self, kind: TaskType) -> Card:
        """The card of one queue."""
        return next(card for card in self.cards if card.type is kind)


def board() -> Board:
    """How all queues stand, as it was within the last second."""
    return _shared.get()


def forget() -> None:
    """Read anew when asked next."""
    _shared.forget()
    crews.forget()


def _read() -> Board:
    now = timezone.now()
    rows = tenancy_queries.queue_rows()
    before = _an_hour_ago(now)
    figures, seen = _figures(), crews.seen_or_none()
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
    seen: Sequence[Crew],
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


def _an_hour_ago(now: datetime) -> dict[str, int]:
    """Failures over the lifetime by then; of the first sample when there is none so old."""
    rows = tenancy_queries.minutes_after(now - HOUR)[: len(TaskType)]
    return {row.type: row.failed for row in reversed(rows)}


_shared = Shared(_read)
