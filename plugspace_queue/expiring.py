"""Tasks whose ttl ran out before their first start: withdrawn, expired, refunded."""

from datetime import datetime

from plugspace_queue import ending
from plugspace_queue.engine import scripts, store
from plugspace_queue.engine.connection import client
from plugspace_queue.models import QueueSettings, Task
from plugspace_queue.rules import lifecycle
from plugspace_queue.types import State, TaskType

BATCH = 500
"""Most tasks of one round; the next round takes the rest."""


def expire_due(now: datetime) -> int:
    """End what waited longer than its ttl; how many ended.

    While a queue or an organization is paused its tasks do not expire: time stands still.
    Raises Unavailable when Redis does not answer; then nothing was written.
    """
    return sum(_expire_queue(kind, now) for kind in _running_types())


def _running_types() -> list[TaskType]:
    paused = set(QueueSettings.objects.filter(is_paused=True).values_list("type", flat=True))
    return [kind for kind in TaskType if kind not in paused]


def _expire_queue(kind: TaskType, now: datetime) -> int:
    due = list(
        Task.objects.filter(
            type=kind,
            deadline__lte=now,
            state__in=sorted(lifecycle.STARTABLE),
            organization__is_paused=False,
        ).order_by("deadline")[:BATCH]
    )
    if not due:
        return 0
    # Leaving the line wins in Redis before it is written: what runs by now does not expire.
    withdrawal = store.withdraw(kind.queue_name, [str(task.pk) for task in due])
    (places,) = scripts.run(client(kind.queue_name), [withdrawal])
    pairs = zip(due, places, strict=True)
    return sum(_expire(task, now) for task, place in pairs if place.name != "running")


def _expire(task: Task, now: datetime) -> bool:
    return ending.end(task, State.EXPIRED, now, "EXPIRED", ending.expired_message(task))
