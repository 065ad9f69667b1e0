"""Policies in force for organizations and queues: a row overrides code, settings and declaration.

Overrides in force come before a queue's row.

Rows are read at most once a second per process, so a change takes effect within one.
"""

import json
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from django.db import connections, router
from django.utils.translation import gettext as _

from plugspace_queue.conf import get_settings
from plugspace_queue.db.recordset import prepared_cursor
from plugspace_queue.domain.enums import Policy, Tier
from plugspace_queue.domain.ids import SYSTEM
from plugspace_queue.domain.task_types import TaskType, of_row, quota_of
from plugspace_queue.domain.tiers import TIERS
from plugspace_queue.errors import OrganizationSuspended, OrganizationUnknown
from plugspace_queue.limits import overrides, registrations
from plugspace_queue.models import (
    Organization,
    Override,
    QueueSettings,
    TierPolicy,
    tenancy_queries,
)
from plugspace_queue.models.organization import ORGANIZATION_ID

Number = TypeVar("Number", int, float)

WINDOW = 60.0
"""Seconds of a limiter's window, where only the number of starts was set."""

FRESH_FOR = 1.0
"""Seconds for which tiers and queues are cached."""

MOST_KNOWN = 10_000
"""Most organizations whose tier is cached."""

_VALID_ID = re.compile(ORGANIZATION_ID.replace("$", r"\Z"))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an organization gets; `priority` is None when it has no tier of its own."""

    slug: str
    priority: int | None
    quotas: Mapping[str, int]
    """What operators set, by type; other types have what they declare."""
    default_quota: int
    request_limit: int
    request_window: float

    def quota(self, task_type: str) -> int:
        """Tasks of this type per month, -1 for no limit."""
        return quota_of(task_type, self.slug, self.quotas, self.default_quota)


class OrganizationPlan(NamedTuple):
    """An active organization, its tier ("" for none) and its plan."""

    organization_id: str
    tier: str
    plan: Plan


@dataclass(frozen=True, kw_only=True)
class QueuePolicy:
    """A queue's values in force; None is no limit, durations are seconds."""

    type: TaskType
    concurrency: int
    global_concurrency: int | None
    organization_concurrency: int | None
    limiter_max: int | None
    limiter_duration: float
    default_priority: int
    policy: Policy
    is_paused: bool
    overrides: tuple[Override, ...] = ()
    """What holds some of these values for a while."""


_lock = threading.Lock()
_read_at = float("-inf")
_cleared = 0
_queues: dict[str, QueueSettings] = {}
_tiers: dict[str, TierPolicy] = {}
_tier_of_organization: dict[str, str] = {}
_plans: dict[str, tuple[float, Plan | None]] = {}
_NEVER = (float("-inf"), None)

_LOOKUP = f"""
    SELECT o.is_suspended, t.slug, t.priority, t.quotas, t.default_quota,
        t.request_limit, t.request_window
    FROM {Organization._meta.db_table} o
    LEFT JOIN {TierPolicy._meta.db_table} t ON t.slug = o.tier_id
    WHERE o.id = %s
"""


def clear_cache() -> None:
    """Make the next call read the rows again."""
    global _read_at, _cleared
    _cleared += 1
    _read_at = float("-inf")
    _tier_of_organization.clear()
    _plans.clear()
    overrides.clear_cache()


def remembered_tenant(organization_id: object) -> OrganizationPlan | None:
    """An organization and its plan from the cache; None when it is not cached or too old.

    The tier may have changed since, so the statement that reserves units compares it. The plan of
    a tier is at most a second old.
    """
    if not isinstance(organization_id, str):
        return None
    tier = _tier_of_organization.get(organization_id)
    read_at, plan = _plans.get(tier or "", _NEVER)
    if tier is None or plan is None or time.monotonic() - read_at >= FRESH_FOR:
        return None
    return OrganizationPlan(organization_id, tier, plan)


def read_tenant(organization_id: object) -> OrganizationPlan:
    """An active organization and its plan, read from the rows.

    Raises OrganizationUnknown, OrganizationSuspended.
    """
    cleared = _cleared
    row = _looked_up(organization_id) if is_organization_id(organization_id) else None
    if row is None and organization_id == SYSTEM:
        tenancy_queries.organization_of_the_system("Work without a tenant")
        row = _looked_up(SYSTEM)
    if row is None:
        raise unknown(organization_id)
    if row[0]:
        raise OrganizationSuspended(organization_id=organization_id)
    tenant = OrganizationPlan(str(organization_id), row[1] or "", _plan_in(*row[1:]))
    if cleared == _cleared:
        if len(_tier_of_organization) >= MOST_KNOWN:
            _tier_of_organization.clear()
        _plans[tenant.tier] = time.monotonic(), tenant.plan
        _tier_of_organization[tenant.organization_id] = tenant.tier
    return tenant


def unknown(organization_id: object) -> OrganizationUnknown:
    """The error for an organization that does not exist."""
    return OrganizationUnknown(
        _(
            "No organization %(organization_id)r; create it with"
            " queue_manager.set_organization(id, tier=...)."
        )
        % {"organization_id": str(organization_id)[:64]}
    )


def is_organization_id(value: object) -> bool:
    """Whether a value can be the id of an organization."""
    return isinstance(value, str) and _VALID_ID.match(value) is not None


