"""The six queues as editable rows. An empty field means: as the code or the seed says."""

from django.core.validators import MinValueValidator
from django.db import models

from plugspace_queue.rules.tiers import LOWEST_PRIORITY
from plugspace_queue.types import Policy, TaskType

TYPE_CHOICES = [(kind.value, kind.value) for kind in TaskType]
POLICY_CHOICES = [(policy.value, policy.value) for policy in Policy]

_at_least_one = [MinValueValidator(1)]


class QueueSettings(models.Model):
    """What operators set for one queue; a change takes effect within a second."""

    type = models.CharField(primary_key=True, max_length=16, choices=TYPE_CHOICES)
    concurrency = models.PositiveIntegerField(
        null=True, blank=True, validators=_at_least_one, help_text="Slots of one worker process."
    )
    global_concurrency = models.PositiveIntegerField(
        null=True, blank=True, validators=_at_least_one, help_text="Running tasks over all workers."
    )
    organization_concurrency = models.PositiveIntegerField(
        null=True, blank=True, validators=_at_least_one, help_text="Running tasks per organization."
    )
    limiter_max = models.PositiveIntegerField(
        null=True, blank=True, validators=_at_least_one, help_text="Starts per window."
    )
    limiter_duration = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0.1)], help_text="Window in seconds."
    )
    default_priority = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="For organizations without a tier: 0 to 3."
    )
    policy = models.CharField(max_length=16, choices=POLICY_CHOICES, default=Policy.STRICT)
    is_paused = models.BooleanField(default=False)
    paused_at = models.DateTimeField(null=True, blank=True, editable=False)
    completed = models.BigIntegerField(default=0, editable=False)
    failed = models.BigIntegerField(default=0, editable=False)

    class Meta:
        verbose_name = "queue"
        verbose_name_plural = "queues"
        ordering = ["type"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(type__in=[kind.value for kind in TaskType]),
                name="psq_queue_type_known",
            ),
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
