"""Stores statistics of each queue once a minute; the first worker of the minute does it."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import QueueMinute, QueueSettings, task_queries, tenancy_queries

MINUTE = timedelta(minutes=1)
KEPT = timedelta(days=2)
WAITS = 500
"""Most tasks of a minute whose wait is read."""

Waits = dict[str, list[int]]


def sample(now: datetime) -> bool:
    """Write the rows of this minute; False when they exist already."""
    minute = now.replace(second=0, microsecond=0)
    if tenancy_queries.has_minute(minute):
        return False
    waits = _waits(minute - MINUTE, minute)
    ended = tenancy_queries.queue_rows()
    rows = [_row(kind, minute, ended.get(kind), waits[kind]) for kind in TaskType]
    tenancy_queries.keep_minutes(rows, now - KEPT)
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
    """Ms from when a task could start to its start, by type, for tasks with one attempt.

    A step of a workflow could start when its last parent was complete. Only the newest tasks of
    the minute are read, by index.
    """
    ended = task_queries.ended_within(State.COMPLETE, start, end)
    newest = list(ended.values_list("pk", flat=True)[:WAITS])
    found: Waits = defaultdict(list)
    for kind, started, *reasons in task_queries.waits_of(newest):
        due = max(moment for moment in reasons if moment is not None)
        found[kind].append(max(round((started - due).total_seconds() * 1000), 0))
    return found
