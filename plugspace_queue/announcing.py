"""What the front door tells once a commit made it true: events and fresh snapshots."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from django.db import router, transaction

from plugspace_queue import metrics, mirrors, publishing, task_log
from plugspace_queue.broker.scripts import Call
from plugspace_queue.broker.task_store import Settlement
from plugspace_queue.domain.enums import EventName, State
from plugspace_queue.events import publish
from plugspace_queue.models import Task
from plugspace_queue.schemas.task import without_internals
from plugspace_queue.task_log import EndedAttempt

_ENDED: dict[State, tuple[EventName, ...]] = {
    State.CANCELLED: (EventName.CANCELLED, EventName.FAILED),
    State.EXPIRED: (EventName.EXPIRED, EventName.FAILED),
    State.FAILED: (EventName.FAILED,),
}

_LAST = {State.COMPLETE: EventName.COMPLETED, State.FAILED: EventName.FAILED}


def added(tasks: Sequence[Task]) -> list[Call[None]]:
    """`taskAdded` for each: signals after the commit, and the calls that broadcast them.

    The calls go out with the line, before it, so that no start is told earlier.
    """
    bodies = [publish.payload(EventName.ADDED, task) for task in tasks]
    _on_commit(lambda: _signal_added(tasks, bodies))
    return publish.broadcasts(bodies)


def ended(tasks: Sequence[Task]) -> None:
    """For tasks that ended without a run: their own event, `taskFailed`, and the last snapshots."""
    _on_commit(lambda: _tell_ended(tasks))


def attempt_ended(attempt: EndedAttempt) -> None:
    """Log how an attempt ended, and send the signal of one that failed."""
    task_log.attempt_ended(attempt)
    if attempt.is_failure:
        publish.tell_failed_attempt(attempt)


def failure(code: str, message: str) -> dict[str, Any]:
    """The stored error of a task that ended without a run of its own failing."""
    return {"message": message, "code": code, "retryable": False}


def final_fields(code: str, message: str, now: datetime) -> dict[str, Any]:
    """What a row says beside its state when it ends here."""
    return {"completed_at": now, "error": failure(code, message), "wake_at": None}


def with_last_event(told: Settlement, task: Task) -> Settlement:
    """With the event of an ending whose worker died before it settled; its key is the same."""
    name = _LAST.get(State(task.state))
    if name is None:
        return told
    data = {"error": without_internals(task.error)} if task.error else {"result": task.result}
    return told._replace(event=publish.text_for(told, publish.payload(name, task, **data)))


def _signal_added(tasks: Sequence[Task], bodies: Sequence[publish.Payload]) -> None:
    metrics.add(Counter(metrics.field(metrics.ADDED, t.type, str(t.priority)) for t in tasks))
    for task, body in zip(tasks, bodies, strict=True):
        publish.tell(EventName.ADDED, task, body)


def _tell_ended(tasks: Sequence[Task]) -> None:
    metrics.add(
        Counter(metrics.field(metrics.ENDED, t.type, str(t.state), str(t.priority)) for t in tasks)
    )
    publishing.refresh_snapshots(tasks)
    mirrors.write_workflows(sorted({task.workflow_id for task in tasks if task.workflow_id}))
    publish.emit_all(
        (name, task, {"error": without_internals(task.error or {})})
        for task in tasks
        for name in _ENDED[State(task.state)]
    )


def _on_commit(tell: Callable[[], None]) -> None:
    transaction.on_commit(tell, using=router.db_for_write(Task), robust=True)
