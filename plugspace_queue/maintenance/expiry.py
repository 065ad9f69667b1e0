"""Ends what expired, finishes cancellations, settles blocked tasks, refunds what is owed.

Every worker calls this every few seconds; calling it twice does no harm.
"""

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from django.db import OperationalError, transaction
from django.db.models import Exists, OuterRef, QuerySet

from plugspace_queue import ending, publishing, quotas
from plugspace_queue.broker import routing, scripts, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.conf import get_settings
from plugspace_queue.db.transactions import is_locked, lock_timeout
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State, TaskType
from plugspace_queue.maintenance.relay import RowCursor
from plugspace_queue.models import Dependency, QueueSettings, Task
from plugspace_queue.workflows import advance

BATCH = 500
"""Most tasks of one queue in one call; the next call takes the rest."""

BLOCKED_BATCH = 5000
"""Blocked tasks of one call: mostly none of very many has to be settled."""

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
        return ending.end(task, State.EXPIRED, now, "EXPIRED", ending.expired_message(task))

    return _end_waiting(rows, expire)


def finish_cancels(now: datetime) -> int:
    """End waiting tasks whose cancellation was asked for and not finished; how many ended."""
    rows = Task.objects.filter(cancel_requested_at__isnull=False).order_by("cancel_requested_at")

    def cancel(task: Task) -> bool:
        return ending.end(task, State.CANCELLED, now, "CANCELLED", "The task was cancelled.")

    return _end_waiting(rows, cancel)


def free_blocked(now: datetime, cursor: RowCursor = _blocked) -> int:
    """Settle blocked tasks whose parents ended without settling them; how many.

    One call reads a slice of them, the next call the next slice.
    """
    task_ids = [row.pk for row in cursor.next_slice(BLOCKED_BATCH)]
    if not task_ids:
        return 0
    with lock_timeout():
        return settle_blocked(task_ids, now)


def settle_blocked(task_ids: Sequence[uuid.UUID], now: datetime) -> int:
    """Cancel or release those of these whose parents have ended; how many."""
    cancelled = advance.cascade(_failed_parents(task_ids), now)
    return len(cancelled) + _release(list(hanging_among(task_ids)), now)


def hanging_among(task_ids: Sequence[uuid.UUID]) -> QuerySet[Task, uuid.UUID]:
    """Ids of those of these that are blocked although all their parents completed."""
    # One index lookup per task: PostgreSQL plans `NOT IN` as a scan for each of them.
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
            quotas.refund(tasks, now, note="system failure")
    return len(tasks)


def _release(hanging: Sequence[uuid.UUID], now: datetime) -> int:
    if not hanging:
        return 0
    with transaction.atomic():
        released = advance.release(hanging, now)
        publishing.promise_ids(released)
    return len(released)


def _end_waiting(rows: QuerySet[Task], end: Callable[[Task], bool]) -> int:
    errors, ended = routing.PerServerErrors(), 0
    for kind in TaskType:
        with errors.at_one():
            ended += _end_in_queue(kind, rows.filter(type=kind), end)
    errors.tell()
    return ended


def _end_in_queue(kind: TaskType, rows: QuerySet[Task], end: Callable[[Task], bool]) -> int:
    tasks = list(rows.filter(state__in=STARTABLE)[:BATCH])
    if not tasks:
        return 0
    # Redis decides first: a task that runs by now cannot be withdrawn, and is not ended here.
    withdrawal = task_store.withdraw(kind.queue_name, [str(task.pk) for task in tasks])
    (places,) = scripts.run(client(kind.queue_name), [withdrawal])
    pairs = zip(tasks, places, strict=True)
    return _end_each([task for task, place in pairs if place.name != "running"], end)


def _end_each(tasks: Sequence[Task], end: Callable[[Task], bool]) -> int:
    """End these; the next call ends the rest of an organization whose rows are locked."""
    ended, locked = 0, set[str]()
    for task in tasks:
        if task.organization_id in locked:
            continue
        try:
            with lock_timeout():
                ended += end(task)
        except OperationalError as error:
            if not is_locked(error):
                raise
            locked.add(task.organization_id)
    return ended
