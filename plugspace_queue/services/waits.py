"""Waits for the end of a task or of a workflow, in a thread or in a coroutine.

The event of the end wakes, the row decides: a lost event only delays, by RECHECK at most.
"""

import asyncio
import concurrent.futures
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from plugspace_queue.domain.enums import State
from plugspace_queue.errors import InvalidState, TaskFailed, WaitTimeout
from plugspace_queue.events import fanout, waiters
from plugspace_queue.events.frames import Topic
from plugspace_queue.events.waiters import Waiter
from plugspace_queue.models import Task, Workflow, task_queries
from plugspace_queue.services import arguments
from plugspace_queue.services.calls import database_needed
from plugspace_queue.services.lookup import task_of, workflow_of
from plugspace_queue.services.submission import alias

RECHECK = 2.0
"""Seconds after which the row is read although no event came."""

LONGEST_TIMEOUT = 86_400.0

R = TypeVar("R", Task, Workflow)


@dataclass(frozen=True, kw_only=True)
class Wait(Generic[R]):
    """What is waited for: the row, how it is read again, and whether it has ended."""

    row: R
    topic: Topic
    is_open: Callable[[], bool]
    read: Callable[[], R]
    timeout: float

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{type(self.row).__name__} {self.row.pk}"

    def begin(self) -> R | None:
        """The row when it has ended already. Raises InvalidState in an open transaction."""
        found = self.ended()
        if found is None and transaction.get_connection(alias()).in_atomic_block:
            raise InvalidState(
                _(
                    "%(name)s cannot end before this transaction does: wait after the commit."
                    " In a test, run it with plugspace_queue.testing."
                )
                % {"name": self.name}
            )
        return found

    def ended(self) -> R | None:
        """The row when it has ended."""
        with database_needed():
            return None if self.is_open() else self.read()

    def over(self) -> WaitTimeout:
        """The error for a wait that was too short."""
        return WaitTimeout(
            _("%(name)s has not ended within %(timeout)g s.")
            % {"name": self.name, "timeout": self.timeout}
        )


def of_task(task_id: object, timeout: object, organization_id: str | None) -> Wait[Task]:
    """Raises NotFound, ValidationRefused, Unavailable."""
    seconds = arguments.seconds("timeout", timeout, 0, LONGEST_TIMEOUT)
    with database_needed():
        row = task_of(task_id, organization_id)
    return Wait(
        row=row,
        topic=Topic("jobId", str(row.pk)),
        is_open=lambda: task_queries.is_open(row.pk),
        read=lambda: task_of(row.pk),
        timeout=seconds,
    )


def of_workflow(
    workflow_id: object, timeout: object, organization_id: str | None
) -> Wait[Workflow]:
    """Raises NotFound, ValidationRefused, Unavailable."""
    seconds = arguments.seconds("timeout", timeout, 0, LONGEST_TIMEOUT)
    with database_needed():
        row = workflow_of(workflow_id, organization_id)
    return Wait(
        row=row,
        topic=Topic("workflowId", str(row.pk)),
        is_open=lambda: task_queries.has_open_steps(row.pk),
        read=lambda: workflow_of(row.pk),
        timeout=seconds,
    )


def in_thread(wait: Wait[R]) -> R:
    """Block until the row has ended. Raises InvalidState, WaitTimeout, Unavailable."""
    found = wait.begin()
    if found is not None:
        return found
    ends_at = time.monotonic() + wait.timeout
    with closing(waiters.register(wait.topic)) as waiter:
        while (found := wait.ended()) is None:
            left = ends_at - time.monotonic()
            if left <= 0:
                raise wait.over()
            concurrent.futures.wait([waiter.woken], timeout=min(left, RECHECK))
            waiter.again()
    return found


async def in_loop(wait: Wait[R]) -> R:
    """The same for a coroutine: no thread waits; rows are read in the thread for the database."""
    found = await sync_to_async(wait.begin)()
    if found is not None:
        return found
    clock = asyncio.get_running_loop().time
    ends_at = clock() + wait.timeout
    with closing(await fanout.in_thread(lambda: waiters.register(wait.topic))) as waiter:
        while (found := await sync_to_async(wait.ended)()) is None:
            left = ends_at - clock()
            if left <= 0:
                raise wait.over()
            await until_woken(waiter, min(left, RECHECK))
    return found


async def until_woken(waiter: Waiter, timeout: float) -> None:
    """Wait for an event, or for so many seconds; then the waiter is ready for the next event."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            await asyncio.wrap_future(waiter.woken)
    waiter.again()


def completed(task: Task) -> Any:
    """The result of an ended task. Raises TaskFailed when it is not complete."""
    if task.state == State.COMPLETE:
        return task.result
    error = task.error or {}
    code = error.get("code") or str(task.state).upper()
    raise TaskFailed(
        _(_ENDED[State(task.state)])
        % {"id": task.pk, "code": code, "message": error.get("message", "")},
        code=code,
        task=task,
    )


def steps_completed(workflow: Workflow) -> list[Task]:
    """The steps of an ended workflow. Raises TaskFailed for the one that made it fail."""
    steps = sorted(workflow.tasks.all(), key=lambda task: task.step or 0)
    guilty = [task for task in steps if task.state != State.COMPLETE]
    # What was cancelled because of a failed step says less than that step.
    guilty.sort(key=lambda task: task.state == State.CANCELLED)
    for task in guilty[:1]:
        completed(task)
    return steps


_ENDED = {
    State.FAILED: gettext_noop("Task %(id)s has failed (%(code)s): %(message)s"),
    State.CANCELLED: gettext_noop("Task %(id)s has been cancelled (%(code)s): %(message)s"),
    State.EXPIRED: gettext_noop("Task %(id)s has expired (%(code)s): %(message)s"),
}
