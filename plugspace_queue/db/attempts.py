"""Tuples for data of attempts between the database and the worker; their JSON stays text.

They are used because a model instance for each attempt costs more than its statements.
"""

import json
import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from plugspace_queue.domain.enums import Outcome, State
from plugspace_queue.models.task import Task

Key = tuple[str, int]
"""A task's id and the fence of one of its attempts."""


class StartedTask(NamedTuple):
    """The columns that an attempt needs of its row, after its start; JSON is text."""

    task_id: str
    fence: int
    type: str
    organization_id: str
    project_id: str
    user_id: str
    workflow_id: str | None
    step: int | None
    step_name: str
    may_fail: bool
    has_input_from: bool
    priority: int
    input_text: str
    context_text: str
    error_text: str | None
    queued_at: datetime
    duration: int | None
    tokens_used: int
    cost: Decimal
    retry_count: int
    max_retries: int
    recovery_count: int
    deferral_count: int
    attempt_count: int
    ttl: int
    charged_month: str
    refunded_at: datetime | None
    worker_name: str
    started_at: datetime

    def as_task(self, **changes: Any) -> Task:
        """The row as a model instance, with the given changes."""
        values: dict[str, Any] = {name: getattr(self, name) for name in PLAIN}
        for name in ("input", "context", "error"):
            text = getattr(self, f"{name}_text")
            values[name] = None if text is None else json.loads(text)
        workflow_id = None if self.workflow_id is None else uuid.UUID(self.workflow_id)
        task = Task(
            id=uuid.UUID(self.task_id),
            workflow_id=workflow_id,
            **(values | {"state": State.PROCESSING} | changes),
        )
        task._state.adding, task._state.db = False, "default"
        # No attempt needs it, so it was not read: a caller that asks for it reads the row.
        del task.__dict__["tier"]
        return task

    @property
    def is_first(self) -> bool:
        """Whether it is plain to see that it follows no other task, without reading its JSON."""
        text = self.context_text
        return '"previousTasks": []' in text or '"previousTasks":[]' in text


PLAIN = tuple(
    name
    for name in StartedTask._fields
    if name not in ("task_id", "workflow_id") and not name.endswith("_text")
)


class TaskUpdate(NamedTuple):
    """The row's values after an attempt, and the tokens and cost of the attempt itself."""

    task_id: str
    fence: int
    state: State
    outcome: Outcome
    result_text: str | None
    """The result as JSON; None unless the task is complete."""
    error: dict[str, Any] | None
    progress: dict[str, Any] | None
    completed_at: datetime | None
    duration: int
    tokens_used: int
    cost: Decimal
    retry_count: int
    deferral_count: int
    recovery_count: int
    wake_at: datetime | None
    attempt_tokens: int
    attempt_cost: Decimal
    log: list[str]
    error_code: str = ""
    """Of a task that has ended without completing, like its fingerprint."""
    fingerprint: str = ""

    @property
    def result(self) -> Any:
        """The result as a value."""
        return None if self.result_text is None else json.loads(self.result_text)
