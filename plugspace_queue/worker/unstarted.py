"""Leases whose task did not start: decides by the row how the lease is settled."""

import logging
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction
from django.db.models import QuerySet

from plugspace_queue.broker import task_store
from plugspace_queue.broker.task_store import Settlement
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.maintenance import rescue
from plugspace_queue.models import Organization, QueueSettings, Task
from plugspace_queue.processing.outcome import resting_state
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.services import termination
from plugspace_queue.worker.completion import Counts
from plugspace_queue.worker.state import HeldLease

logger = logging.getLogger("plugspace_queue.worker")

REST = timedelta(seconds=30)
"""Delay before a task is tried again whose row the database refuses to write."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a lease is settled."""

    settlement: Settlement
    bump_fence: int = 0
    """The fence that the queue's counter has to exceed (0: none)."""
    owed: Counts = field(default_factory=dict)
    """Endings to add to the lifetime counts."""


def resolve_unstarted_lease(held: HeldLease, now: datetime) -> Resolution:
    """Update the row of a lease that did not start as needed; return how to settle the lease."""
    lease = held.lease
    task = Task.objects.filter(pk=uuid.UUID(lease.task_id)).first()
    if task is None or task.is_final or task.state == State.BLOCKED:
        return Resolution(_settlement(held, "drop", task))
    if task.state == State.PROCESSING and task.fence == lease.fence:
        Task.objects.filter(fence=lease.fence).move(task.pk, State.PROCESSING, resting_state(task))
        if held.execution is not None:
            # It has run, and the database refuses each form of its ending. The next attempt may
            # go the same way, so that it is not made at once.
            return Resolution(hand_back_later(held, now))
        # The commit of our own start succeeded but its answer got lost, so nothing has run.
        return Resolution(_settlement(held, "back", task))
    if lease.fence <= task.fence <= task_store.MOST_FENCE:
        return Resolution(_settlement(held, "back", task), bump_fence=task.fence)
    if task.state == State.PROCESSING:
        rescue.recover(task.pk, task.fence, now)
        task.refresh_from_db()
        return Resolution(_settlement(held, "back", task))
    if task.fence > lease.fence:
        # No lease can exceed this fence, which an ended attempt got from damaged data in Redis.
        _rows_of(task).update(fence=lease.fence)
        return Resolution(_settlement(held, "back", task))
    return _resolve_waiting(held, task, now)


def end_refused(held: HeldLease, now: datetime) -> Resolution:
    """Fail the task of a lease whose start the database rejects, as every retry would fail too."""
    task = Task.objects.filter(pk=uuid.UUID(held.task_id)).first()
    if task is None or task.state not in lifecycle.STARTABLE:
        return resolve_unstarted_lease(held, now)
    if termination.end(task, State.FAILED, now, "INTERNAL_ERROR", "The task could not be started."):
        # Logged after the commit: if the commit is rejected too, the caller logs that instead.
        transaction.on_commit(partial(_log_failed_start, held.task_id), robust=True)
        return Resolution(_settlement(held, "drop", task), owed={task.type: (0, 1)})
    return Resolution(hand_back_later(held, now))


def _log_failed_start(task_id: str) -> None:
    logger.error("the database refuses to start %s; it fails", task_id)


def _rows_of(task: Task) -> QuerySet[Task]:
    """The task's row, if its fence and state are unchanged."""
    return Task.objects.filter(pk=task.pk, fence=task.fence, state=task.state)


def _resolve_waiting(held: HeldLease, task: Task, now: datetime) -> Resolution:
    if task.cancel_requested_at is not None:
        termination.end(task, State.CANCELLED, now, "CANCELLED", "The task was cancelled.")
    elif task.deadline is not None and task.deadline <= now and not _is_paused(task):
        termination.end(
            task, State.EXPIRED, now, "EXPIRED", f"Not started within its ttl of {task.ttl} s."
        )
    elif task.recovery_count > get_settings().max_recoveries:
        if termination.end(
            task, State.FAILED, now, "WORKER_LOST", _LOST.format(task.recovery_count)
        ):
            return Resolution(_settlement(held, "drop", task), owed={task.type: (0, 1)})
    elif task.wake_at is not None and task.wake_at > now:
        return Resolution(_settlement(held, "retry", task))
    else:
        return Resolution(_settlement(held, "back", task))
    return Resolution(_settlement(held, "drop", task))


def _is_paused(task: Task) -> bool:
    """Whether a pause in the rows suspends the ttl, although Redis has granted the task."""
    paused = QueueSettings.objects.filter(type=task.type, is_paused=True).exists()
    return paused or Organization.objects.filter(pk=task.organization_id, is_paused=True).exists()


_LOST = "The workers that ran this task died {} times; see the worker's log."


def drop(held: HeldLease) -> Settlement:
    """Remove the id from Redis if this lease still holds it."""
    return _settlement(held, "drop", None)


def hand_back(held: HeldLease) -> Settlement:
    """Return the task to the front of its lane, without counting the attempt."""
    return _settlement(held, "back", None)


def hand_back_later(held: HeldLease, now: datetime) -> Settlement:
    """The same with a delay, as repeated failing starts would use up the rate limiter."""
    due_ms = round((now + REST).timestamp() * 1000)
    return hand_back(held)._replace(outcome="retry", due_ms=due_ms)


def _settlement(held: HeldLease, outcome: str, task: Task | None) -> Settlement:
    lease = {"fence": held.lease.fence, "outcome": outcome, "result_ttl": 0, "counted": False}
    if task is None:
        return Settlement(task_id=held.task_id, **lease)  # type: ignore[arg-type]
    wake_at = task.wake_at if outcome == "retry" else None
    due_ms = round(wake_at.timestamp() * 1000) if wake_at else 0
    settlement = publishing.settlement_of(task, **lease, due_ms=due_ms)
    return termination.with_last_event(settlement, task)
