"""What the demo submits: the documented workflow, then its result published and packed."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from plugspace_queue import TaskType, queue_manager

PROJECT = "saas-dashboard"
USER = "demo"
INPUT = {
    "prompt": "Create a SaaS dashboard",
    "context": {"industry": "saas"},
    "options": {"skipDesign": False, "skipCode": False},
}
DELIVERY = (TaskType.DEPLOY, TaskType.EXPORT)
COMPLETE = "complete"
FINAL = {COMPLETE, "failed", "cancelled", "expired"}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One task as the display shows it."""

    type: str
    state: str
    percent: float
    stage: str
    seconds: float
    error: str

    @property
    def is_complete(self) -> bool:
        """Whether it ended as it should."""
        return self.state == COMPLETE

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in FINAL


def submit(organization_id: str) -> list[uuid.UUID]:
    """Submit the workflow, and two tasks that wait for its CODE step; ids in order."""
    handle = queue_manager.add_workflow(PROJECT, USER, organization_id, INPUT)
    code = handle.task_ids[-1]
    return [*handle.task_ids, *(_after(kind, code, organization_id) for kind in DELIVERY)]


def _after(task_type: TaskType, parent: uuid.UUID, organization_id: str) -> uuid.UUID:
    task = queue_manager.add_task(
        task_type,
        project_id=PROJECT,
        user_id=USER,
        organization_id=organization_id,
        input={},
        depends_on=[parent],
    )
    return task.pk


def look(ids: Sequence[uuid.UUID]) -> list[Step]:
    """The steps as their rows tell them, in the order of `ids`."""
    return [_step(queue_manager.get_task(task_id)) for task_id in ids]


def _step(task: Any) -> Step:
    progress = task.progress or {}
    percent = 100.0 if task.state == COMPLETE else float(progress.get("percent") or 0)
    return Step(
        type=task.type,
        state=task.state,
        percent=percent,
        stage="" if task.is_final else str(progress.get("stage") or ""),
        seconds=_seconds(task),
        error=_error(task),
    )


def _seconds(task: Any) -> float:
    if task.started_at is None:
        return 0.0
    took: float = ((task.completed_at or timezone.now()) - task.started_at).total_seconds()
    return took


def _error(task: Any) -> str:
    return f"{task.error.get('code')}: {task.error.get('message')}" if task.error else ""
