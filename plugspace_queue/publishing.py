"""The one crossing of tasks from the database to Redis: on commit, and again by the relay."""

import contextlib
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import router, transaction

from plugspace_queue import crossing
from plugspace_queue.conf import get_settings
from plugspace_queue.engine import store
from plugspace_queue.engine.scripts import Call
from plugspace_queue.engine.store import Entry
from plugspace_queue.errors import Unavailable
from plugspace_queue.models import Task
from plugspace_queue.rules import lifecycle
from plugspace_queue.schemas.task import snapshot
from plugspace_queue.types import State, TaskType


def promise(tasks: Iterable[Task], extra: Sequence[Call[Any]] = ()) -> None:
    """Publish these tasks when the transaction commits; without Redis the relay does it later.

    `extra` calls, whose loss is mended too, go along in the same round trip.
    """
    kept = list(tasks)
    alias = router.db_for_write(Task)
    # No partial: Django wants the name of what failed, and one has none.
    transaction.on_commit(lambda: _keep(kept, extra), using=alias, robust=True)


def promise_ids(task_ids: Iterable[uuid.UUID]) -> None:
    """The same for rows that other statements changed: they are read again after the commit."""
    ids = list(task_ids)
    if ids:
        alias = router.db_for_write(Task)
        transaction.on_commit(lambda: publish_ids(ids), using=alias, robust=True)


def publish(tasks: Iterable[Task], extra: Sequence[Call[Any]] = ()) -> int:
    """Put waiting, scheduled and retrying tasks in line; how many were not there before.

    Of blocked ones there is only a snapshot, until they are released. Raises Unavailable; doing
    it twice does no harm.
    """
    tasks = list(tasks)
    # Before the lines: a release, which may follow at once, writes a newer one.
    calls = _snapshots(task for task in tasks if task.state == State.BLOCKED)
    for queue, entries in _by_queue(tasks).items():
        calls[queue] += store.submit_all(queue, entries)
    return sum(crossing.ask_everywhere(calls, extra))


def _by_queue(tasks: Iterable[Task]) -> dict[str, list[Entry]]:
    by_queue: dict[str, list[Entry]] = defaultdict(list)
    for task in tasks:
        if task.state in lifecycle.STARTABLE:
            by_queue[TaskType(task.type).queue_name].append(entry_of(task))
    return by_queue


def publish_ids(task_ids: Iterable[uuid.UUID]) -> int:
    """Publish what the rows of these ids say now; 0 when Redis is away."""
    return _keep(list(Task.objects.filter(pk__in=list(task_ids))))


def refresh_snapshots(tasks: Iterable[Task]) -> None:
    """Write `plugspace:task:{id}` of tasks that nobody will run now; lost without Redis."""
    with contextlib.suppress(Unavailable):
        crossing.ask_everywhere(_snapshots(tasks))


def _snapshots(tasks: Iterable[Task]) -> defaultdict[str, list[Call[int]]]:
    """The calls that write them, each on the server of its task's queue."""
    calls: defaultdict[str, list[Call[int]]] = defaultdict(list)
    for task in tasks:
        call = store.snapshot(str(task.pk), snapshot(task), retention_of(task))
        calls[TaskType(task.type).queue_name].append(call)
    return calls


def retention_of(task: Task) -> int:
    """Seconds the snapshot of a task stays; 0 while it has not ended."""
    return get_settings().retention.get(task.state, 0)


def entry_of(task: Task) -> Entry:
    """What the submit script needs to know of a task."""
    return Entry(
        task_id=str(task.pk),
        band=task.priority,
        organization_id=task.organization_id,
        snapshot=snapshot(task),
        due_ms=_milliseconds(task.wake_at),
        # A retry goes to the front of its lane, also when Redis had lost it.
        front=task.state == State.RETRYING,
        timeout=int(get_settings().timeout),
        created_at=task.queued_at.isoformat(),
        description=f"{task.type} for {task.organization_id}",
    )


def _milliseconds(moment: datetime | None) -> int:
    return int(moment.timestamp() * 1000) if moment else 0


def _keep(tasks: Iterable[Task], extra: Sequence[Call[Any]] = ()) -> int:
    try:
        return publish(tasks, extra)
    except Unavailable:
        return 0
