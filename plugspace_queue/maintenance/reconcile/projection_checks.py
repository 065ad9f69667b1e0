"""Looks at copies of rows that no script goes by: tiers, usage, newest tasks, workflows."""

import uuid
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef

from plugspace_queue.broker import keys, projections
from plugspace_queue.broker.connection import client
from plugspace_queue.broker.task_store import USAGE_TTL
from plugspace_queue.domain.enums import State
from plugspace_queue.limits import quota
from plugspace_queue.maintenance.reconcile.findings import Finding, Kind
from plugspace_queue.models import MonthlyUsage, Organization, Task

MOST = 100
"""Organizations of one look: each has up to six types in three months."""


def all_organizations(now: datetime) -> Iterator[list[Finding]]:
    """Look at the copies of all organizations, in slices. Raises Unavailable."""
    after = ""
    rows = Organization.objects.order_by("pk").values_list("pk", flat=True)
    while ids := list(rows.filter(pk__gt=after)[:MOST]):
        yield look_at(ids, now)
        after = ids[-1]


def look_at(organization_ids: Collection[str], now: datetime) -> list[Finding]:
    """Look at the copies of these organizations. Raises Unavailable."""
    return [
        *_tiers(organization_ids),
        *_usage(organization_ids, now),
        *_newest(organization_ids),
    ]


def look_at_workflows(workflow_ids: Collection[uuid.UUID]) -> list[Finding]:
    """Those of these workflows that have no copy. Raises Unavailable."""
    named = {keys.workflow(str(pk)): str(pk) for pk in sorted(workflow_ids)}
    lacking = projections.missing(client(), list(named))
    return [Finding(Kind.WORKFLOW_MISSING, "", named[key]) for key in lacking]


def usage_rows(organization_ids: Collection[str], now: datetime) -> list[MonthlyUsage]:
    """The months that Redis has a copy of, as long as it keeps them."""
    since = quota.month_of(now - timedelta(seconds=USAGE_TTL))
    rows = MonthlyUsage.objects.filter(organization__in=organization_ids, month__gt=since)
    return list(rows.order_by("organization_id", "type", "month"))


def account_of(row: MonthlyUsage) -> quota.Account:
    """What a row counts."""
    return quota.Account(row.organization_id, row.type, row.month)


def _tiers(organization_ids: Collection[str]) -> Iterator[Finding]:
    rows = Organization.objects.filter(pk__in=organization_ids).order_by("pk")
    tiers: Sequence[tuple[str, str | None]] = list(rows.values_list("pk", "tier_id"))
    there = projections.texts(client(), [keys.organization_tier(pk) for pk, _ in tiers])
    for (pk, slug), text in zip(tiers, there, strict=True):
        if text != (slug or ""):
            yield Finding(Kind.TIER_DIFFERS, "", pk, detail=f"{text} instead of {slug}")


def _usage(organization_ids: Collection[str], now: datetime) -> Iterator[Finding]:
    rows = usage_rows(organization_ids, now)
    there = projections.texts(client(), [keys.usage(*account_of(row)) for row in rows])
    for row, text in zip(rows, there, strict=True):
        if text != str(row.used):
            detail = f"{text} instead of {row.used}"
            yield Finding(Kind.USAGE_DIFFERS, row.type, row.organization_id, detail=detail)


def _newest(organization_ids: Collection[str]) -> Iterator[Finding]:
    tasks = Task.objects.filter(organization=OuterRef("pk")).exclude(state=State.BLOCKED)
    rows = Organization.objects.filter(Exists(tasks), pk__in=organization_ids).order_by("pk")
    named = {keys.organization_tasks(pk): pk for pk in rows.values_list("pk", flat=True)}
    for key in projections.missing(client(), list(named)):
        yield Finding(Kind.NEWEST_MISSING, "", named[key])
