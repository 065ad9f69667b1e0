"""Writes down once a minute how the queues stand; whichever worker comes first does it."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.db.models import Max

from plugspace_queue.domain.enums import State, TaskType
from plugspace_queue.models import QueueMinute, QueueSettings, Task

MINUTE = timedelta(minutes=1)
KEPT = timedelta(days=2)
LOOKED_AT = 500
"""Tasks of a minute whose wait is looked at, whatever their number."""

Waits = dict[str, list[int]]


def sample(now: datetime) -> bool:
    """Write the rows of this minute; False when they are there."""
    minute = now.replace(second=0, microsecond=0)
    if QueueMinute.objects.filter(minute=minute).exists():
        return False
    waits = _waits(minute - MINUTE, minute)
    ended = {row.type: row for row in QueueSettings.objects.all()}
    rows = [_row(kind, minute, ended.get(kind), waits[kind]) for kind in TaskType]
    # Two workers may come at once: the row of the first stays.
    QueueMinute.objects.bulk_create(rows, ignore_conflicts=True)
    QueueMinute.objects.filter(minute__lt=now - KEPT).delete()
    return True


def _row(
    kind: TaskType, minute: datetime, queue: QueueSettings | None, waits: Sequence[int]
) -> QueueMinute:
    return QueueMinute(
        type=kind.value,
        minute=minute,
        completed=queue.completed if queue else 0,
        failed=queue.failed if queue else 0,
        wait_median=round(statistics.median(waits)) if waits else None,
        wait_most=percentile(waits, 95) if waits else None,
    )


def percentile(values: Iterable[int], share: int) -> int:
    """The value that `share` percent do not exceed (nearest rank).

    >>> percentile([1, 2, 3, 4], 95), percentile([5], 50)
    (4, 5)
    """
    ranked = sorted(values)
    return ranked[max(-(-len(ranked) * share // 100) - 1, 0)]


def _waits(start: datetime, end: datetime) -> Waits:
    """Ms from when a task could start to its start, by type; of those that needed one attempt.

    A step of a workflow could start when its last parent was complete. Reads the newest of the
    minute by index and no more.
    """
    ended = Task.objects.filter(
        state=State.COMPLETE, completed_at__gte=start, completed_at__lt=end
    ).order_by("-completed_at")
    newest = list(ended.values_list("pk", flat=True)[:LOOKED_AT])
    rows = Task.objects.filter(pk__in=newest, attempt_count=1, started_at__isnull=False)
    found: Waits = defaultdict(list)
    for kind, started, *reasons in rows.order_by().values_list(
        "type", "started_at", "queued_at", "wake_at", Max("parents__completed_at")
    ):
        due = max(moment for moment in reasons if moment is not None)
        found[kind].append(max(round((started - due).total_seconds() * 1000), 0))
    return found
