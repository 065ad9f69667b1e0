"""Staff change the priority of one task that has not ended."""

from typing import Any

from django.db import transaction

from plugspace_queue import publishing
from plugspace_queue.broker import routing, task_store
from plugspace_queue.broker.scripts import Call
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State, TaskType
from plugspace_queue.domain.tiers import LOWEST_PRIORITY
from plugspace_queue.door import reading, validating
from plugspace_queue.errors import InvalidState, Unavailable
from plugspace_queue.models import Task
from plugspace_queue.models.task import OPEN_VALUES


def set_priority(task_id: object, priority: object, organization_id: str | None = None) -> Task:
    """Move a task to another band, behind those that wait there, or a retry before them.

    A running one goes on; its retries wait in the new band. Raises NotFound,
    ValidationRefused, InvalidState when it has ended.
    """
    band = validating.whole("priority", priority, 0, LOWEST_PRIORITY)
    task = reading.task_of(task_id, organization_id)
    rows = Task.objects.filter(pk=task.pk, state__in=OPEN_VALUES)
    if not rows.update(priority=band):
        raise InvalidState(f"Task {task.pk} has ended.", task_id=str(task.pk))
    task.refresh_from_db()
    if task.state != State.BLOCKED:
        transaction.on_commit(lambda: _line_up_again(task), robust=True)
    return task


def _line_up_again(task: Task) -> None:
    queue, task_id = TaskType(task.type).queue_name, str(task.pk)
    calls: list[Call[Any]] = [task_store.set_band(queue, task_id, task.priority)]
    if task.state in lifecycle.STARTABLE:
        calls.append(task_store.withdraw(queue, [task_id]))
    try:
        routing.ask_all(calls, queue)
    except Unavailable:
        # It goes on in its old band: order is lost, the task is not.
        return
    publishing.publish_ids([task.pk])
