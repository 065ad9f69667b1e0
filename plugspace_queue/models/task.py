"""The task and its attempts: the durable truth about one unit of work."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from plugspace_queue import task_log
from plugspace_queue.domain import lifecycle, permissions
from plugspace_queue.domain.enums import Outcome, State, Status
from plugspace_queue.domain.ids import new_id
from plugspace_queue.models.organization import Organization
from plugspace_queue.models.queue import TYPE_CHOICES
from plugspace_queue.models.workflow import Workflow

STATE_CHOICES = [(state.value, state.value) for state in State]
OUTCOME_CHOICES = [(outcome.value, outcome.value) for outcome in Outcome]
# Too few among the completed ones to be met on a walk.
RARE_OUTCOMES = [outcome.value for outcome in Outcome if outcome != Outcome.COMPLETE]
FINAL_VALUES = sorted(state.value for state in lifecycle.FINAL)
OPEN_VALUES = sorted(state.value for state in State if state not in lifecycle.FINAL)


class TaskQuerySet(models.QuerySet["Task"]):
    def of_organization(self, organization_id: str | None) -> Self:
        """Tasks of one organization; all of them for None (staff)."""
        return self if organization_id is None else self.filter(organization_id=organization_id)

    def with_status(self, status: Status | str) -> Self:
        """Tasks that show as this public status."""
        return self.filter(state__in=sorted(lifecycle.states_of(status)))

    def open(self) -> Self:
        """Tasks that have not ended."""
        return self.filter(state__in=OPEN_VALUES)

    def ended_before(self, state: State, moment: datetime) -> Self:
        """Final tasks of one state that ended before `moment`."""
        return self.filter(state=state, completed_at__lt=moment)

    def move(self, task_id: uuid.UUID, source: State, target: State, **fields: Any) -> bool:
        """Compare-and-set one task's state; False when somebody was first."""
        if self.filter(pk=task_id)._change(source, target, fields) != 1:
            return False
        task_log.change_on_commit([task_id], target, source, using=self.db)
        return True

    def move_all(self, source: State, target: State, **fields: Any) -> int:
        """Compare-and-set the state of all these tasks; how many moved."""
        # The callers hold these rows, so that those it finds are those it changes.
        found = self.filter(state=source).values_list("pk", flat=True)
        moved = list(found) if task_log.wants_changes() else []
        count = self._change(source, target, fields)
        task_log.change_on_commit(moved, target, source, using=self.db)
        return count

    def _change(self, source: State, target: State, fields: Mapping[str, Any]) -> int:
        lifecycle.require(source, target)
        return self.filter(state=source).update(state=target, **fields)


