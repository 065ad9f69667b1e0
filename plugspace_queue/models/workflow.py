"""A chain or graph of tasks with one input; its state is derived from its steps."""

import uuid
from collections.abc import Iterable

from django.db import models
from django.utils import timezone

from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import Kind, State, Status
from plugspace_queue.domain.ids import new_id
from plugspace_queue.models.organization import Organization

KIND_CHOICES = [(kind.value, kind.value) for kind in Kind]


def status_of_steps(states: Iterable[State | str]) -> Status:
    """The public status of a workflow whose steps are in these states."""
    seen = {State(state) for state in states}
    if seen and seen <= {State.COMPLETE}:
        return Status.COMPLETE
    if seen <= lifecycle.FINAL and seen:
        return Status.FAILED
    if seen & {State.PROCESSING, State.COMPLETE, State.RETRYING}:
        return Status.PROCESSING
    return Status.PENDING


class Workflow(models.Model):
    """One run of a kind for an organization; its steps are tasks."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=16, choices=KIND_CHOICES)
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
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind__in=[kind.value for kind in Kind]),
                name="psq_workflow_kind_known",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    @property
    def status(self) -> Status:
        """Derived from the steps; prefetch `tasks` in lists."""
        return status_of_steps(task.state for task in self.tasks.all())

    @property
    def task_ids(self) -> list[uuid.UUID]:
        """Ids of the steps in their order."""
        return [task.pk for task in sorted(self.tasks.all(), key=lambda task: task.step or 0)]
