"""The last hour by the minute, from the samples that workers wrote: at most 366 rows."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from django.utils import timezone

from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import QueueMinute, tenancy_queries

SHOWN = timedelta(minutes=60)
MINUTE = timedelta(minutes=1)

Numbers = list[float | None]


def last_hour(now: datetime | None = None) -> dict[str, Any]:
    """Minutes as seconds since 1970, and per queue what completed, failed, and waited.

    A minute nobody wrote down has None, so that a chart shows a gap and not a zero.
    """
    now = now or timezone.now()
    end = now.replace(second=0, microsecond=0)
    minutes = [end - SHOWN + MINUTE * step for step in range(61)]
    rows = tenancy_queries.minutes_between(minutes[0], end)
    known = {(row.type, row.minute): row for row in rows}
    return {
        "minutes": [int(minute.timestamp()) for minute in minutes[:-1]],
        "queues": [_queue(kind, [known.get((kind, m)) for m in minutes]) for kind in TaskType],
    }


def _queue(kind: TaskType, rows: list[QueueMinute | None]) -> dict[str, Any]:
    """What happened between two samples belongs to the minute that the first one begins."""
    pairs = list(pairwise(rows))
    return {
        "type": kind.value,
        "completed": [_risen(a, b, "completed") for a, b in pairs],
        "failed": [_risen(a, b, "failed") for a, b in pairs],
        "waitMedian": [_seconds(b.wait_median if b else None) for _, b in pairs],
        "waitMost": [_seconds(b.wait_most if b else None) for _, b in pairs],
    }


def _risen(before: QueueMinute | None, after: QueueMinute | None, name: str) -> float | None:
    if before is None or after is None:
        return None
    return max(float(getattr(after, name) - getattr(before, name)), 0.0)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
