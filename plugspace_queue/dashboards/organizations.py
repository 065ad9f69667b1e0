"""What an organization used of what it has: units of the month, requests of the window."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from plugspace_queue.broker import server
from plugspace_queue.domain.catalog import public_types
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.domain.tiers import UNLIMITED
from plugspace_queue.limits.policies import Plan, tier_of
from plugspace_queue.limits.quota import end_of_month, month_of
from plugspace_queue.models import Organization, Task, task_queries, tenancy_queries

RECENT = 10


@dataclass(frozen=True, kw_only=True)
class Share:
    """Units of one type; None is no limit."""

    type: TaskType
    used: int
    quota: int | None

    @property
    def near(self) -> float:
        """From so many on it is about to run out."""
        return (self.quota or 0) * 0.8


@dataclass(frozen=True, kw_only=True)
class OrganizationStatus:
    """An organization now."""

    plan: Plan
    shares: list[Share]
    renewed_at: datetime
    requests: int | None
    """Of the running window; None without Redis."""
    reset: int
    recent: Sequence[Task]
    at: datetime


def status_of(organization: Organization, now: datetime | None = None) -> OrganizationStatus:
    """The usage of an organization; two queries and one call of Redis."""
    now = now or timezone.now()
    month = month_of(now)
    plan = tier_of(organization)
    used = tenancy_queries.usage_of_month(organization, month)
    requests, reset = server.request_window(organization.pk) or (None, 0)
    newest = task_queries.tasks_of_organization(organization.pk).newest_first()
    return OrganizationStatus(
        plan=plan,
        shares=[_share(kind, used.get(kind, 0), plan.quota(kind)) for kind in public_types()],
        renewed_at=end_of_month(month),
        requests=requests,
        reset=reset,
        recent=list(newest.only("id", "type", "state", "queued_at", "project_id")[:RECENT]),
        at=now,
    )


def _share(kind: TaskType, used: int, quota: int) -> Share:
    return Share(type=kind, used=used, quota=None if quota == UNLIMITED else quota)
