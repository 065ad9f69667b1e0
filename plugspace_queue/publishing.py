"""The one crossing of tasks from the database to Redis: on commit, and again by the relay."""

import contextlib
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import router, transaction

from plugspace_queue.broker import routing, task_store
from plugspace_queue.broker.scripts import Call
from plugspace_queue.broker.task_store import Entry, Note, Settlement
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import json_text, lifecycle
from plugspace_queue.domain.enums import State, TaskType
from plugspace_queue.errors import Unavailable
from plugspace_queue.models import Task
from plugspace_queue.schemas.task import ALWAYS, UNCOUNTED, copy_of, text_of


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
        calls[queue] += task_store.submit_all(queue, entries)
    return sum(routing.ask_everywhere(calls, extra))


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
        routing.ask_everywhere(_snapshots(tasks))


def _snapshots(tasks: Iterable[Task]) -> defaultdict[str, list[Call[int]]]:
    """The calls that write them, each on the server of its task's queue."""
    calls: defaultdict[str, list[Call[int]]] = defaultdict(list)
    for task in tasks:
        queue = TaskType(task.type).queue_name
        calls[queue].append(_snapshot(queue, task))
    return calls


def _snapshot(queue: str, task: Task) -> Call[int]:
    text, values = copy_of(task)
    ttl = _ttl(task, is_heavy=values is not None)
    if values is None:
        return task_store.snapshot(str(task.pk), text, ttl)
    return task_store.keep_task(queue, str(task.pk), task.organization_id, text, values, ttl)


def settlement_of(task: Task, **fields: Any) -> Settlement:
    """What Redis is told of an attempt's end: the task as its row is now, and these fields.

    With `tells_result` its event is to come without the result (`events.text_for`).
    """
    result = text_of(task, "result") if task.state == State.COMPLETE else ""
    size = json_text.bytes_of(result)
    is_large = size > get_settings().snapshot_limit
    # A small one is always told. Any other would make the copy's values count a second time.
    is_apart = size > ALWAYS
    text, values = copy_of(task, apart=("result",) if is_apart else ())
    return Settlement(
        task_id=str(task.pk),
        snapshot=text,
        values=values,
        snapshot_ttl=_ttl(task, is_heavy=values is not None or size > UNCOUNTED),
        result=None if is_large else result or None,
        is_large=is_large,
        tells_result=is_apart,
        task_type=task.type,
        **fields,
    )


def note_of(task: Task, *, event: str | None = None, is_bound: bool = False) -> Note:
    """What Redis is told of a running attempt, as long as it is the one that runs."""
    text, values = copy_of(task)
    return Note(str(task.pk), text, event=event, fence=task.fence, is_bound=is_bound, values=values)


def _ttl(task: Task, *, is_heavy: bool) -> int:
    """Seconds the snapshot of a task stays; 0 while it has not ended.

    With values that count in a budget no longer than they are counted.
    """
    if not task.is_final:
        return 0
    conf = get_settings()
    kept = conf.retention.get(task.state, 0)
    counted = max(conf.result_ttl, 1)
    return min(kept or counted, counted) if is_heavy else kept


def entry_of(task: Task) -> Entry:
    """What the submit script needs to know of a task."""
    text, values = copy_of(task)
    return Entry(
        task_id=str(task.pk),
        band=task.priority,
        organization_id=task.organization_id,
        snapshot=text,
        values=values,
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
