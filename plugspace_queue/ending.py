"""How a task ends that does not run: cancelled, expired, or lost with its workers."""

from datetime import datetime

from django.db import transaction

from plugspace_queue import announcing, quotas
from plugspace_queue.conf import get_settings
from plugspace_queue.models import Task
from plugspace_queue.types import State
from plugspace_queue.workflows import advance


def end(task: Task, target: State, now: datetime, code: str, message: str) -> bool:
    """End a waiting task: its row, what hangs on it, refunds, events; False when raced.

    All rows of tasks are locked before the counters of quotas, as everywhere.
    """
    source = State(task.state)
    fields = announcing.final_fields(code, message, now) | {"deadline": None}
    with transaction.atomic():
        if not Task.objects.move(task.pk, source, target, **fields):
            return False
        task.state = target
        for name, value in fields.items():
            setattr(task, name, value)
        cancelled = advance.cancel_descendants([task.pk], now)
        owed = [task] if task.started_at is None or code in get_settings().refund_on else []
        quotas.refund([*owed, *advance.never_started(cancelled)], now, note=code)
        announcing.ended([*cancelled, task])
    return True


def expired_message(task: Task) -> str:
    """What an expired task says."""
    return f"Not started within its ttl of {task.ttl} s."
