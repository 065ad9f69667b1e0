"""Publishes tasks from SQL to Redis: when their transaction commits, and again by the relay."""

import contextlib
import json
import uuid
from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import router, transaction
from django.utils import timezone

from plugspace_queue import metrics
from plugspace_queue.broker import routing, task_store
from plugspace_queue.broker.connection import home_queue
from plugspace_queue.broker.scripts import Call
from plugspace_queue.broker.task_store import MOST_ENTRIES, Entry, Note, Settlement
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import json_text
from plugspace_queue.domain.enums import EventName, State
from plugspace_queue.domain.lifecycle import STARTABLE
from plugspace_queue.domain.task_types import DECLARED
from plugspace_queue.errors import Unavailable
from plugspace_queue.events import publish as events
from plugspace_queue.limits.quota import Counter
from plugspace_queue.models import Task, task_queries
from plugspace_queue.schemas.task import (
    ALWAYS,
    UNCOUNTED,
    Copy,
    added_event,
    copy_of,
    new_copy,
    text_of,
)
from plugspace_queue.signals import SIGNALS


def publish_on_commit(tasks: Iterable[Task]) -> None:
    """Publish these tasks when the transaction commits; without Redis the relay does it later."""
    kept = list(tasks)
    _on_commit(lambda: _publish_or_leave(kept))


def publish_ids_on_commit(task_ids: Iterable[uuid.UUID]) -> None:
    """The same for rows that other statements changed: they are read again after the commit."""
    ids = list(task_ids)
    if ids:
        _on_commit(lambda: publish_ids(ids))


def publish_new_on_commit(
    tasks: Sequence[Task], counters: Sequence[Counter] = (), *, are_new: bool = True
) -> None:
    """Publish tasks that were just stored, their events and counters, when the transaction commits.

    Those that were there before, and run again, are not new.

    Everything is rendered before the commit and sent in one round trip after it, `taskAdded`
    first, so that no start event precedes it. What is lost without Redis, the relay and the
    reconciler restore.
    """
    now = timezone.now()
    added = [added_event(task, now) for task in tasks]
    used = [task_store.mirror_usage(one.account, one.used, one.version) for one in counters]
    extra = [*_announcements(tasks, added), *used]
    calls = _calls(tasks, entry_of_new if are_new else entry_of)

    def send() -> None:
        _count_and_signal(tasks, added)
        with contextlib.suppress(Unavailable):
            routing.ask_everywhere(calls, extra)

    _on_commit(send)


def _announcements(tasks: Sequence[Task], added: Sequence[str]) -> list[Call[bool]]:
    """The calls that append these events to the stream."""
    pairs = zip(tasks, added, strict=True)
    notes = [Note(str(task.pk), event=event) for task, event in pairs]
    starts = range(0, len(notes), MOST_ENTRIES)
    return [
        task_store.announce(home_queue(), notes[start : start + MOST_ENTRIES]) for start in starts
    ]


def _count_and_signal(tasks: Sequence[Task], added: Sequence[str]) -> None:
    """Count tasks that were stored, and send the signal of each if it has receivers."""
    metrics.add(Counts(f"{metrics.ADDED.name}|{task.type}|{task.priority}" for task in tasks))
    if SIGNALS[EventName.ADDED].has_listeners():
        for task, event in zip(tasks, added, strict=True):
            events.send_signal(EventName.ADDED, task, json.loads(event))


def _on_commit(act: Callable[[], object]) -> None:
    # A function and not a partial: Django logs the `__qualname__` of a hook that fails.
    transaction.on_commit(act, using=router.db_for_write(Task), robust=True)


def publish(tasks: Iterable[Task]) -> int:
    """Publish waiting, scheduled and retrying tasks; return how many were not there before.

    Of blocked ones there is only a snapshot, until they are released. Raises Unavailable; doing
    it twice does no harm.
    """
    return sum(routing.ask_everywhere(_calls(list(tasks), entry_of)))


