"""Queries about organizations, their members, keys and usage, and about queues."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db.models import (
    BigIntegerField,
    Case,
    Exists,
    F,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce, Greatest

from plugspace_queue.domain.enums import OverrideKey
from plugspace_queue.domain.tiers import UNLIMITED
from plugspace_queue.models.minutes import QueueMinute
from plugspace_queue.models.organization import ApiKey, ApiKeyQuerySet, Membership, Organization
from plugspace_queue.models.overrides import Override
from plugspace_queue.models.queue import QueueSettings
from plugspace_queue.models.task import Task
from plugspace_queue.models.tier import TierPolicy
from plugspace_queue.models.usage import MonthlyUsage


def tiers() -> QuerySet[TierPolicy]:
    """All tiers, the highest first."""
    return TierPolicy.objects.order_by("priority", "slug")


def organizations_by_id(organization_ids: Iterable[str]) -> QuerySet[Organization]:
    """The organizations with these ids that exist, ordered by id."""
    return Organization.objects.filter(pk__in=organization_ids).order_by("pk")


def organization_or_none(organization_id: str) -> Organization | None:
    """The organization, or None."""
    return Organization.objects.filter(pk=organization_id).first()


def organization_with_tier(organization_id: str) -> Organization | None:
    """The organization with its tier in one query, if it is there."""
    return Organization.objects.select_related("tier").filter(pk=organization_id).first()


def organization_ids_after(organization_id: str) -> QuerySet[Organization, str]:
    """Ids of all organizations after this one, in order."""
    return (
        Organization.objects.filter(pk__gt=organization_id)
        .order_by("pk")
        .values_list("pk", flat=True)
    )


def organizations_with_tasks(organization_ids: Collection[str]) -> QuerySet[Organization]:
    """The organizations of these that ever had a published task, ordered by id."""
    tasks = Task.objects.filter(organization=OuterRef("pk")).once_in_line()
    return Organization.objects.filter(Exists(tasks), pk__in=organization_ids).order_by("pk")


def paused_organization_ids() -> set[str]:
    """The organizations that an operator paused."""
    return set(Organization.objects.filter(is_paused=True).values_list("pk", flat=True))


def is_suspended(organization_id: str) -> bool:
    """Whether the organization is there and may submit nothing."""
    return Organization.objects.filter(pk=organization_id, is_suspended=True).exists()


def active_among(organization_ids: Collection[str | None]) -> QuerySet[Organization, str]:
    """Ids of those of these organizations that exist and are not suspended."""
    rows = Organization.objects.filter(pk__in=organization_ids, is_suspended=False)
    return rows.values_list("pk", flat=True)


def valid_keys(now: datetime) -> ApiKeyQuerySet:
    """API keys neither revoked nor expired."""
    return ApiKey.objects.valid(now)


def keys_by_id(key_ids: Collection[int]) -> ApiKeyQuerySet:
    """Keys, valid or not."""
    return ApiKey.objects.filter(pk__in=key_ids)


def key_or_none(key_id: Any) -> ApiKey | None:
    """A key, valid or not; None when there is none."""
    return ApiKey.objects.filter(pk=key_id).first()


def keys_of(organization_id: str) -> ApiKeyQuerySet:
    """All keys of an organization."""
    return ApiKey.objects.filter(organization_id=organization_id)


def note_key_use(key_id: int, now: datetime, stale: datetime) -> None:
    """Write down when a key was used, unless that was written since `stale`."""
    due = Q(last_used_at__isnull=True) | Q(last_used_at__lt=stale)
    ApiKey.objects.filter(due, pk=key_id).update(last_used_at=now)


def keep_membership(organization: Organization, user: Any, role: str) -> Membership:
    """The membership with this role; made or changed."""
    row, _ = Membership.objects.update_or_create(
        organization=organization, user=user, defaults={"role": role}
    )
    return row


def delete_membership(organization: Organization, user_id: Any) -> bool:
    """Whether there was one."""
    try:
        rows = Membership.objects.filter(organization=organization, user_id=user_id)
    except (ValueError, TypeError, ValidationError):
        # It cannot be the primary key of a user.
        return False
    return rows.delete()[0] > 0


def memberships_of(user_id: Any) -> QuerySet[Membership]:
    """The organizations that a user acts for."""
    return Membership.objects.filter(user_id=user_id)


def memberships_among(
    user_ids: Collection[Any], organization_ids: Collection[Any]
) -> QuerySet[Membership]:
    """Memberships of these users in these organizations, without suspended ones."""
    return Membership.objects.select_related("user").filter(
        user__in=user_ids, organization__in=organization_ids, organization__is_suspended=False
    )


def usage_of_month(organization: Organization, month: str) -> dict[str, int]:
    """Units used in a month by type."""
    rows = MonthlyUsage.objects.filter(organization=organization, month=month)
    return dict(rows.values_list("type", "used"))


def usage_after(organization_ids: Collection[str], month: str) -> list[MonthlyUsage]:
    """The counters of these organizations of the months behind this one."""
    rows = MonthlyUsage.objects.filter(organization__in=organization_ids, month__gt=month)
    return list(rows.order_by("organization_id", "type", "month"))


class Standing(NamedTuple):
    """One counter of an organization, and the overrides that bear on it."""

    used: int
    override: int | None
    """The quota in force that takes the place of the tier's."""
    granted: int
    is_overridden: bool
    """Whether there is an override of any time."""


