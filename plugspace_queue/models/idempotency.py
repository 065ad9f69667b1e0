"""Keys with which a caller may repeat a submit without doing it twice."""

from django.db import models

from plugspace_queue.models.organization import Organization
from plugspace_queue.models.task import Task
from plugspace_queue.models.workflow import Workflow


class IdempotencyKey(models.Model):
    """Unique per organization over tasks, bulks and workflows, while the first one's row is there.

    A bulk has its own key, with its first task, and one for each item below it.
    """

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, null=True, related_name="+")
    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, null=True, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "key"], name="psq_idempotency_once"),
        ]

    def __str__(self) -> str:
        return f"{self.key} of {self.organization_id}"
