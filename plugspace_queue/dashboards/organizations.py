"""What organizations used of what they have: units of the month, requests of the window."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from plugspace_queue.broker import server
from plugspace_queue.domain.catalog import public_types
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.domain.tiers import UNLIMITED
from plugspace_queue.limits import policies
from plugspace_queue.limits.allowances import Allowance, allowances
from plugspace_queue.limits.policies import Plan, tier_of
from plugspace_queue.limits.quota import end_of_month, month_of
from plugspace_queue.models import (
    Organization,
    Task,
    TierPolicy,
    quota_queries,
    task_queries,
    tenancy_queries,
)
from plugspace_queue.models.quota_queries import QuotaShare

RECENT = 10
MOST_SHARES = 100


@dataclass(frozen=True, kw_only=True)
class Share:
    """Units of one type; None is no limit."""

    type: TaskType
    used: int
    quota: int | None
    granted: int
    """Of the quota, what grants add to it."""

    @property
    def near(self) -> float:
        """From so many on it is about to run out."""
        return (self.quota or 0) * 0.8


@dataclass(frozen=True, kw_only=True)
class OrganizationStatus:
    """An organization now."""

    plan: Plan
    shares: Sequence[Share]
    renewed_at: datetime
    requests: int | None
    """Of the running window; None without Redis."""
    reset: int
    recent: Sequence[Task]
    at: datetime


def status_of(organization: Organization, now: datetime | None = None) -> OrganizationStatus:
    """The usage of an organization; three queries and one call of Redis."""
    now = now or timezone.now()
    month = month_of(now)
    plan = tier_of(organization)
    used = tenancy_queries.usage_of_month(organization, month)
    granted = allowances(organization.pk, plan, now)
    requests, reset = server.request_window(organization.pk) or (None, 0)
    newest = task_queries.tasks_of_organization(organization.pk).newest_first()
    return OrganizationStatus(
        plan=plan,
        shares=[_share(kind, used.get(kind, 0), granted[kind]) for kind in public_types()],
        renewed_at=end_of_month(month),
        requests=requests,
        reset=reset,
        recent=list(newest.only("id", "type", "state", "queued_at", "project_id")[:RECENT]),
        at=now,
    )


def _share(kind: TaskType, used: int, allowance: Allowance) -> Share:
    quota = None if allowance.quota == UNLIMITED else allowance.quota
    return Share(type=kind, used=used, quota=quota, granted=allowance.granted)


@dataclass(frozen=True, kw_only=True)
class ShareFilter:
    """Which shares are looked for; an empty value is no condition."""

    type: str = ""
    tier: str | None = None
    """"" for organizations without a tier."""
    least: int = 0
    """Percent."""


@dataclass(frozen=True, kw_only=True)
class SharesOfMonth:
    """The highest shares of a month."""

    month: str
    rows: Sequence[QuotaShare]
    is_cut: bool
    at: datetime


def shares_of_month(wanted: ShareFilter) -> SharesOfMonth:
    """One row for each organization and type with a quota, the highest share first.

    Two queries; grants and quotas in the place of the tier's count.
    """
    now = timezone.now()
    month = month_of(now)
    kinds = [TaskType(wanted.type)] if wanted.type else list(public_types())
    found = quota_queries.quota_shares(month, now, _quotas(kinds), wanted.tier, wanted.least)
    rows = [QuotaShare(*row) for row in found[: MOST_SHARES + 1]]
    return SharesOfMonth(
        month=month, rows=rows[:MOST_SHARES], is_cut=len(rows) > MOST_SHARES, at=now
    )


def _quotas(kinds: Sequence[TaskType]) -> Mapping[tuple[str | None, str], int]:
    """What each tier, and none, grants of each type."""
    tiers: list[TierPolicy | None] = [None, *tenancy_queries.tiers()]
    plans = [(tier.slug if tier else None, policies.plan_of(tier)) for tier in tiers]
    return {(slug, kind.value): plan.quota(kind) for slug, plan in plans for kind in kinds}
