"""How a task ends that does not run: cancelled, expired, or lost with its workers."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from plugspace_queue import announcing, quotas
from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Task
from plugspace_queue.workflows import advance


def end(task: Task, target: State, now: datetime, code: str, message: str) -> bool:
    """End a waiting task: its row, what hangs on it, refunds, events; False when raced."""
    return bool(end_all([task], target, now, code, message))


def end_all(
    tasks: Sequence[Task], target: State, now: datetime, code: str, message: str
) -> list[Task]:
    """The same for several at once; those that were not raced.

    All rows of tasks are locked before the counters of quotas, as everywhere.
    """
    fields = announcing.final_fields(code, message, now) | {"deadline": None}
    with transaction.atomic():
        moved = [task for task in tasks if _moved(task, target, fields)]
        cancelled = advance.cancel_descendants([task.pk for task in moved], now)
        is_owed = code in get_settings().refund_on
        owed = [task for task in moved if is_owed or task.started_at is None]
        quotas.refund([*owed, *advance.never_started(cancelled)], now, note=code)
        if moved:
            announcing.ended([*cancelled, *moved])
    return moved


def _moved(task: Task, target: State, fields: Mapping[str, Any]) -> bool:
    if not Task.objects.move(task.pk, State(task.state), target, **fields):
        return False
    task.state = target
    for name, value in fields.items():
        setattr(task, name, value)
    return True


def expired_message(task: Task) -> str:
    """What an expired task says."""
    return f"Not started within its ttl of {task.ttl} s."
