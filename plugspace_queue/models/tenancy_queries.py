"""Queries about organizations, their members, keys and usage, and about queues."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db.models import Exists, Max, OuterRef, Q, QuerySet, Subquery, Sum

from plugspace_queue.domain.enums import OverrideKey
from plugspace_queue.domain.ids import SYSTEM
from plugspace_queue.models.minutes import QueueMinute
from plugspace_queue.models.organization import ApiKey, ApiKeyQuerySet, Membership, Organization
from plugspace_queue.models.overrides import Override, OverrideQuerySet
from plugspace_queue.models.queue import QueueSettings
from plugspace_queue.models.task import Task
from plugspace_queue.models.tier import TierPolicy
from plugspace_queue.models.usage import MonthlyUsage

BATCH = 500
"""Organizations of one statement."""


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


def organization_of_the_system(name: str) -> Organization:
    """The organization of work without a tenant, made when it is missing."""
    return Organization.objects.get_or_create(pk=SYSTEM, defaults={"name": name})[0]


def keep_organization(organization_id: str, columns: Mapping[str, Any]) -> None:
    """Make the organization, or change these columns of it."""
    row, is_new = Organization.objects.get_or_create(pk=organization_id, defaults=columns)
    if columns and not is_new:
        for field, value in columns.items():
            setattr(row, field, value)
        row.save(update_fields=list(columns))


def keep_organizations(rows: Collection[Organization]) -> None:
    """Make them, or change tier and name of those that exist."""
    Organization.objects.bulk_create(
        rows,
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["tier", "name"],
    )


def known_organizations(organization_ids: Sequence[str]) -> dict[str, Organization]:
    """Those of these organizations that exist, by id."""
    found: dict[str, Organization] = {}
    for start in range(0, len(organization_ids), BATCH):
        found |= Organization.objects.in_bulk(organization_ids[start : start + BATCH])
    return found


def write_organizations(missing: list[Organization], differing: list[Organization]) -> None:
    """Make the missing ones, and write tier, name and suspension of the others."""
    # Another caller may make one of them at the same time: then it is there.
    Organization.objects.bulk_create(missing, batch_size=BATCH, ignore_conflicts=True)
    Organization.objects.bulk_update(differing, ["tier", "name", "is_suspended"], batch_size=BATCH)


def locked_organization(organization_id: str) -> Organization:
    """The organization, locked until the transaction ends."""
    return Organization.objects.select_for_update(no_key=True).get(pk=organization_id)


def paused_organizations() -> QuerySet[Organization]:
    """Organizations that are paused, and since when."""
    return Organization.objects.filter(is_paused=True, paused_at__isnull=False)


def tier_slugs() -> set[str]:
    """The slugs of all tiers."""
    return set(TierPolicy.objects.values_list("slug", flat=True))


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


def last_ends_of_overrides(task_types: Collection[str], now: datetime) -> dict[str, datetime]:
    """When the last override of each of these queues' limits ended; without those of none."""
    ended = Override.objects.of_queues().filter(type__in=task_types).over(now).order_by()
    return dict(ended.values_list("type").annotate(Max("ends_at")))


def queue_row(task_type: str) -> QueueSettings:
    """The operators' row of a queue, or an unsaved row of defaults."""
    return QueueSettings.objects.filter(pk=task_type).first() or QueueSettings(type=task_type)


def locked_queue_row(task_type: str, *, no_key: bool = False) -> QueueSettings:
    """The operators' row of a queue, made when it is missing, locked until the transaction ends."""
    QueueSettings.objects.get_or_create(type=task_type)
    return QueueSettings.objects.select_for_update(no_key=no_key).get(type=task_type)


def write_registered(task_type: str, columns: Mapping[str, Any]) -> None:
    """Write what processors were registered with to the row of a queue, unless it is there."""
    rows = QueueSettings.objects.filter(pk=task_type)
    if not rows.filter(**columns).exists():
        QueueSettings.objects.get_or_create(pk=task_type)
        rows.update(**columns)


def paused_queues() -> QuerySet[QueueSettings]:
    """Queues that are paused, and since when."""
    return QueueSettings.objects.filter(is_paused=True, paused_at__isnull=False)


def queue_rows(task_types: Collection[str] | None = None) -> dict[str, QueueSettings]:
    """What operators set for these queues, or for all, by type."""
    rows = QueueSettings.objects.all()
    if task_types is not None:
        rows = rows.filter(type__in=task_types)
    return {row.type: row for row in rows}


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


def overrides_of_queue(task_type: str) -> OverrideQuerySet:
    """All overrides of the limits of a queue."""
    return Override.objects.of_queue(task_type)


def overrides_of_organization(organization_id: str) -> OverrideQuerySet:
    """All overrides of the quotas of an organization, and grants."""
    return Override.objects.of_organization(organization_id)


def override_or_none(override_id: int) -> Override | None:
    """An override or grant by its id."""
    return Override.objects.filter(pk=override_id).first()
