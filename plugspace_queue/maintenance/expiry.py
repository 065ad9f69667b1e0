"""What rows ask for and nobody has done: tasks that expired, are to be cancelled, or hang.

Every worker sweeps every few seconds; doing it twice does no harm.
"""

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from django.db import OperationalError, transaction
from django.db.models import Exists, OuterRef, QuerySet

from plugspace_queue.broker import routing, scripts, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.conf import get_settings
from plugspace_queue.db.transactions import is_locked, lock_timeout
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State, TaskType
from plugspace_queue.limits import quota
from plugspace_queue.maintenance.relay import RowCursor
from plugspace_queue.models import Dependency, QueueSettings, Task
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.services import termination

BATCH = 500
"""Most tasks of one sweep of one queue; the next sweep takes the rest."""

LOOKED_AT = 5000
"""Blocked tasks of one look: mostly there is nothing to find among very many."""

STARTABLE = sorted(lifecycle.STARTABLE)

FAILED = sorted(lifecycle.FINAL - {State.COMPLETE})

_blocked = RowCursor([State.BLOCKED])


def expire_due(now: datetime) -> int:
    """End what waited longer than its ttl; how many ended.

    While a queue or an organization is paused its tasks do not expire: time stands still.
    Raises Unavailable when Redis does not answer; then nothing was written.
    """
    paused = QueueSettings.objects.filter(is_paused=True).values("type")
    due = Task.objects.filter(deadline__lte=now, organization__is_paused=False)
    rows = due.exclude(type__in=paused).order_by("deadline")

    def expire(task: Task) -> bool:
        return termination.end(
            task, State.EXPIRED, now, "EXPIRED", termination.expired_message(task)
        )

    return _end_waiting(rows, expire)


def finish_cancels(now: datetime) -> int:
    """End waiting tasks whose cancellation was asked for and not finished; how many ended."""
    rows = Task.objects.filter(cancel_requested_at__isnull=False).order_by("cancel_requested_at")

    def cancel(task: Task) -> bool:
        return termination.end(task, State.CANCELLED, now, "CANCELLED", "The task was cancelled.")

    return _end_waiting(rows, cancel)


def free_blocked(now: datetime, rotation: RowCursor = _blocked) -> int:
    """Settle blocked tasks whose parents have ended without telling them; how many.

    It looks at a slice of them, the next time at the next one.
    """
    looked_at = [row.pk for row in rotation.next_slice(LOOKED_AT)]
    if not looked_at:
        return 0
    with lock_timeout():
        return settle_blocked(looked_at, now)


def settle_blocked(task_ids: Sequence[uuid.UUID], now: datetime) -> int:
    """Cancel or release those of these whose parents have ended; how many."""
    cancelled = termination.cascade(_failed_parents(task_ids), now)
    return len(cancelled) + _release(list(hanging_among(task_ids)), now)


def hanging_among(task_ids: Sequence[uuid.UUID]) -> QuerySet[Task, uuid.UUID]:
    """Ids of those of these that are blocked although all their parents completed."""
    # One look by index per task: PostgreSQL plans `NOT IN` as a scan for each of them.
    open_links = Dependency.objects.filter(task=OuterRef("pk")).exclude(
        parent__state=State.COMPLETE
    )
    blocked = Task.objects.filter(pk__in=task_ids, state=State.BLOCKED)
    return blocked.filter(~Exists(open_links)).values_list("pk", flat=True)[:BATCH]


def orphaned_among(task_ids: Sequence[uuid.UUID]) -> QuerySet[Task, uuid.UUID]:
    """Ids of those of these that are blocked although a parent will not complete."""
    links = Dependency.objects.filter(task=OuterRef("pk"), parent__state__in=FAILED)
    blocked = Task.objects.filter(pk__in=task_ids, state=State.BLOCKED)
    return blocked.filter(Exists(links)).values_list("pk", flat=True)[:BATCH]


def _failed_parents(task_ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    links = Dependency.objects.filter(task__in=task_ids, parent__state__in=FAILED)
    return list(links.values_list("parent_id", flat=True).distinct()[:BATCH])


def refund_owed(now: datetime) -> int:
    """Refund system failures of the last day that were recorded but not refunded; how many."""
    owed = Task.objects.filter(
        state=State.FAILED,
        completed_at__gte=now - timedelta(days=1),
        refunded_at__isnull=True,
        error__code__in=get_settings().refund_on,
    ).exclude(charged_month="")
    tasks = list(owed[:BATCH])
    if tasks:
        with lock_timeout():
            quota.refund(tasks, now, note="system failure")
    return len(tasks)


def _release(hanging: Sequence[uuid.UUID], now: datetime) -> int:
    if not hanging:
        return 0
    with transaction.atomic():
        released = termination.release(hanging, now)
        publishing.publish_ids_on_commit(released)
    return len(released)


def _end_waiting(rows: QuerySet[Task], end: Callable[[Task], bool]) -> int:
    others, ended = routing.PerServerErrors(), 0
    for kind in TaskType:
        with others.at_one():
            ended += _end_in_queue(kind, rows.filter(type=kind), end)
    others.tell()
    return ended


def _end_in_queue(kind: TaskType, rows: QuerySet[Task], end: Callable[[Task], bool]) -> int:
    tasks = list(rows.filter(state__in=STARTABLE)[:BATCH])
    if not tasks:
        return 0
    # Leaving the line wins in Redis before it is written: what runs by now is not ended here.
    withdrawal = task_store.withdraw(kind.queue_name, [str(task.pk) for task in tasks])
    (places,) = scripts.run(client(kind.queue_name), [withdrawal])
    pairs = zip(tasks, places, strict=True)
    return _end_each([task for task, place in pairs if place.name != "running"], end)


def _end_each(tasks: Sequence[Task], end: Callable[[Task], bool]) -> int:
    """End these; of an organization whose rows somebody holds, the next sweep ends the rest."""
    ended, held = 0, set[str]()
    for task in tasks:
        if task.organization_id in held:
            continue
        try:
            with lock_timeout():
                ended += end(task)
        except OperationalError as error:
            if not is_locked(error):
                raise
            held.add(task.organization_id)
    return ended
