"""How a task ends that does not run: cancelled, expired, or lost with its workers."""

from datetime import datetime

from django.db import transaction

from plugspace_queue import events, quotas
from plugspace_queue.conf import get_settings
from plugspace_queue.models import Task
from plugspace_queue.types import EventName, State
from plugspace_queue.workflows import advance


def end(task: Task, target: State, now: datetime, code: str, message: str) -> bool:
    """End a waiting task: its row, its refund, what hangs on it, its events; False when raced."""
    error = {"message": message, "code": code, "retryable": False}
    source = State(task.state)
    with transaction.atomic():
        moved = Task.objects.move(
            task.pk, source, target, error=error, completed_at=now, wake_at=None, deadline=None
        )
        if not moved:
            return False
        if task.attempt_count == 0 or code in get_settings().refund_on:
            quotas.refund([task], now, note=code)
    task.state, task.error, task.completed_at = target, error, now
    advance.cascade([task.pk], now)
    events.emit_all([(name, task, {"error": error}) for name in _EVENTS[target]])
    return True


_EVENTS: dict[State, tuple[EventName, ...]] = {
    State.CANCELLED: (EventName.FAILED, EventName.CANCELLED),
    State.EXPIRED: (EventName.FAILED, EventName.EXPIRED),
    State.FAILED: (EventName.FAILED,),
}


def expired_message(task: Task) -> str:
    """What an expired task says."""
    return f"Not started within its ttl of {task.ttl} s."
