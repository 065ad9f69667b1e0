"""Statistics of the queues: waiting tasks from rows, running ones from Redis, ended from counters.

Counting reads every waiting row, so pages that many users may open share one count.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count

from plugspace_queue.broker import routing, task_store
from plugspace_queue.broker.types import Counts
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import QueueSettings, Task
from plugspace_queue.services import arguments, organization_stats

FRESH_FOR = 1.0
"""Seconds for which pages use a count again."""

_DELAYED = (State.SCHEDULED, State.RETRYING)

Held = dict[tuple[str, str], int]

_lock = threading.Lock()
_counted_at = float("-inf")
_counted: Held = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueStats:
    """The numbers of one queue; completed and failed count over its lifetime."""

    type: TaskType
    waiting: int
    active: int | None
    """None when the queue's data in Redis is damaged."""
    completed: int
    failed: int
    delayed: int


def queue_stats(task_type: object = None, *, max_age: float = 0.0) -> list[QueueStats]:
    """Statistics per queue, or of one type; waiting tasks were counted at most `max_age` s ago.

    Raises ValidationRefused, Unavailable.
    """
    kinds = list(TaskType) if task_type is None else [arguments.task_type(task_type)]
    held = _recent(max_age) if max_age > 0 else _held(kinds)
    ended = {row.type: row for row in QueueSettings.objects.filter(type__in=kinds)}
    counts = routing.ask_undamaged({k.queue_name: task_store.counts(k.queue_name) for k in kinds})
    return [
        QueueStats(
            type=kind,
            waiting=held.get((kind, State.WAITING), 0),
            active=_active(counts[kind.queue_name]),
            completed=ended[kind].completed if kind in ended else 0,
            failed=ended[kind].failed if kind in ended else 0,
            delayed=sum(held.get((kind, state), 0) for state in _DELAYED),
        )
        for kind in kinds
    ]


def _active(counts: Counts | None) -> int | None:
    return None if counts is None else counts.active


def clear_cache() -> None:
    """Make the next call count again, for organizations too."""
    global _counted_at
    organization_stats.clear_cache()
    with _lock:
        _counted_at = float("-inf")


def _recent(max_age: float) -> Held:
    """The shared count; callers that ask while it is made wait for it."""
    global _counted, _counted_at
    with _lock:
        now = time.monotonic()
        if now - _counted_at > max_age:
            _counted, _counted_at = _held(list(TaskType)), now
        return _counted


def _held(kinds: Sequence[TaskType]) -> Held:
    rows = Task.objects.filter(type__in=kinds, state__in=[State.WAITING, *_DELAYED])
    counted = rows.order_by().values_list("type", "state").annotate(count=Count("pk"))
    return {(kind, state): count for kind, state, count in counted}
