"""What an organization used: a counter per month and type, and the entries that explain it."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy

from plugspace_queue.domain.task_types import LONGEST_NAME
from plugspace_queue.models.organization import Organization
from plugspace_queue.models.task import Task


class MonthlyUsage(models.Model):
    """Units reserved minus units refunded; moved only by conditional updates in `quotas`."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="usage")
    type = models.CharField(max_length=LONGEST_NAME)
    month = models.CharField(max_length=7, help_text=gettext_lazy("YYYY-MM in UTC"))
    used = models.BigIntegerField(default=0)
    version = models.BigIntegerField(default=0, help_text=gettext_lazy("Rises with every change."))

    class Meta:
        verbose_name = gettext_lazy("usage")
        verbose_name_plural = gettext_lazy("usage")
        ordering = ["-month", "organization_id", "type"]
        # Without `used`: a column of an index would make every submit write that index too.
        indexes = [models.Index(fields=["month", "organization"], name="psq_usage_month")]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "type", "month"], name="psq_usage_once"
            ),
            models.CheckConstraint(condition=models.Q(used__gte=0), name="psq_usage_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.organization_id} {self.type} {self.month}: {self.used}"


class UsageEntry(models.Model):
    """One line of the append-only ledger."""

    class Reason(models.TextChoices):
        RESERVE = "reserve"
        REFUND = "refund"
        SETTLE = "settle"

    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    type = models.CharField(max_length=LONGEST_NAME)
    month = models.CharField(max_length=7)
    reason = models.CharField(max_length=8, choices=Reason.choices)
    units = models.IntegerField(
        default=0, help_text=gettext_lazy("Positive reserved, negative refunded.")
    )
    tokens = models.BigIntegerField(default=0)
    cost = models.DecimalField(max_digits=18, decimal_places=8, default=0)
    task = models.ForeignKey(
        Task, on_delete=models.SET_NULL, null=True, blank=True, related_name="usage_entries"
    )
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name_plural = gettext_lazy("usage entries")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["organization", "type", "month"], name="psq_entry_month"),
            models.Index(fields=["organization", "-id"], name="psq_entry_org"),
            models.Index(
                fields=["-id"], condition=models.Q(reason="refund"), name="psq_entry_refund"
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(reason__in=["reserve", "refund", "settle"]),
                name="psq_entry_reason_known",
            )
        ]

    def __str__(self) -> str:
        return f"{self.reason} {self.units} {self.type} {self.organization_id}"
