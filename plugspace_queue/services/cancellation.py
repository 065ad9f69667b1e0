"""Cancels tasks: withdraws them from Redis, then ends their rows; asks running ones to stop."""

from collections.abc import Sequence
from typing import Literal

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from plugspace_queue.broker import commands, routing, task_store
from plugspace_queue.broker.types import Place
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.catalog import find
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import queue_of
from plugspace_queue.errors import InvalidState, Unavailable
from plugspace_queue.models import Task, Workflow, task_queries
from plugspace_queue.services import lookup, termination

CODE = "CANCELLED"
MESSAGE = "The task was cancelled."
TRIES = 3
"""How often a cancel is tried when the row changes its state meanwhile."""


def cancel(task_id: object, organization_id: str | None = None) -> State:
    """Cancel a task; return its state: cancelled, or unchanged while the cancel is pending.

    Raises NotFound, InvalidState when it has ended.
    """
    task = lookup.task_of(task_id, organization_id)
    _require_open(task)
    for _try in range(TRIES):
        reached = _cancelled(task)
        if reached is not None:
            return reached
        task = lookup.task_of(task.pk)
        if task.state == State.CANCELLED:
            # Maintenance or another caller has finished the cancel meanwhile.
            return State.CANCELLED
        _require_open(task)
    return State(task.state)


def cancel_workflow(workflow_id: object, organization_id: str | None = None) -> Workflow:
    """Cancel all steps that have not ended, at once; return the workflow.

    Cancelled one by one in a caller's transaction, the refund of one step would lock the quota's
    counter before the row of the next step, against the lock order. Raises NotFound, InvalidState
    when all steps have ended.
    """
    workflow = lookup.workflow_of(workflow_id, organization_id)
    with transaction.atomic():
        steps = _locked_steps(workflow)
        # In reverse order, so that the steps that depend on a step end before it.
        ending_now = [step for step in reversed(steps) if _leaves(step)]
        _end(ending_now)
    return lookup.workflow_of(workflow.pk)


def _locked_steps(workflow: Workflow) -> list[Task]:
    open_steps = workflow.tasks.open().order_by("pk").select_for_update(no_key=True)
    steps = list(open_steps)
    if not steps:
        raise InvalidState(
            _("Workflow %(workflow)s has ended (%(status)s).")
            % {"workflow": workflow.pk, "status": workflow.status},
            status=str(workflow.status),
        )
    return steps


def _leaves(step: Task) -> bool:
    """Whether no worker has the step; otherwise it is marked and its worker is asked to stop it."""
    if step.state == State.BLOCKED:
        return True
    return _mark(step) and _place_after_withdrawal(step) == "nowhere"


def _cancelled(task: Task) -> State | None:
    """The state reached, or None when the row changed meanwhile."""
    if task.state != State.BLOCKED:
        if not _mark(task):
            return None
        if _place_after_withdrawal(task) == "elsewhere":
            return State(task.state)
    return State.CANCELLED if _end([task]) else None


def _place_after_withdrawal(task: Task) -> Literal["nowhere", "elsewhere"]:
    """Withdraw the task from Redis. "nowhere": the caller may end its row.

    "elsewhere": a worker has it, or Redis is unavailable. Then the mark on the row stays, and a
    worker stops the task or finishes the cancel.
    """
    place = _withdrawn(task)
    if place is None:
        return "elsewhere"
    if place.name == "running":
        transaction.on_commit(lambda: _stop(task, place.worker), robust=True)
        return "elsewhere"
    is_lost = place.name == "absent" and task.state == State.PROCESSING
    return "elsewhere" if is_lost else "nowhere"


def _mark(task: Task) -> bool:
    """Mark the row as to be cancelled, which prevents a start; False when its state forbids it."""
    rows = task_queries.task_by_id(task.pk)
    return (
        rows.in_state(*lifecycle.STARTABLE, State.PROCESSING).update(
            cancel_requested_at=timezone.now()
        )
        == 1
    )


def _withdrawn(task: Task) -> Place | None:
    try:
        return _withdraw(task)
    except Unavailable:
        return None


def _withdraw(task: Task) -> Place:
    if find(task.type) is None:
        # Its type was dropped: no worker has it, and nothing reads what Redis still holds.
        return Place("absent", worker="")
    queue = queue_of(task.type)
    return routing.ask(task_store.withdraw(queue, [str(task.pk)]), queue)[0]


def _end(tasks: Sequence[Task]) -> list[Task]:
    """End the tasks that did not change meanwhile, and return them."""
    ended = termination.end_all(tasks, State.CANCELLED, timezone.now(), CODE, MESSAGE)
    for task in ended:
        # A publish in progress may have added the task again; a final task must not stay in Redis.
        _withdraw_after_commit(task)
    return ended


def _withdraw_after_commit(task: Task) -> None:
    # A lambda and not a partial: Django logs the `__qualname__` of a hook that fails.
    transaction.on_commit(lambda: _withdrawn(task), robust=True)


def _stop(task: Task, worker: str) -> None:
    try:
        commands.stop(str(task.pk), worker, queue_of(task.type))
    except Unavailable:
        # The worker also checks the row's mark once a second.
        return


def _require_open(task: Task) -> None:
    if task.is_final:
        raise InvalidState(
            _("Task %(task)s has ended (%(state)s).") % {"task": task.pk, "state": task.state},
            task_id=str(task.pk),
            state=str(task.state),
        )
