"""Queries about shares of quotas: how much organizations used of what they have in a month."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import (
    BigIntegerField,
    Case,
    F,
    OuterRef,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce, Greatest

from plugspace_queue.domain.enums import OverrideKey
from plugspace_queue.domain.tiers import UNLIMITED
from plugspace_queue.models.overrides import Override
from plugspace_queue.models.usage import MonthlyUsage


class QuotaShare(NamedTuple):
    """How much of a quota an organization used."""

    organization_id: str
    name: str
    tier: str | None
    type: str
    used: int
    quota: int
    """With what is granted beside it; more than 0."""
    granted: int
    percent: int


def quota_shares(
    month: str,
    now: datetime,
    quotas: Mapping[tuple[str | None, str], int],
    tier: str | None,
    least: int,
) -> QuerySet[MonthlyUsage, Any]:
    """Columns of QuotaShare of the counters of a month with a limit, the highest share first.

    `quotas` has what each tier (None: none) grants of each type, -1 for no limit; types that it
    does not name are left out. Only of one tier ("" for none) unless `tier` is None, and only from
    `least` percent on.
    """
    known = Override.objects.filter(organization=OuterRef("organization"), type=OuterRef("type"))
    held = known.in_force(now).filter(key=OverrideKey.QUOTA).newest_first()
    grants = known.in_force(now).filter(key=OverrideKey.GRANT).order_by().values("type")
    total = Subquery(grants.annotate(total=Sum("value")).values("total"))
    of_tier = Case(
        *(
            When(type=kind, **_has_tier(slug), then=Value(quota))
            for (slug, kind), quota in quotas.items()
        ),
        default=Value(UNLIMITED),
        output_field=BigIntegerField(),
    )
    rows = MonthlyUsage.objects.filter(
        month=month, type__in={kind for _, kind in quotas}, used__gt=0
    )
    if tier is not None:
        rows = rows.filter(**_has_tier(tier or None))
    rows = rows.annotate(
        base=Coalesce(Subquery(held.values("value")[:1]), of_tier),
        # The sum of a bigint is a numeric, whose division is no whole number.
        granted=Coalesce(Cast(total, BigIntegerField()), Value(0), output_field=BigIntegerField()),
    ).exclude(base=UNLIMITED)
    rows = rows.annotate(quota=F("base") + F("granted"))
    # A quota of 0 of which something is used is used up.
    percent = F("used") * 100 / Greatest(F("quota"), Value(1))
    rows = rows.annotate(percent=percent, name=F("organization__name")).filter(percent__gte=least)
    found: QuerySet[MonthlyUsage, Any] = rows.order_by(
        "-percent", "organization_id", "type"
    ).values_list(
        *("organization_id", "name", "organization__tier_id", "type"),
        *("used", "quota", "granted", "percent"),
    )
    return found


def _has_tier(slug: str | None) -> dict[str, Any]:
    return {"organization__tier__isnull": True} if slug is None else {"organization__tier": slug}
