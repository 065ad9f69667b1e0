"""Cancelling: withdraw from the line first, then write; what runs is told to stop."""

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from plugspace_queue import crossing, ending
from plugspace_queue.door import reading
from plugspace_queue.engine import commands, store
from plugspace_queue.engine.shapes import Place
from plugspace_queue.errors import InvalidState, Unavailable
from plugspace_queue.models import Task, Workflow
from plugspace_queue.rules import lifecycle
from plugspace_queue.types import State, TaskType

CODE = "CANCELLED"
MESSAGE = "The task was cancelled."
LOOKS = 3
"""How often a row is looked at again that changed its state meanwhile."""


def cancel(task_id: object, organization_id: str | None = None) -> State:
    """Cancel a task; its state now: cancelled, or as it was when a worker or Redis has a say yet.

    Raises NotFound, InvalidState when it has ended.
    """
    task = reading.task_of(task_id, organization_id)
    for _ in range(LOOKS):
        _require_open(task)
        reached = _cancelled(task)
        if reached is not None:
            return reached
        task = reading.task_of(task.pk)
    return State(task.state)


def cancel_workflow(workflow_id: object, organization_id: str | None = None) -> Workflow:
    """Cancel every step that has not ended, the last one first; the workflow as it is then.

    Raises NotFound, InvalidState when all steps have ended.
    """
    workflow = reading.workflow_of(workflow_id, organization_id)
    steps = sorted(workflow.tasks.all(), key=lambda step: step.step or 0, reverse=True)
    open_steps = [step for step in steps if not step.is_final]
    if not open_steps:
        raise InvalidState(
            f"Workflow {workflow.pk} has ended ({workflow.status}).", status=str(workflow.status)
        )
    for step in open_steps:
        _cancel_if_open(step.pk)
    return reading.workflow_of(workflow.pk)


def _cancel_if_open(task_id: UUID) -> None:
    try:
        cancel(task_id)
    except InvalidState:
        # It ended between our look and our word.
        return


def _cancelled(task: Task) -> State | None:
    """The state reached, or None when the row changed meanwhile."""
    if task.state == State.BLOCKED:
        return _end(task)
    if not _mark(task):
        return None
    place = _withdrawn(task)
    if place is None:
        # Redis is away: the mark stands, and a worker's upkeep finishes it.
        return State(task.state)
    if place.name == "running":
        transaction.on_commit(lambda: _stop(task, place.worker), robust=True)
        return State(task.state)
    if place.name == "absent" and task.state == State.PROCESSING:
        return State.PROCESSING
    return _end(task)


def _mark(task: Task) -> bool:
    """Say on the row that it is to be cancelled; whoever starts tasks looks at it."""
    rows = Task.objects.filter(pk=task.pk, state__in=lifecycle.STARTABLE | {State.PROCESSING})
    return rows.update(cancel_requested_at=timezone.now()) == 1


def _withdrawn(task: Task) -> Place | None:
    try:
        return _withdraw(task)
    except Unavailable:
        return None


def _withdraw(task: Task) -> Place:
    queue = TaskType(task.type).queue_name
    return crossing.ask(store.withdraw(queue, [str(task.pk)]), queue)[0]


def _end(task: Task) -> State | None:
    if not ending.end(task, State.CANCELLED, timezone.now(), CODE, MESSAGE):
        return None
    # A publish that was under way must not leave a final task in line.
    transaction.on_commit(lambda: _withdrawn(task), robust=True)
    return State.CANCELLED


def _stop(task: Task, worker: str) -> None:
    try:
        commands.stop(str(task.pk), worker, TaskType(task.type).queue_name)
    except Unavailable:
        # The worker's own look at the row's mark stops it.
        return


def _require_open(task: Task) -> None:
    if task.is_final:
        raise InvalidState(
            f"Task {task.pk} has ended ({task.state}).",
            task_id=str(task.pk),
            state=str(task.state),
        )