def _looked_up(organization_id: object) -> tuple[Any, ...] | None:
    with prepared_cursor(connections[router.db_for_write(Organization)]) as cursor:
        cursor.execute(_LOOKUP, [str(organization_id)])
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def _plan_in(
    slug: str | None, priority: int, quotas: Any, default_quota: int, limit: int, window: float
) -> Plan:
    if slug is None:
        return plan_of(None)
    return Plan(
        slug=slug,
        priority=priority,
        quotas=json.loads(quotas),
        default_quota=default_quota,
        request_limit=limit,
        request_window=window,
    )


def tier_of(organization: Organization) -> Plan:
    """The plan of an organization; without a tier it has free's quotas and limits."""
    return plan_of(organization.tier)


def plan_of(tier: TierPolicy | None) -> Plan:
    """The plan of a tier's row; without one free's quotas and limits, and no priority."""
    if tier is not None:
        return _plan(tier, tier.priority)
    free = _tier_rows().get(Tier.FREE)
    return _seed_plan(Tier.FREE) if free is None else _plan(free, None)


def queue_settings(task_type: TaskType | str) -> QueuePolicy:
    """The values in force for a queue, as they were within the last second."""
    return in_force(_recent_row(task_type))


def default_priority(task_type: TaskType | str) -> int:
    """The priority of tasks of organizations without a tier."""
    return without_overrides(_recent_row(task_type)).default_priority


def _recent_row(task_type: TaskType | str) -> QueueSettings:
    return _queue_rows().get(task_type) or QueueSettings(type=str(task_type))


def in_force(row: QueueSettings, held: Sequence[Override] | None = None) -> QueuePolicy:
    """The values in force by this row and these overrides; None: those of the last second."""
    found = tuple(overrides.of_queue(row.type) if held is None else held)
    policy = without_overrides(row)
    return replace(policy, **overrides.limits(found), overrides=found) if found else policy


def without_overrides(row: QueueSettings) -> QueuePolicy:
    """The values by this row alone."""
    kind = of_row(row.type)
    asked, seed = registrations.in_force(row), kind.declaration
    starts, window = (seed.limiter.max, seed.limiter.per) if seed.limiter else (None, WINDOW)
    return QueuePolicy(
        type=kind,
        concurrency=_first(row.concurrency, asked.concurrency, _configured(kind), seed.concurrency),
        global_concurrency=row.global_concurrency,
        organization_concurrency=row.organization_concurrency,
        limiter_max=_first_or_none(row.limiter_max, asked.limiter_max, starts),
        limiter_duration=_first(row.limiter_duration, asked.limiter_duration, window),
        default_priority=_first(row.default_priority, seed.default_priority),
        policy=Policy(row.policy),
        is_paused=row.is_paused,
    )


def differing(task_type: TaskType | str) -> list[str]:
    """Names of declared values that the operator's row overrides."""
    kind = str(task_type)
    asked, row = registrations.of(kind), _queue_rows().get(kind)
    if row is None:
        return []
    names = ("concurrency", "limiter_max", "limiter_duration")
    pairs = {name: (getattr(asked, name), getattr(row, name)) for name in names}
    return [name for name, (a, r) in pairs.items() if None not in (a, r) and a != r]


def differences(task_type: TaskType | str) -> list[str]:
    """The same in sentences, and declared values that differ from the settings."""
    kind = str(task_type)
    asked, row = registrations.of(kind), _queue_rows().get(kind)
    found = [
        f"{kind} is registered with {name} {getattr(asked, name)}; the operator's row says"
        f" {getattr(row, name)}, which counts"
        for name in differing(kind)
    ]
    configured, is_of_row = _configured(kind), row is not None and row.concurrency is not None
    if not is_of_row and asked.concurrency not in (None, configured) and configured is not None:
        found.append(
            f"{kind} is registered with concurrency {asked.concurrency}, which counts; the setting"
            f" CONCURRENCY says {configured}"
        )
    return found


def _first_or_none(*values: Number | None) -> Number | None:
    return next((value for value in values if value is not None), None)


def _first(*values: Number | None) -> Number:
    return next(value for value in values if value is not None)


def _configured(kind: str) -> int | None:
    concurrency = get_settings().concurrency
    return concurrency if isinstance(concurrency, int) else concurrency.get(kind)


def _plan(row: TierPolicy, priority: int | None) -> Plan:
    return Plan(
        slug=row.slug,
        priority=priority,
        quotas=row.quotas,
        default_quota=row.default_quota,
        request_limit=row.request_limit,
        request_window=row.request_window,
    )


def _seed_plan(tier: Tier) -> Plan:
    limit = get_settings().rate_limit
    return Plan(
        slug=tier.value,
        priority=None,
        quotas={},
        default_quota=TIERS[tier].default_quota,
        request_limit=int(limit["max"]),
        request_window=float(limit["duration"]),
    )


def _queue_rows() -> dict[str, QueueSettings]:
    _refresh()
    return _queues


def _tier_rows() -> dict[str, TierPolicy]:
    _refresh()
    return _tiers


def _refresh() -> None:
    global _read_at, _queues, _tiers
    with _lock:
        if time.monotonic() - _read_at < FRESH_FOR:
            return
        cleared = _cleared
        _queues = {row.type: row for row in QueueSettings.objects.all()}
        _tiers = {row.slug: row for row in TierPolicy.objects.all()}
        # If the cache was cleared during the read, the rows may be older than the change.
        _read_at = time.monotonic() if cleared == _cleared else float("-inf")
