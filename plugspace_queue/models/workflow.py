"""A chain or graph of tasks with one input; its state is derived from its steps."""

import uuid
from collections.abc import Iterable
from typing import Any, Protocol

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy

from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State, Status
from plugspace_queue.domain.ids import new_id
from plugspace_queue.models.organization import Organization


class StepRow(Protocol):
    """What the status of a workflow depends on."""

    state: Any
    may_fail: Any


def status_of_steps(steps: Iterable[StepRow]) -> Status:
    """The public status of a workflow with these steps.

    It is complete when each step is, but for steps that it may go on without.
    """
    rows = list(steps)
    # What the workflow goes on without is as good as complete while something else is.
    seen = {State.COMPLETE if is_missed(row) else State(row.state) for row in rows}
    if seen == {State.COMPLETE} and any(row.state == State.COMPLETE for row in rows):
        return Status.COMPLETE
    if seen <= lifecycle.FINAL and seen:
        return Status.FAILED
    if seen & {State.PROCESSING, State.COMPLETE, State.RETRYING}:
        return Status.PROCESSING
    return Status.PENDING


def is_missed(step: StepRow) -> bool:
    """Whether a step has ended without its output, and its workflow goes on without it."""
    return bool(step.may_fail) and State(step.state) in lifecycle.MISSED


class Workflow(models.Model):
    """One run of a kind for an organization; its steps are tasks."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    # Without choices, so that no migration follows a kind that is declared or dropped.
    kind = models.CharField(max_length=32)
    kind_version = models.CharField(
        max_length=16,
        blank=True,
        default="",
        db_default="",
        help_text=gettext_lazy("A digest of its graph."),
    )
    organization = models.ForeignKey(
        Organization, on_delete=models.PROTECT, related_name="workflows", db_index=False
    )
    project_id = models.CharField(max_length=128)
    user_id = models.CharField(max_length=128)
    input = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["organization", "-id"], name="psq_workflow_org"),
            models.Index(fields=["project_id", "-id"], name="psq_workflow_project"),
            models.Index(fields=["kind", "-id"], name="psq_workflow_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    @property
    def status(self) -> Status:
        """Derived from the steps; prefetch `tasks` in lists."""
        return status_of_steps(self.tasks.all())

    @property
    def task_ids(self) -> list[uuid.UUID]:
        """Ids of the steps in their order."""
        return [task.pk for task in sorted(self.tasks.all(), key=lambda task: task.step or 0)]
