"""What a verdict is made of: what was asked for, what the rows say, what ran, what is left."""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db.models import Q, Sum

from plugspace_queue.limits.quota import Account
from plugspace_queue.models import (
    Attempt,
    Dependency,
    MonthlyUsage,
    QueueSettings,
    Task,
    UsageEntry,
)
from tests.chaos import journal, leftovers
from tests.chaos.calls import REFUSED, Call
from tests.chaos.calls import read as read_calls
from tests.chaos.clocks import NO_CPU
from tests.chaos.faults import Injected
from tests.chaos.fleet import Departure

RETRY_NOTE = "retry by hand"
"""What `quotas` writes on a charge that is no submit's."""


@dataclass(frozen=True)
class Entries:
    """The ledger of one account: units reserved by submits, by retries, and refunded."""

    submitted: int = 0
    retried: int = 0
    refunded: int = 0


@dataclass(frozen=True)
class Life:
    """From when to when a worker process lived."""

    worker: str
    began: float
    ended: float = math.inf


@dataclass
class Evidence:
    """A run after its end."""

    calls: list[Call] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=dict)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    parents: dict[str, list[str]] = field(default_factory=dict)
    used: dict[Account, int] = field(default_factory=dict)
    ledger: dict[Account, Entries] = field(default_factory=dict)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    left: dict[str, Any] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)
    spans: list[journal.Span] = field(default_factory=list)
    injected: list[Injected] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)

    def submits(self) -> list[Call]:
        """Calls that make tasks."""
        return [call for call in self.calls if call.size]

    def retries(self) -> dict[str, int]:
        """How often each task may have been retried by hand: answers that got lost count too."""
        found: dict[str, int] = defaultdict(int)
        for call in self.calls:
            if call.verb == "retry" and call.answer != REFUSED:
                found[call.ids[0]] += 1
        return found


def gather(book: Path, lines: Path, told: dict[str, Any]) -> Evidence:
    """Read it all: the calls, the journal, the database, Redis, and what the run tells."""
    tasks = {str(task.pk): task for task in Task.objects.defer("input", "result", "context")}
    return Evidence(
        calls=read_calls(book),
        tasks=tasks,
        attempts=_attempts(),
        parents=_parents(),
        used={Account(*row[:3]): row[3] for row in _usage()},
        ledger=_ledger(),
        counts=_counts(),
        left=leftovers.in_redis(),
        stale=leftovers.stale_snapshots(tasks),
        spans=journal.read(lines, NO_CPU),
        injected=[Injected(**one) for one in told["injected"]],
        departures=[Departure(**one) for one in told["departures"]],
        lives=[Life(**one) for one in told["lives"]],
    )


def _attempts() -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in Attempt.objects.order_by("fence").defer("log"):
        found[str(attempt.task_id)].append(attempt)
    return dict(found)


def _parents() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for child, parent in Dependency.objects.values_list("task_id", "parent_id"):
        found[str(child)].append(str(parent))
    return dict(found)


def _usage() -> list[tuple[Any, ...]]:
    return list(MonthlyUsage.objects.values_list("organization_id", "type", "month", "used"))


def _ledger() -> dict[Account, Entries]:
    is_reserve = Q(reason=UsageEntry.Reason.RESERVE)
    is_retry = Q(note=RETRY_NOTE)
    accounts = UsageEntry.objects.order_by().values_list("organization_id", "type", "month")
    rows = accounts.annotate(
        submitted=Sum("units", filter=is_reserve & ~is_retry, default=0),
        retried=Sum("units", filter=is_reserve & is_retry, default=0),
        refunded=-Sum("units", filter=Q(reason=UsageEntry.Reason.REFUND), default=0),
    )
    return {Account(*row[:3]): Entries(*row[3:]) for row in rows}


def _counts() -> dict[str, tuple[int, int]]:
    rows = QueueSettings.objects.values_list("type", "completed", "failed")
    return {kind: (completed, failed) for kind, completed, failed in rows}
