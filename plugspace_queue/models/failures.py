"""Failed tasks by cause: the groups that operators see, and how many failed in which minute."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy

from plugspace_queue.domain.fingerprint import LONGEST_CLASS, LONGEST_CODE
from plugspace_queue.models.organization import Organization


class FailureGroup(models.Model):
    """Tasks of one type that failed by one cause, and what operators decided about it."""

    class State(models.TextChoices):
        OPEN = "open"
        MUTED = "muted"
        RESOLVED = "resolved"

    type = models.CharField(max_length=32)
    code = models.CharField(max_length=LONGEST_CODE)
    fingerprint = models.CharField(
        max_length=24,
        blank=True,
        help_text=gettext_lazy("Empty: causes too many to be kept apart."),
    )
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    total = models.BigIntegerField(default=0)
    # Of the first failure; secrets are hidden before they are stored.
    class_name = models.CharField(max_length=LONGEST_CLASS, blank=True)
    message = models.CharField(max_length=500, blank=True)
    stack = models.TextField(blank=True)
    task_id = models.UUIDField(
        null=True, blank=True, help_text=gettext_lazy("The newest; it may be gone.")
    )

    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    muted_until = models.DateTimeField(
        null=True, blank=True, help_text=gettext_lazy("Empty: without an end.")
    )
    note = models.CharField(max_length=200, blank=True)
    changed_by = models.CharField(
        max_length=150, blank=True, help_text=gettext_lazy("A user name.")
    )
    changed_at = models.DateTimeField(null=True, blank=True)
    reopened_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        # Its pages ask for the permissions of the queue.
        default_permissions = ()
        verbose_name = gettext_lazy("failure group")
        verbose_name_plural = gettext_lazy("failures")
        ordering = ["-last_seen"]
        constraints = [
            models.UniqueConstraint(
                fields=["type", "code", "fingerprint"], name="psq_failure_group_once"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["open", "muted", "resolved"]),
                name="psq_failure_group_state_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.code}: {self.cause}"[:200]

    @property
    def cause(self) -> str:
        """What went wrong, as Python says it: `KeyError: 'palette'`."""
        return f"{self.class_name}: {self.message}" if self.class_name else self.message


class FailureMinute(models.Model):
    """How many tasks of a group and an organization failed within one minute."""

    group = models.ForeignKey(
        FailureGroup, on_delete=models.CASCADE, related_name="minutes", db_index=False
    )
    # Without a constraint: each count would lock the organization's row.
    organization = models.ForeignKey(
        Organization,
        on_delete=models.CASCADE,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    minute = models.DateTimeField()
    n = models.PositiveIntegerField()

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["minute"], name="psq_failure_minute")]
        constraints = [
            models.UniqueConstraint(
                fields=["group", "minute", "organization"], name="psq_failure_minute_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.n} of group {self.group_id} at {self.minute:%Y-%m-%d %H:%M}"