class Task(models.Model):
    """One unit of work of one organization. Its id is also the RQ job id."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    type = models.CharField(max_length=16, choices=TYPE_CHOICES)
    # No index of its own: psq_task_org begins with it, and each one is paid at every change.
    organization = models.ForeignKey(
        Organization, on_delete=models.PROTECT, related_name="tasks", db_index=False
    )
    project_id = models.CharField(max_length=128)
    user_id = models.CharField(max_length=128)
    priority = models.PositiveSmallIntegerField()
    input = models.JSONField(default=dict)
    context = models.JSONField(default=dict)

    state = models.CharField(max_length=12, choices=STATE_CHOICES, default=State.WAITING)
    result = models.JSONField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True)
    progress = models.JSONField(null=True, blank=True)

    queued_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True, help_text="Start of the last attempt.")
    completed_at = models.DateTimeField(null=True, blank=True)
    duration = models.BigIntegerField(null=True, blank=True, help_text="ms of the last attempt")
    tokens_used = models.BigIntegerField(default=0)
    cost = models.DecimalField(max_digits=18, decimal_places=8, default=0)

    retry_count = models.PositiveIntegerField(default=0)
    max_retries = models.PositiveIntegerField(default=3)
    recovery_count = models.PositiveIntegerField(default=0)
    deferral_count = models.PositiveIntegerField(default=0)
    attempt_count = models.PositiveIntegerField(default=0)
    ttl = models.PositiveIntegerField(default=3600, help_text="seconds to wait for the first start")

    fence = models.BigIntegerField(default=0, help_text="Token of the newest attempt.")
    worker_name = models.CharField(max_length=128, blank=True)
    wake_at = models.DateTimeField(null=True, blank=True, help_text="Not before.")
    deadline = models.DateTimeField(null=True, blank=True, help_text="First start not after.")
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    open_deps = models.PositiveIntegerField(default=0)

    workflow = models.ForeignKey(
        Workflow, on_delete=models.CASCADE, null=True, blank=True, related_name="tasks"
    )
    step = models.PositiveSmallIntegerField(null=True, blank=True)
    parents = models.ManyToManyField(
        "self", through="Dependency", symmetrical=False, related_name="children"
    )

    charged_month = models.CharField(max_length=7, blank=True)
    refunded_at = models.DateTimeField(null=True, blank=True)

    objects = TaskQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        permissions = permissions.OWN_PERMISSIONS
        indexes = [
            models.Index(fields=["organization", "-id"], name="psq_task_org"),
            models.Index(fields=["organization", "state", "-id"], name="psq_task_org_state"),
            models.Index(fields=["project_id", "-id"], name="psq_task_project"),
            models.Index(fields=["state", "type", "-id"], name="psq_task_state_type"),
            # Open ones are few and new: the oldest of them lie behind all that ended.
            models.Index(fields=["id"], condition=Q(state__in=OPEN_VALUES), name="psq_task_open"),
            models.Index(
                fields=["deadline"], condition=Q(deadline__isnull=False), name="psq_task_deadline"
            ),
            models.Index(
                fields=["cancel_requested_at"],
                condition=Q(cancel_requested_at__isnull=False) & Q(state__in=OPEN_VALUES),
                name="psq_task_cancelling",
            ),
            models.Index(
                fields=["state", "completed_at"],
                condition=Q(completed_at__isnull=False),
                name="psq_task_ended",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in State]), name="psq_task_state_known"
            ),
            models.CheckConstraint(condition=Q(priority__lte=3), name="psq_task_priority_known"),
            # A final state and its time never disagree (riverqueue's finalized_at check).
            models.CheckConstraint(
                condition=Q(state__in=FINAL_VALUES, completed_at__isnull=False)
                | Q(state__in=OPEN_VALUES, completed_at__isnull=True),
                name="psq_task_ended_when_final",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.BLOCKED) | Q(open_deps__gt=0), name="psq_task_blocked_by"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.pk}"

    @property
    def status(self) -> Status:
        """The seed's public status."""
        return lifecycle.status_of(self.state)

    @property
    def is_final(self) -> bool:
        """Whether nothing happens any more unless somebody retries by hand."""
        return State(self.state) in lifecycle.FINAL


class Dependency(models.Model):
    """`task` waits for `parent` to complete."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="dependencies")
    parent = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="dependents")

    class Meta:
        verbose_name_plural = "dependencies"
        constraints = [
            models.UniqueConstraint(fields=["parent", "task"], name="psq_dependency_once"),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} after {self.parent_id}"


class Attempt(models.Model):
    """One ended execution of a task; the running one is told by the task's own row."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    fence = models.BigIntegerField()
    worker_name = models.CharField(max_length=128, blank=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    outcome = models.CharField(max_length=12, choices=OUTCOME_CHOICES)
    error = models.JSONField(null=True, blank=True)
    tokens_used = models.BigIntegerField(default=0)
    cost = models.DecimalField(max_digits=18, decimal_places=8, default=0)
    log = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ["task_id", "number", "fence"]
        indexes = [
            models.Index(
                fields=["outcome", "-id"],
                condition=Q(outcome__in=RARE_OUTCOMES),
                name="psq_attempt_rare",
            )
        ]
        constraints = [
            models.UniqueConstraint(fields=["task", "fence"], name="psq_attempt_once"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.task_id}: {self.outcome}"
