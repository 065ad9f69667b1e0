"""Statistics of the queues by minute, for the charts of the dashboard."""

from django.db import models
from django.utils.translation import gettext_lazy

from plugspace_queue.domain.task_types import LONGEST_NAME


class QueueMinute(models.Model):
    """One queue at one minute. A row a minute, however many tasks end in it."""

    type = models.CharField(max_length=LONGEST_NAME)
    minute = models.DateTimeField(db_index=True)
    completed = models.BigIntegerField(
        help_text=gettext_lazy("Over the lifetime of the queue, by then.")
    )
    failed = models.BigIntegerField(
        help_text=gettext_lazy("Over the lifetime of the queue, by then.")
    )
    wait_median = models.PositiveBigIntegerField(
        null=True,
        help_text=gettext_lazy("ms from due to start, of what ended in the minute before."),
    )
    wait_most = models.PositiveBigIntegerField(
        null=True, help_text=gettext_lazy("The same, 95th percentile.")
    )

    class Meta:
        # The rows have no pages of their own.
        default_permissions = ()
        ordering = ["minute", "type"]
        constraints = [
            models.UniqueConstraint(fields=["type", "minute"], name="psq_minute_once"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.minute:%Y-%m-%d %H:%M}"
