"""The models; other packages import them from here and not from the submodules."""

from plugspace_queue.models.failures import FailureGroup, FailureMinute
from plugspace_queue.models.idempotency import IdempotencyKey
from plugspace_queue.models.minutes import QueueMinute
from plugspace_queue.models.organization import ApiKey, Membership, Organization
from plugspace_queue.models.overrides import Override
from plugspace_queue.models.pages import Audit, Dashboard, Worker
from plugspace_queue.models.queue import QueueSettings
from plugspace_queue.models.task import Attempt, Dependency, Task
from plugspace_queue.models.tier import TierPolicy
from plugspace_queue.models.usage import MonthlyUsage, UsageEntry
from plugspace_queue.models.workflow import Workflow

__all__ = [
    "ApiKey",
    "Attempt",
    "Audit",
    "Dashboard",
    "Dependency",
    "FailureGroup",
    "FailureMinute",
    "IdempotencyKey",
    "Membership",
    "MonthlyUsage",
    "Organization",
    "Override",
    "QueueMinute",
    "QueueSettings",
    "Task",
    "TierPolicy",
    "UsageEntry",
    "Worker",
    "Workflow",
]
