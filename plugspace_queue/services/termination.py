"""Ends tasks that do not run, and releases or cancels the tasks that depend on an ended one.

Waiting tasks are cancelled, expire, or are lost with their workers. Children of a complete task
are released; those of a task that did not complete are cancelled and refunded, but for steps of a
workflow that goes on without it.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import router, transaction
from django.utils import timezone

from plugspace_queue import metrics, task_log
from plugspace_queue.broker.task_store import Settlement
from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import EventName, State
from plugspace_queue.domain.fingerprint import fingerprint
from plugspace_queue.events import publish
from plugspace_queue.limits import quota
from plugspace_queue.models import Task, dependency_queries, task_queries
from plugspace_queue.models.workflow import is_missed
from plugspace_queue.publishing import projections
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.schemas.task import without_internals
from plugspace_queue.services import failure_counts
from plugspace_queue.services.failure_counts import FailedTask
from plugspace_queue.task_log import EndedAttempt

CODE = "CANCELLED"
MESSAGE = "A task this one waited for did not complete."

_ENDED: dict[State, tuple[EventName, ...]] = {
    State.CANCELLED: (EventName.CANCELLED, EventName.FAILED),
    State.EXPIRED: (EventName.EXPIRED, EventName.FAILED),
    State.FAILED: (EventName.FAILED,),
}

FAILURES = (State.FAILED, State.EXPIRED)
"""States whose tasks have a fingerprint and are counted by cause; a cancel is no failure."""

_LAST = {State.COMPLETE: EventName.COMPLETED, State.FAILED: EventName.FAILED}


def end(task: Task, target: State, now: datetime, code: str, message: str) -> bool:
    """End a waiting task with its descendants, refunds and events; False if the row had changed."""
    return bool(end_all([task], target, now, code, message))


def end_all(
    tasks: Sequence[Task], target: State, now: datetime, code: str, message: str
) -> list[Task]:
    """The same for several tasks; returns those whose rows had not changed.

    All task rows are locked before quota counters: the lock order of all code.
    """
    fields = final_fields(code, message, now) | {"deadline": None}
    has_cause = target in FAILURES
    with transaction.atomic():
        moved = [
            task
            for task in tasks
            if _moved(task, target, fields | _cause(task, message) if has_cause else fields)
        ]
        cancelled = cancel_descendants([task.pk for task in moved], now)
        released = release_after_missed(moved, now)
        is_owed = code in get_settings().refund_on
        owed = [task for task in moved if is_owed or task.started_at is None]
        quota.refund([*owed, *never_started(cancelled)], now, note=code)
        if moved:
            ended([*cancelled, *moved])
        if released:
            publishing.publish_ids_on_commit(released)
    return moved


def expired_message(task: Task) -> str:
    """The error message of an expired task."""
    return f"Not started within its ttl of {task.ttl} s."


def release_children(ended: Mapping[uuid.UUID, int], now: datetime) -> list[uuid.UUID]:
    """Subtract ended parents from their children, in the transaction that ended them.

    `ended` has for each child the number of parents that completed, or that it goes on without.
    Children without open parents become waiting, or scheduled when their time is ahead, with a
    deadline counted from now. Their ids are returned, to be published after the commit.
    """
    if not ended:
        return []
    free: list[Task] = []
    waiting: dict[int, list[uuid.UUID]] = defaultdict(list)
    # Locked, so that two parents that complete at once do not both read the old count.
    for child in dependency_queries.lock_blocked(ended):
        if child.open_deps <= ended[child.pk]:
            free.append(child)
        else:
            waiting[ended[child.pk]].append(child.pk)
    for count, ids in waiting.items():
        dependency_queries.decrement_open_deps(ids, count)
    return _release(free, now)


def release_after_missed(ended: Sequence[Task], now: datetime) -> list[uuid.UUID]:
    """Subtract those of these steps that their workflows go on without; as `release_children`."""
    missed = [task.pk for task in ended if is_missed(task)]
    children = dependency_queries.children_of_missed(missed) if missed else []
    return release_children(Counter(children), now)


def release(hanging: Sequence[uuid.UUID], now: datetime) -> list[uuid.UUID]:
    """Release blocked tasks that no parent holds any more, in the caller's transaction."""
    return _release(dependency_queries.lock_blocked(hanging), now)


def cascade(
    failed: Sequence[uuid.UUID], now: datetime, *, code: str = CODE, message: str = MESSAGE
) -> list[uuid.UUID]:
    """Cancel and refund all blocked descendants of these tasks; return their ids.

    In a transaction of its own; events and snapshots follow its commit.
    """
    if not dependency_queries.blocked_children(failed):
        return []
    with transaction.atomic(using=router.db_for_write(Task)):
        found = cancel_descendants(failed, now, code=code, message=message)
        quota.refund(never_started(found), now, "never started")
        ended(found)
    return [task.pk for task in found]


