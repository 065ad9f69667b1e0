"""The queues as editable rows. An empty field means: as the code or the type's declaration says."""

import time
from collections.abc import Iterable
from typing import Any

from django.core.validators import MinValueValidator
from django.db import models, router, transaction
from django.utils.translation import gettext_lazy

from plugspace_queue.domain.enums import Policy
from plugspace_queue.domain.task_types import LONGEST_NAME
from plugspace_queue.domain.tiers import LOWEST_PRIORITY

POLICY_CHOICES = [(policy.value, policy.value) for policy in Policy]

_at_least_one = [MinValueValidator(1)]

REGISTERED = ("concurrency", "limiter_max", "limiter_duration")
"""What a processor may be registered with; the columns begin with `registered_`."""

WORKER_OWNED_COLUMNS = frozenset(
    {"type", "is_paused", "paused_at", "completed", "failed", "version"}
    | {f"registered_{name}" for name in REGISTERED}
)
"""Columns that only pausing and the workers change; saving a whole row leaves them out."""


class QueueSettings(models.Model):
    """What operators set for one queue; a change takes effect within a second."""

    type = models.CharField(primary_key=True, max_length=LONGEST_NAME)
    concurrency = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=_at_least_one,
        help_text=gettext_lazy("Slots of one worker process."),
    )
    global_concurrency = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=_at_least_one,
        help_text=gettext_lazy("Running tasks over all workers."),
    )
    organization_concurrency = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=_at_least_one,
        help_text=gettext_lazy("Running tasks per organization."),
    )
    limiter_max = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=_at_least_one,
        help_text=gettext_lazy("Starts per window."),
    )
    limiter_duration = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.1)],
        help_text=gettext_lazy("Window in seconds."),
    )
    default_priority = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text=gettext_lazy("For organizations without a tier: 0 to 3.")
    )
    policy = models.CharField(max_length=16, choices=POLICY_CHOICES, default=Policy.STRICT)
    is_paused = models.BooleanField(default=False)
    paused_at = models.DateTimeField(null=True, blank=True, editable=False)
    # What the processor was registered with, written by workers: other processes have none.
    registered_concurrency = models.PositiveIntegerField(null=True, editable=False)
    registered_limiter_max = models.PositiveIntegerField(null=True, editable=False)
    registered_limiter_duration = models.FloatField(null=True, editable=False)
    completed = models.BigIntegerField(default=0, editable=False)
    failed = models.BigIntegerField(default=0, editable=False)
    version = models.BigIntegerField(default=0, editable=False)

    class Meta:
        verbose_name = gettext_lazy("queue")
        verbose_name_plural = gettext_lazy("queues")
        ordering = ["type"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(policy__in=[policy.value for policy in Policy]),
                name="psq_queue_policy_known",
            ),
            models.CheckConstraint(
                condition=models.Q(default_priority__isnull=True)
                | models.Q(default_priority__lte=LOWEST_PRIORITY),
                name="psq_queue_priority_known",
            ),
        ]

    def __str__(self) -> str:
        return self.type

    def save(
        self,
        *args: Any,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Each save has a higher version, so that in Redis an older one never wins.

        Without `update_fields` a row that is there takes what operators set and nothing else: the
        instance may have been read before a pause or before thousands of endings.
        """
        alias = using or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=alias):
            known = self._known_version(alias)
            if update_fields is None and known is not None and not kwargs.get("force_insert"):
                names = {field.name for field in self._meta.concrete_fields}
                update_fields = names - WORKER_OWNED_COLUMNS
            # At least the current time, so that a database restored from a backup gets higher
            # versions than those in Redis.
            self.version = max((known or 0) + 1, time.time_ns() // 1_000_000)
            if update_fields is not None:
                update_fields = {*update_fields, "version"}
            super().save(*args, using=alias, update_fields=update_fields, **kwargs)

    def _known_version(self, alias: str) -> int | None:
        """The row's version, locked until the save is done; None without a row."""
        rows = type(self).objects.using(alias).select_for_update(no_key=True)
        return rows.filter(pk=self.pk).values_list("version", flat=True).first()
