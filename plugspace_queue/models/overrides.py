"""What staff set for a while: limits of a queue, quotas of an organization.

An override is evaluated when it is read; the row that it overrides never changes.
"""

from datetime import datetime
from typing import Any, Literal, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy

from plugspace_queue.domain.enums import OverrideKey
from plugspace_queue.domain.tiers import UNLIMITED
from plugspace_queue.models.organization import Organization

OverrideState = Literal["pending", "active", "ended"]

KEY_CHOICES = [(key.value, key.value.replace("_", " ")) for key in OverrideKey]

LONGEST_REASON = 200
LONGEST_AUTHOR = 150

OF_QUEUES = (
    OverrideKey.LIMITER,
    OverrideKey.CONCURRENCY,
    OverrideKey.GLOBAL_CONCURRENCY,
    OverrideKey.ORGANIZATION_CONCURRENCY,
)
OF_ORGANIZATIONS = (OverrideKey.QUOTA, OverrideKey.GRANT)


class OverrideQuerySet(models.QuerySet["Override"]):
    def of_queue(self, task_type: str) -> Self:
        """Overrides of the limits of one queue."""
        return self.filter(organization__isnull=True, type=task_type)

    def of_queues(self) -> Self:
        """Overrides of the limits of all queues."""
        return self.filter(organization__isnull=True)

    def of_organization(self, organization_id: str) -> Self:
        """Quotas and grants of one organization."""
        return self.filter(organization_id=organization_id)

    def in_force(self, now: datetime) -> Self:
        """Those that have begun and not ended."""
        return self.not_over(now).filter(starts_at__lte=now)

    def not_over(self, now: datetime) -> Self:
        """Those in force, and those that begin later."""
        return self.filter(Q(ends_at__isnull=True) | Q(ends_at__gt=now))

    def over(self, now: datetime) -> Self:
        """Those that have ended."""
        return self.filter(ends_at__lte=now)

    def newest_first(self) -> Self:
        """The order in which one of several for the same key wins."""
        return self.order_by("-pk")


class Override(models.Model):
    """A value in force from `starts_at` until just before `ends_at`.

    Of several in force for one key the newest wins; grants are added up.
    """

    organization = models.ForeignKey(
        Organization,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="overrides",
        db_index=False,
        help_text=gettext_lazy("Whose quota; empty for the limits of a queue."),
    )
    type = models.CharField(max_length=32, help_text=gettext_lazy("Task type."))
    key = models.CharField(max_length=32, choices=KEY_CHOICES)
    value = models.BigIntegerField(
        help_text=gettext_lazy("Starts, slots, tasks per month; -1 is no limit.")
    )
    duration = models.FloatField(
        null=True, blank=True, help_text=gettext_lazy("Window of a limiter, seconds.")
    )
    starts_at = models.DateTimeField(default=timezone.now)
    ends_at = models.DateTimeField(
        null=True, blank=True, help_text=gettext_lazy("Empty: until it is ended.")
    )
    reason = models.CharField(max_length=LONGEST_REASON)
    author = models.CharField(max_length=LONGEST_AUTHOR, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = OverrideQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["organization", "type", "key", "-id"], name="psq_override_org"),
            models.Index(
                fields=["type", "ends_at"],
                condition=Q(organization__isnull=True),
                name="psq_override_queue",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(organization__isnull=True, key__in=[key.value for key in OF_QUEUES])
                | Q(organization__isnull=False, key__in=[key.value for key in OF_ORGANIZATIONS]),
                name="psq_override_key_known",
            ),
            models.CheckConstraint(
                condition=Q(value__gte=1) | Q(key=OverrideKey.QUOTA.value, value__gte=UNLIMITED),
                name="psq_override_value_possible",
            ),
            models.CheckConstraint(
                condition=Q(key=OverrideKey.LIMITER.value, duration__isnull=False, duration__gt=0)
                | (~Q(key=OverrideKey.LIMITER.value) & Q(duration__isnull=True)),
                name="psq_override_window",
            ),
            models.CheckConstraint(
                condition=Q(ends_at__isnull=True) | Q(ends_at__gte=models.F("starts_at")),
                name="psq_override_ends_later",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.organization_id or 'queue'} {self.type}: {self.said}"

    @property
    def said(self) -> str:
        """What it sets, for people."""
        match self.key:
            case OverrideKey.LIMITER:
                return f"{self.value} starts in {self.duration:g} s"
            case OverrideKey.GRANT:
                return f"{self.value} more per month"
            case OverrideKey.QUOTA:
                return "no limit" if self.value == UNLIMITED else f"quota {self.value}"
        return f"{OverrideKey(self.key).value.replace('_', ' ')} {self.value}"

    @property
    def limits(self) -> dict[str, Any]:
        """The values of a queue that it sets, by the names of `QueuePolicy`; {} for quotas."""
        if self.key == OverrideKey.LIMITER:
            return {"limiter_max": self.value, "limiter_duration": self.duration}
        return {self.key: self.value} if self.key in OF_QUEUES else {}

    def state_at(self, now: datetime) -> OverrideState:
        """Whether it is to come, in force or over."""
        if self.is_over(now):
            return "ended"
        return "active" if self.is_in_force(now) else "pending"

    def is_in_force(self, now: datetime) -> bool:
        """Whether it counts at this moment."""
        return self.starts_at <= now and not self.is_over(now)

    def is_over(self, now: datetime) -> bool:
        """Whether it has ended."""
        return self.ends_at is not None and self.ends_at <= now