def cancel_descendants(
    ended: Sequence[uuid.UUID], now: datetime, *, code: str = CODE, message: str = MESSAGE
) -> list[Task]:
    """Cancel the rows of all blocked descendants; return the cancelled tasks.

    In the caller's transaction; the caller also refunds them and publishes the events.
    """
    ids = [task.pk for task in _lock_descendants(ended)]
    if not ids:
        return []
    fields = final_fields(code, message, now)
    rows = task_queries.tasks_by_id(ids)
    rows.move_all(State.BLOCKED, State.CANCELLED, **fields)
    return list(rows.in_state(State.CANCELLED).oldest_first())


def never_started(tasks: Iterable[Task]) -> list[Task]:
    """The tasks that never started, which are refunded to the quota."""
    return [task for task in tasks if task.started_at is None]


def ended(tasks: Sequence[Task]) -> None:
    """Publish events (their own and `taskFailed`) and final snapshots of ended tasks on commit."""
    _on_commit(lambda: _announce_ended(tasks))


def attempt_ended(attempt: EndedAttempt) -> None:
    """Log how an attempt ended, and send the signal of one that failed."""
    task_log.attempt_ended(attempt)
    if attempt.is_failure:
        publish.send_attempt_failed(attempt)


def failure(code: str, message: str) -> dict[str, Any]:
    """The stored error of a task that ended without a failed attempt."""
    return {"message": message, "code": code, "retryable": False}


def final_fields(code: str, message: str, now: datetime) -> dict[str, Any]:
    """The fields of a row that ends here, besides its state."""
    return {
        "completed_at": now,
        "error": failure(code, message),
        "error_code": code,
        "wake_at": None,
    }


def with_last_event(settlement: Settlement, task: Task) -> Settlement:
    """Add the event of an ending whose worker died before it settled, under the same event key."""
    name = _LAST.get(State(task.state))
    if name is None:
        return settlement
    data = {"error": without_internals(task.error)} if task.error else {"result": task.result}
    return settlement._replace(
        event=publish.text_for(settlement, publish.payload(name, task, **data))
    )


def _cause(task: Task, message: str) -> dict[str, str]:
    return {"fingerprint": fingerprint(task.type, "", message)}


def _moved(task: Task, target: State, fields: Mapping[str, Any]) -> bool:
    if not task_queries.move_task(task.pk, State(task.state), target, **fields):
        return False
    task.state = target
    for name, value in fields.items():
        setattr(task, name, value)
    return True


def _lock_descendants(ended: Sequence[uuid.UUID]) -> list[Task]:
    """Lock all blocked descendants with few statements, each in the order of ids."""
    locked: dict[uuid.UUID, Task] = {}
    # Repeated until nothing is new, as a task may get another child until it is locked.
    while below := _descendants_of([*ended, *locked]) - locked.keys():
        found = {task.pk: task for task in dependency_queries.lock_blocked(below)}
        if not found:
            break
        locked |= found
    return list(locked.values())


def _descendants_of(tasks: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    found: set[uuid.UUID] = set()
    level = set(tasks)
    while level := dependency_queries.blocked_children(list(level)) - found:
        found |= level
    return found


def _release(children: Sequence[Task], now: datetime) -> list[uuid.UUID]:
    groups: dict[tuple[State, datetime], list[uuid.UUID]] = defaultdict(list)
    for child in children:
        groups[_opening(child, now)].append(child.pk)
    for (target, deadline), ids in groups.items():
        rows = task_queries.tasks_by_id(ids)
        rows.move_all(State.BLOCKED, target, open_deps=0, deadline=deadline)
    return [child.pk for child in children]


def _opening(child: Task, now: datetime) -> tuple[State, datetime]:
    """The next state and the deadline of a released task."""
    live = timedelta(seconds=child.ttl)
    if child.wake_at and child.wake_at > now:
        return State.SCHEDULED, child.wake_at + live
    return State.WAITING, now + live


def _announce_ended(tasks: Sequence[Task]) -> None:
    failure_counts.note(_failed(task) for task in tasks if task.state in FAILURES)
    metrics.add(
        Counter(metrics.field(metrics.ENDED, t.type, str(t.state), str(t.priority)) for t in tasks)
    )
    publishing.refresh_snapshots(tasks)
    projections.write_workflows(sorted({task.workflow_id for task in tasks if task.workflow_id}))
    publish.emit_all(
        (name, task, {"error": without_internals(task.error or {})})
        for task in tasks
        for name in _ENDED[State(task.state)]
    )


def _failed(task: Task) -> FailedTask:
    return FailedTask(
        task.pk,
        task.type,
        task.organization_id,
        task.completed_at or timezone.now(),
        task.error_code,
        task.fingerprint,
        (task.error or {}).get("message", ""),
    )


def _on_commit(call: Callable[[], None]) -> None:
    transaction.on_commit(call, using=router.db_for_write(Task), robust=True)
