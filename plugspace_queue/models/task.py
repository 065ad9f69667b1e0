"""The task and its attempts: the durable truth about one unit of work."""

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy

from plugspace_queue.domain import lifecycle, permissions
from plugspace_queue.domain.enums import Outcome, State, Status
from plugspace_queue.domain.fingerprint import LONGEST_CODE
from plugspace_queue.domain.ids import new_id
from plugspace_queue.domain.task_types import LONGEST_NAME
from plugspace_queue.models.indexes import PartialOnPostgres
from plugspace_queue.models.organization import Organization
from plugspace_queue.models.querysets import FINAL_VALUES, OPEN_VALUES, TaskQuerySet
from plugspace_queue.models.workflow import Workflow

STATE_CHOICES = [(state.value, state.value) for state in State]
OUTCOME_CHOICES = [(outcome.value, outcome.value) for outcome in Outcome]
# Too rare among completed attempts to be found by a scan, so they have an index.
RARE_OUTCOMES = [outcome.value for outcome in Outcome if outcome != Outcome.COMPLETE]


class Task(models.Model):
    """One unit of work of one organization. Its id is also the RQ job id."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    type = models.CharField(max_length=LONGEST_NAME)
    # No index of its own: psq_task_org begins with it, and each one is paid at every change.
    organization = models.ForeignKey(
        Organization, on_delete=models.PROTECT, related_name="tasks", db_index=False
    )
    project_id = models.CharField(max_length=128)
    user_id = models.CharField(max_length=128)
    priority = models.PositiveSmallIntegerField()
    # The three have defaults in the database too: a process of the release before may insert.
    tier = models.CharField(
        max_length=32,
        blank=True,
        default="",
        db_default="",
        help_text=gettext_lazy("Slug, at acceptance."),
    )
    input = models.JSONField(default=dict)
    context = models.JSONField(default=dict)

    state = models.CharField(max_length=12, choices=STATE_CHOICES, default=State.WAITING)
    result = models.JSONField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True)
    # Empty unless it has ended without completing.
    error_code = models.CharField(max_length=LONGEST_CODE, blank=True, default="", db_default="")
    fingerprint = models.CharField(
        max_length=24,
        blank=True,
        default="",
        db_default="",
        help_text=gettext_lazy("Of its failure group."),
    )
    progress = models.JSONField(null=True, blank=True)

    queued_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(
        null=True, blank=True, help_text=gettext_lazy("Start of the last attempt.")
    )
    completed_at = models.DateTimeField(null=True, blank=True)
    duration = models.BigIntegerField(
        null=True, blank=True, help_text=gettext_lazy("ms of the last attempt")
    )
    tokens_used = models.BigIntegerField(default=0)
    cost = models.DecimalField(max_digits=18, decimal_places=8, default=0)

    retry_count = models.PositiveIntegerField(default=0)
    max_retries = models.PositiveIntegerField(default=3)
    recovery_count = models.PositiveIntegerField(default=0)
    deferral_count = models.PositiveIntegerField(default=0)
    attempt_count = models.PositiveIntegerField(default=0)
    ttl = models.PositiveIntegerField(
        default=3600, help_text=gettext_lazy("seconds to wait for the first start")
    )

    fence = models.BigIntegerField(
        default=0, help_text=gettext_lazy("Token of the newest attempt.")
    )
    worker_name = models.CharField(max_length=128, blank=True)
    wake_at = models.DateTimeField(null=True, blank=True, help_text=gettext_lazy("Not before."))
    deadline = models.DateTimeField(
        null=True, blank=True, help_text=gettext_lazy("First start not after.")
    )
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    open_deps = models.PositiveIntegerField(default=0)

    # Its own index would hold every task that belongs to no workflow: psq_task_workflow does not.
    workflow = models.ForeignKey(
        Workflow,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="tasks",
        db_index=False,
    )
    step = models.PositiveSmallIntegerField(null=True, blank=True)
    # With defaults in the database too, as a deploy's old processes do not know them.
    step_name = models.CharField(
        max_length=32, blank=True, default="", db_default="", help_text=gettext_lazy("In its kind.")
    )
    may_fail = models.BooleanField(
        default=False,
        db_default=False,
        help_text=gettext_lazy("Its workflow goes on when it fails or expires."),
    )
    has_input_from = models.BooleanField(
        default=False,
        db_default=False,
        help_text=gettext_lazy("Its kind's `input_from` makes its input."),
    )
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
            # Nearly all rows are complete ones, and the newest of those are found by id.
            PartialOnPostgres(
                fields=["state", "type", "-id"],
                condition=~Q(state=State.COMPLETE.value),
                name="psq_task_not_complete",
            ),
            # Open ones are few and new: the oldest of them lie behind all that ended.
            models.Index(fields=["id"], condition=Q(state__in=OPEN_VALUES), name="psq_task_open"),
            models.Index(
                fields=["deadline"], condition=Q(deadline__isnull=False), name="psq_task_deadline"
            ),
            models.Index(
                fields=["workflow"],
                condition=Q(workflow__isnull=False),
                name="psq_task_workflow",
            ),
            models.Index(
                fields=["cancel_requested_at"],
                condition=Q(cancel_requested_at__isnull=False) & Q(state__in=OPEN_VALUES),
                name="psq_task_cancelling",
            ),
            models.Index(
                fields=["type", "error_code", "-id"],
                condition=Q(state=State.FAILED.value),
                name="psq_task_failed",
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
        """The public status."""
        return lifecycle.status_of(self.state)

    @property
    def name_in_workflow(self) -> str:
        """The name of the step; of rows from before names existed it is the type."""
        return self.step_name or self.type

    @property
    def is_final(self) -> bool:
        """Whether it has ended; only a manual retry runs it again."""
        return State(self.state) in lifecycle.FINAL


class Dependency(models.Model):
    """`task` waits for `parent` to complete."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="dependencies")
    # The unique constraint begins with it.
    parent = models.ForeignKey(
        Task, on_delete=models.CASCADE, related_name="dependents", db_index=False
    )

    class Meta:
        verbose_name_plural = gettext_lazy("dependencies")
        constraints = [
            models.UniqueConstraint(fields=["parent", "task"], name="psq_dependency_once"),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} after {self.parent_id}"


class Attempt(models.Model):
    """One ended execution of a task; the running one is in the task's own row."""

    # The unique constraint begins with it.
    task = models.ForeignKey(
        Task, on_delete=models.CASCADE, related_name="attempts", db_index=False
    )
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