def standing_of(organization_id: str, task_type: str, month: str, now: datetime) -> Standing:
    """A counter and what is granted beside its quota, in one query."""
    usage = MonthlyUsage.objects.filter(organization=OuterRef("pk"), type=task_type, month=month)
    known = Override.objects.filter(organization=OuterRef("pk"), type=task_type)
    quotas = known.in_force(now).filter(key=OverrideKey.QUOTA).newest_first()
    grants = known.in_force(now).filter(key=OverrideKey.GRANT).order_by().values("type")
    values = Organization.objects.filter(pk=organization_id).values_list(
        Subquery(usage.values("used")),
        Subquery(quotas.values("value")[:1]),
        Subquery(grants.annotate(total=Sum("value")).values("total")),
        Exists(known),
    )
    used, override, granted, is_overridden = values.get()
    return Standing(used or 0, override, int(granted or 0), is_overridden)


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


def overrides_of(organization_ids: Collection[str], now: datetime) -> list[Override]:
    """Quotas and grants of these organizations in force, the newest first."""
    rows = Override.objects.filter(organization__in=organization_ids)
    return list(rows.in_force(now).newest_first())


def queue_overrides(now: datetime) -> list[Override]:
    """Overrides of limits in force or to come, of all queues, the newest first."""
    return list(Override.objects.of_queues().not_over(now).newest_first())


def types_with_overrides() -> set[str]:
    """The types whose queue's limits were ever overridden."""
    return set(Override.objects.of_queues().order_by().values_list("type", flat=True).distinct())


def last_end_of_override(task_type: str, now: datetime) -> datetime | None:
    """When the last override of a queue's limits ended; None when none has."""
    ended = Override.objects.of_queue(task_type).over(now)
    moment: datetime | None = ended.aggregate(at=Max("ends_at"))["at"]
    return moment


def queue_row(task_type: str) -> QueueSettings:
    """The operators' row of a queue, or an unsaved row of defaults."""
    return QueueSettings.objects.filter(pk=task_type).first() or QueueSettings(type=task_type)


def queue_rows() -> dict[str, QueueSettings]:
    """What operators set for each queue, by type."""
    return {row.type: row for row in QueueSettings.objects.all()}


def paused_types() -> QuerySet[QueueSettings, str]:
    """The types whose queues an operator paused; also for use in another query."""
    return QueueSettings.objects.filter(is_paused=True).values_list("type", flat=True)


def is_queue_paused(task_type: str) -> bool:
    """Whether an operator paused this queue."""
    return QueueSettings.objects.filter(pk=task_type, is_paused=True).exists()


def minutes_between(start: datetime, end: datetime) -> QuerySet[QueueMinute]:
    """The samples of these minutes, both included."""
    return QueueMinute.objects.filter(minute__gte=start, minute__lte=end)


def minutes_after(moment: datetime) -> QuerySet[QueueMinute]:
    """The samples since then, the oldest first."""
    return QueueMinute.objects.filter(minute__gt=moment).order_by("minute")


def has_minute(minute: datetime) -> bool:
    """Whether a worker sampled this minute."""
    return QueueMinute.objects.filter(minute=minute).exists()


def keep_minutes(rows: Iterable[QueueMinute], oldest: datetime) -> None:
    """Write the samples of a minute and delete those that are older than `oldest`."""
    # Two workers may store the same minute; the first row stays.
    QueueMinute.objects.bulk_create(list(rows), ignore_conflicts=True)
    QueueMinute.objects.filter(minute__lt=oldest).delete()


def add_override(**columns: Any) -> Override:
    """Store an override or a grant."""
    return Override.objects.create(**columns)


def override_or_none(override_id: int) -> Override | None:
    """An override or grant by its id."""
    return Override.objects.filter(pk=override_id).first()
