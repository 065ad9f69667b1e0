"""Ends expired tasks, finishes cancellations, settles blocked tasks, pays pending refunds.

Every worker calls this every few seconds; all calls are idempotent.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from django.db import OperationalError, transaction
from django.db.models import QuerySet

from plugspace_queue.broker import routing, task_store
from plugspace_queue.conf import get_settings
from plugspace_queue.db.transactions import is_locked, lock_timeout
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import DECLARED, queue_of
from plugspace_queue.limits import quota
from plugspace_queue.maintenance.relay import RowCursor
from plugspace_queue.models import Task, dependency_queries, task_queries, tenancy_queries
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.services import termination

BATCH = 500
"""Most tasks of one call; the next call takes the rest."""

BLOCKED_BATCH = 5000
"""Blocked tasks read by one call; mostly none of them has to be settled."""

STARTABLE = sorted(lifecycle.STARTABLE)

_blocked = RowCursor([State.BLOCKED])


def expire_due(now: datetime) -> int:
    """End tasks that waited longer than their ttl; return how many ended.

    Tasks of a paused queue or organization do not expire. Raises Unavailable when a Redis server
    does not answer; nothing was written for its queues then.
    """
    rows = task_queries.expired(now, tenancy_queries.paused_types())

    def expire(task: Task) -> bool:
        return termination.end(
            task, State.EXPIRED, now, "EXPIRED", termination.expired_message(task)
        )

    return _end_waiting(rows, expire)


def finish_cancels(now: datetime) -> int:
    """End waiting tasks whose cancellation was requested but not finished; return how many."""
    rows = task_queries.cancel_requested()

    def cancel(task: Task) -> bool:
        return termination.end(task, State.CANCELLED, now, "CANCELLED", "The task was cancelled.")

    return _end_waiting(rows, cancel)


def free_blocked(now: datetime, cursor: RowCursor = _blocked) -> int:
    """Settle blocked tasks whose parents ended without settling them; return how many.

    Each call reads the next slice of blocked tasks.
    """
    task_ids = [row.pk for row in cursor.next_slice(BLOCKED_BATCH)]
    if not task_ids:
        return 0
    with lock_timeout():
        return settle_blocked(task_ids, now)


def settle_blocked(task_ids: Sequence[uuid.UUID], now: datetime) -> int:
    """Cancel or release those of the tasks whose parents have ended; return how many."""
    cancelled = termination.cascade(_failed_parents(task_ids), now)
    return len(cancelled) + _release(list(hanging_among(task_ids)), now)


def hanging_among(task_ids: Sequence[uuid.UUID]) -> QuerySet[Task, uuid.UUID]:
    """Ids of the tasks that are blocked although all their parents completed."""
    return dependency_queries.blocked_with_complete_parents(task_ids)[:BATCH]


def orphaned_among(task_ids: Sequence[uuid.UUID]) -> QuerySet[Task, uuid.UUID]:
    """Ids of the tasks that are blocked although a parent will not complete."""
    return dependency_queries.blocked_with_failed_parents(task_ids)[:BATCH]


def _failed_parents(task_ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    return list(dependency_queries.failed_parents_of(task_ids)[:BATCH])


def refund_owed(now: datetime) -> int:
    """Refund system failures of the last day that were not refunded yet; return how many."""
    owed = task_queries.refund_owed(now - timedelta(days=1), get_settings().refund_on)
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
    errors, ended, unreached = routing.PerServerErrors(), 0, set[str]()
    while True:
        # One statement for all types; another when a server is away whose tasks filled the batch.
        tasks = list(rows.filter(state__in=STARTABLE).exclude(type__in=unreached)[:BATCH])
        away = len(unreached)
        by_type = _by_type(tasks)
        withdrawn = _withdrawn(by_type, errors)
        unreached |= by_type.keys() - withdrawn.keys()
        for of_type in withdrawn.values():
            ended += _end_each(of_type, end)
        if len(unreached) == away or len(tasks) < BATCH:
            break
    errors.raise_if_any()
    return ended


def _by_type(tasks: Iterable[Task]) -> Mapping[str, list[Task]]:
    found: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        found[task.type].append(task)
    return found


def _withdrawn(
    tasks: Mapping[str, Sequence[Task]], errors: routing.PerServerErrors
) -> dict[str, Sequence[Task]]:
    """The tasks of each type that no worker has; without types whose server is away."""
    # Withdrawn from Redis first: a task that runs meanwhile cannot be withdrawn and is not ended.
    withdrawals = {
        queue_of(kind): task_store.withdraw(queue_of(kind), [str(task.pk) for task in of_type])
        for kind, of_type in tasks.items()
        if kind in DECLARED
    }
    places = routing.ask_each(withdrawals, errors)
    found: dict[str, Sequence[Task]] = {}
    for kind, of_type in tasks.items():
        if kind not in DECLARED:
            # A type that was dropped has no queue: the rows alone decide.
            found[kind] = of_type
        elif (of_queue := places.get(queue_of(kind))) is not None:
            pairs = zip(of_type, of_queue, strict=True)
            found[kind] = [task for task, place in pairs if place.name != "running"]
    return found


def _end_each(tasks: Sequence[Task], end: Callable[[Task], bool]) -> int:
    """End tasks; those of an organization whose rows are locked are left to the next call."""
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
