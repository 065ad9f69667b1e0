"""Recovers tasks whose worker died; the first process to notice does it, counted in SQL."""

import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction

from plugspace_queue.broker import routing, task_store
from plugspace_queue.broker.task_store import Reaped
from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import Outcome, State
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.domain.task_types import DECLARED, queue_of
from plugspace_queue.errors import WORKER_LOST, TaskError
from plugspace_queue.models import Attempt, Task, task_queries
from plugspace_queue.processing.outcome import resting_state
from plugspace_queue.publishing import projections
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.services import termination
from plugspace_queue.task_log import EndedAttempt


class Loss(NamedTuple):
    """An attempt that was taken back, with its task as it was before."""

    task: Task
    deaths: int


def take_all_back(reaped: Iterable[Reaped], now: datetime) -> list[Loss]:
    """Take back what Redis took from dead workers; the caller publishes and announces it later."""
    losses = [_take_back(pk, fence, now) for pk, fence in _attempts_of(reaped)]
    return [loss for loss in losses if loss is not None]


def recover_all(reaped: Iterable[Reaped], now: datetime) -> None:
    """Take back the tasks that Redis took from a dead worker; publish them after the commit."""
    recover_these(_attempts_of(reaped), now)


def _attempts_of(reaped: Iterable[Reaped]) -> list[tuple[uuid.UUID, int]]:
    ids = [(parse_id(one.task_id), one.fence) for one in reaped]
    return [(pk, fence) for pk, fence in ids if pk is not None]


def recover_these(attempts: Iterable[tuple[uuid.UUID, int]], now: datetime) -> int:
    """Recover attempts (task, fence) that are still the newest ones; return how many."""
    recovered = [pk for pk, fence in attempts if recover(pk, fence, now)]
    if recovered:
        transaction.on_commit(lambda: publish(recovered), robust=True)
    return len(recovered)


def publish(recovered: Sequence[uuid.UUID]) -> None:
    """Put them in line again, if they are not, with snapshots that no longer say they run."""
    publishing.publish_ids(recovered)
    projections.write_workflows(task_queries.workflow_ids_of(recovered))


def recover(task_id: uuid.UUID, fence: int, now: datetime) -> bool:
    """Recover one attempt, if it is still the newest one of a processing task."""
    with transaction.atomic():
        loss = _take_back(task_id, fence, now)
        if loss is not None:
            transaction.on_commit(lambda: announce(loss), robust=True)
        return loss is not None


def _take_back(task_id: uuid.UUID, fence: int, now: datetime) -> Loss | None:
    with transaction.atomic():
        task = task_queries.processing_attempt(task_id, fence)
        if task is None:
            return None
        deaths = task.recovery_count + _counts(task)
        moved = task_queries.with_fence(fence).move(
            task_id,
            State.PROCESSING,
            resting_state(task),
            progress=None,
            recovery_count=deaths,
        )
        if not moved:
            return None
        task_queries.keep_attempt(_lost_attempt(task, now))
        return Loss(task, deaths)


def announce(loss: Loss) -> None:
    """Log the attempt; the guard of the next worker fails a task that was lost too often."""
    task, deaths = loss
    is_last = deaths > get_settings().max_recoveries
    error = TaskError("The worker of this attempt died.", code=WORKER_LOST)
    termination.attempt_ended(
        EndedAttempt(
            task_id=str(task.pk),
            type=task.type,
            organization_id=task.organization_id,
            attempt=task.attempt_count,
            retry_count=task.retry_count,
            worker=task.worker_name,
            outcome=Outcome.LOST,
            will_retry=not is_last and task.cancel_requested_at is None,
            is_last=is_last,
            code=WORKER_LOST,
            error=str(error),
            exception=error,
        )
    )


MOST_UNCOUNTED = 10
"""Most losses of a task isolated in a child that do not count, as its parent died."""


def _counts(task: Task) -> bool:
    """Whether a loss counts: the first one does; later ones, of an isolated task, only if many."""
    if task.recovery_count == 0:
        return True
    return task_queries.lost_attempts(task) > MOST_UNCOUNTED


def _lost_attempt(task: Task, now: datetime) -> Attempt:
    return Attempt(
        task=task,
        number=task.attempt_count,
        fence=task.fence,
        worker_name=task.worker_name,
        started_at=task.started_at or now,
        ended_at=now,
        outcome=Outcome.LOST,
    )


Attempted = tuple[uuid.UUID, int]
"""A task and the fence of one of its attempts."""

MOST_PROCESSING = 5000
"""Processing rows of one call; there are never more than slots of all workers."""


class OrphanDetector:
    """Finds processing rows missing in Redis, after it lost its data and their worker died too.

    A row is recovered when a later call, at least one lease after the first, finds the same attempt
    still absent: a live worker learns from its tick that the lease is lost, and hands the task back
    itself.
    """

    def __init__(self) -> None:
        self._seen: dict[Attempted, float] = {}

    def check(self, now: datetime) -> int:
        """Check all processing rows; return how many were recovered. Raises Unavailable."""
        errors = routing.PerServerErrors()
        absent = _absent_attempts(now, errors)
        moment = time.monotonic()
        self._seen = {key: self._seen.get(key, moment) for key in absent}
        due = [key for key, since in self._seen.items() if moment - since >= get_settings().lease]
        recovered = recover_these(due, now)
        errors.raise_if_any()
        return recovered


def _absent_attempts(now: datetime, errors: routing.PerServerErrors) -> list[Attempted]:
    """The attempts that run by their rows, and of which Redis knows nothing."""
    running: dict[str, list[Attempted]] = defaultdict(list)
    absent: list[Attempted] = []
    long_ago = now - timedelta(seconds=get_settings().timeout + get_settings().lease)
    for kind, pk, fence, started in task_queries.processing_rows()[:MOST_PROCESSING]:
        if kind in DECLARED:
            running[queue_of(kind)].append((pk, fence))
        elif started is None or started < long_ago:
            # Its type was dropped and no server is named to ask; older code may still have run it.
            absent.append((pk, fence))
    asked = {
        queue: task_store.places(queue, [str(pk) for pk, _ in attempts])
        for queue, attempts in running.items()
    }
    for queue, places in routing.ask_each(asked, errors).items():
        pairs = zip(running[queue], places, strict=True)
        absent += [attempt for attempt, place in pairs if place == "absent"]
    return absent