def _calls(
    tasks: Sequence[Task], entry: Callable[[Task], Entry]
) -> Mapping[str, Sequence[Call[int]]]:
    """The calls that publish these tasks, by queue."""
    # Snapshots of blocked tasks come first, as a release may follow at once and write a newer one.
    calls = _snapshots(task for task in tasks if task.state == State.BLOCKED)
    entries: dict[str, list[Entry]] = defaultdict(list)
    for task in tasks:
        kind = DECLARED.get(task.type)
        if kind is not None and task.state in STARTABLE:
            entries[kind.queue_name].append(entry(task))
    for queue, of_queue in entries.items():
        calls[queue] += task_store.submit_all(queue, of_queue)
    return calls


def publish_ids(task_ids: Iterable[uuid.UUID]) -> int:
    """Publish the current rows of these ids in their order; 0 when Redis is unavailable."""
    return _publish_or_leave(list(task_queries.tasks_in_order(task_ids)))


def refresh_snapshots(tasks: Iterable[Task]) -> None:
    """Write `plugspace:task:{id}` of tasks that no worker runs; does nothing without Redis."""
    with contextlib.suppress(Unavailable):
        routing.ask_everywhere(_snapshots(tasks))


def _snapshots(tasks: Iterable[Task]) -> defaultdict[str, list[Call[int]]]:
    """The calls that write them, each on the server of its task's queue."""
    calls: defaultdict[str, list[Call[int]]] = defaultdict(list)
    for task in tasks:
        # Nobody reads the queue of a type that was dropped, and no server is named for it.
        kind = DECLARED.get(task.type)
        if kind is not None:
            calls[kind.queue_name].append(_snapshot(kind.queue_name, task))
    return calls


def _snapshot(queue: str, task: Task) -> Call[int]:
    text, values = copy_of(task)
    ttl = _ttl(task, is_heavy=values is not None)
    if values is None:
        return task_store.snapshot(str(task.pk), text, ttl)
    return task_store.keep_task(queue, str(task.pk), task.organization_id, text, values, ttl)


def settlement_of(task: Task, **fields: Any) -> Settlement:
    """The settlement of an attempt, from the task's current row and the given fields.

    With `tells_result` its event is to come without the result (`events.text_for`).
    """
    result = text_of(task, "result") if task.state == State.COMPLETE else ""
    size = json_text.bytes_of(result)
    is_large = size > get_settings().snapshot_limit
    # A small result is always part of the copy. A larger one is sent apart, or the copy's values
    # would count twice in the budget.
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
    """The message to Redis about a running attempt; ignored once another one runs."""
    text, values = copy_of(task)
    return Note(str(task.pk), text, event=event, fence=task.fence, is_bound=is_bound, values=values)


def _ttl(task: Task, *, is_heavy: bool) -> int:
    """Seconds until the snapshot of a task expires; 0 while it has not ended.

    A snapshot with values that count in the budget expires no later than their accounting does.
    """
    if not task.is_final:
        return 0
    conf = get_settings()
    kept = conf.retention.get(task.state, 0)
    counted = max(conf.result_ttl, 1)
    return min(kept or counted, counted) if is_heavy else kept


def entry_of(task: Task) -> Entry:
    """The submit script's arguments for a task."""
    return _entry(task, copy_of(task))


def entry_of_new(task: Task) -> Entry:
    """The same for a task that was never started."""
    return _entry(task, new_copy(task))


def _entry(task: Task, copy: Copy) -> Entry:
    text, values = copy
    return Entry(
        task_id=str(task.pk),
        band=task.priority,
        organization_id=task.organization_id,
        snapshot=text,
        values=values,
        due_ms=_milliseconds(task.wake_at),
        # A retry goes to the front of its lane, also after Redis has lost its data.
        front=task.state == State.RETRYING,
        timeout=int(get_settings().timeout),
        created_at=task.queued_at.isoformat(),
        description=f"{task.type} for {task.organization_id}",
    )


def _milliseconds(moment: datetime | None) -> int:
    return int(moment.timestamp() * 1000) if moment else 0


def _publish_or_leave(tasks: Iterable[Task]) -> int:
    try:
        return publish(tasks)
    except Unavailable:
        return 0
