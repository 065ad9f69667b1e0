"""Tasks whose worker died: taken back once, counted in SQL, by whoever notices first."""

import time
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db import transaction

from plugspace_queue.broker import routing, task_store
from plugspace_queue.broker.task_store import Reaped
from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import Outcome, State, TaskType
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.errors import WORKER_LOST, TaskError
from plugspace_queue.models import Attempt, Task
from plugspace_queue.processing.outcome import resting_state
from plugspace_queue.publishing import projections
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.services import termination
from plugspace_queue.task_log import EndedAttempt


def recover_all(reaped: list[Reaped], now: datetime) -> None:
    """Write down which tasks lost their worker; Redis hears of it after the commit."""
    ids = [(parse_id(one.task_id), one.fence) for one in reaped]
    recover_these([(pk, fence) for pk, fence in ids if pk is not None], now)


def recover_these(attempts: Iterable[tuple[uuid.UUID, int]], now: datetime) -> int:
    """Take back these attempts (task, fence) if they are still the newest ones; how many."""
    recovered = [pk for pk, fence in attempts if recover(pk, fence, now)]
    if recovered:
        transaction.on_commit(lambda: _tell(recovered), robust=True)
    return len(recovered)


def _tell(recovered: Sequence[uuid.UUID]) -> None:
    """In line again, if they are not, and no snapshot says any more that they run."""
    publishing.publish_ids(recovered)
    rows = Task.objects.filter(pk__in=recovered, workflow__isnull=False)
    projections.write_workflows(sorted(set(rows.values_list("workflow_id", flat=True))))


def recover(task_id: uuid.UUID, fence: int, now: datetime) -> bool:
    """Take a task back from a worker that died; only if the guard had made it processing."""
    with transaction.atomic():
        task = Task.objects.filter(pk=task_id, fence=fence, state=State.PROCESSING).first()
        if task is None:
            return False
        deaths = task.recovery_count + _counts(task)
        moved = Task.objects.filter(fence=fence).move(
            task_id,
            State.PROCESSING,
            resting_state(task),
            progress=None,
            recovery_count=deaths,
        )
        if moved:
            Attempt.objects.bulk_create([_lost_attempt(task, now)], ignore_conflicts=True)
            transaction.on_commit(lambda: _tell_lost(task, deaths), robust=True)
        return moved


def _tell_lost(task: Task, deaths: int) -> None:
    """Log the attempt; the guard of the next worker fails a task that was lost too often."""
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
"""Leases lost while alone that count nothing: then the child's parent died, not the child."""


def _counts(task: Task) -> bool:
    """A shared process's death counts once; afterwards only the death of the task's own child."""
    if task.recovery_count == 0:
        return True
    return Attempt.objects.filter(task=task, outcome=Outcome.LOST).count() > MOST_UNCOUNTED


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


MOST_LOOKED_AT = 1000
"""Processing rows of one look; there are never more than slots in the fleet."""


class OrphanDetector:
    """Finds processing rows that Redis knows nothing of: its data went, and their worker too.

    A row is taken back when a second look, at least one lease later, sees the same attempt still
    absent: a worker that lives hears from its tick that the lease is lost and hands it back.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[uuid.UUID, int], float] = {}

    def look(self, now: datetime) -> int:
        """One look over all processing rows; how many were taken back. Raises Unavailable."""
        others, absent = routing.PerServerErrors(), list[tuple[uuid.UUID, int]]()
        for kind in TaskType:
            with others.at_one():
                absent += _absent(kind)
        moment = time.monotonic()
        self._seen = {key: self._seen.get(key, moment) for key in absent}
        ripe = [key for key, since in self._seen.items() if moment - since >= get_settings().lease]
        recovered = recover_these(ripe, now)
        others.tell()
        return recovered


def _absent(kind: TaskType) -> list[tuple[uuid.UUID, int]]:
    rows = Task.objects.filter(type=kind, state=State.PROCESSING).order_by("pk")
    running: Sequence[tuple[uuid.UUID, int]] = list(
        rows.values_list("pk", "fence")[:MOST_LOOKED_AT]
    )
    if not running:
        return []
    queue = kind.queue_name
    places = routing.ask(task_store.places(queue, [str(pk) for pk, _ in running]), queue)
    return [key for key, place in zip(running, places, strict=True) if place == "absent"]
