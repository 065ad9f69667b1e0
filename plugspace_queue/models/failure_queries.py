"""Queries about failed tasks by cause: counts from minutes, and the few tasks that are shown."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from django.db.models import Count, Min, Q, QuerySet, Sum
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce, Trunc

from plugspace_queue.domain.enums import State
from plugspace_queue.models.failures import FailureGroup, FailureMinute
from plugspace_queue.models.querysets import TaskQuerySet
from plugspace_queue.models.task import Task

MOST_WALKED = 20_000
"""Failed tasks of a time that are looked through for those of one group."""

OPEN, MUTED, RESOLVED = FailureGroup.State

Minutes = QuerySet[FailureMinute]


def group_by_id(group_id: int) -> FailureGroup | None:
    """The group, or None."""
    return FailureGroup.objects.filter(pk=group_id).first()


def groups_by_id(group_ids: Collection[int]) -> dict[int, FailureGroup]:
    """These groups without their stacks, by id."""
    return FailureGroup.objects.defer("stack").in_bulk(group_ids)


def group_of(task: Task) -> FailureGroup | None:
    """The group that a failed task was counted in, if it is there."""
    if not task.fingerprint:
        return None
    rows = FailureGroup.objects.defer("stack")
    return rows.filter(type=task.type, code=task.error_code, fingerprint=task.fingerprint).first()


def decide(group_id: int, **columns: Any) -> bool:
    """Write what an operator decided about a group; False when it is gone."""
    return FailureGroup.objects.filter(pk=group_id).update(**columns) == 1


def open_at(now: datetime) -> Q:
    """Groups that are neither resolved nor muted any longer, as a condition on minutes."""
    return Q(group__state=OPEN) | Q(group__state=MUTED, group__muted_until__lte=now)


def minutes_within(start: datetime, end: datetime) -> Minutes:
    """The minutes from `start` on and before `end`, of all groups and organizations."""
    return FailureMinute.objects.filter(minute__gte=start, minute__lt=end).order_by()


def by_group(minutes: Minutes) -> QuerySet[Any, Any]:
    """Failures and organizations of each group, most failures first."""
    return (
        minutes.values("group_id")
        .annotate(failures=Sum("n"), organizations=Count("organization", distinct=True))
        .order_by("-failures", "-group_id")
    )


def by_organization(minutes: Minutes) -> QuerySet[Any, Any]:
    """Failures of each organization, most first."""
    counted = minutes.values("organization_id").annotate(failures=Sum("n"))
    return counted.order_by("-failures", "organization_id")


def by_half(minutes: Minutes, since: datetime) -> list[dict[str, Any]]:
    """Failures of each group from a moment on and `before` it, most since then first."""
    is_since = Q(minute__gte=since)
    counted = minutes.values("group_id", "group__type").annotate(
        failures=Coalesce(Sum("n", filter=is_since), 0),
        before=Coalesce(Sum("n", filter=~is_since), 0),
        since=Min("minute", filter=is_since),
    )
    found: QuerySet[Any, Any] = counted.order_by("-failures", "-group_id")
    return list(found)


def total(minutes: Minutes) -> int:
    """All failures of these minutes."""
    return int(minutes.aggregate(failures=Sum("n"))["failures"] or 0)


def organization_count(minutes: Minutes) -> int:
    """How many organizations were hit."""
    found = minutes.aggregate(count=Count("organization", distinct=True))
    return int(found["count"])


def by_time(minutes: Minutes, unit: str, *also: str) -> QuerySet[Any, Any]:
    """Failures of each "minute" or "hour" (`at`), and of each value of further columns."""
    counted: QuerySet[Any, Any] = minutes.annotate(at=Trunc("minute", unit, tzinfo=UTC))
    found: QuerySet[Any, Any] = counted.values("at", *also).annotate(failures=Sum("n"))
    return found.order_by("at")


def known_types_and_codes(most: int) -> tuple[list[str], list[str]]:
    """Types and codes of the groups that were seen last, each in order of the alphabet."""
    newest = FailureGroup.objects.order_by("-last_seen").values_list("type", "code")[:most]
    types, codes = set[str](), set[str]()
    for task_type, code in newest:
        types.add(task_type)
        codes.add(code)
    return sorted(types), sorted(codes)


def tasks_of(
    group: FailureGroup, organization_id: str, start: datetime, end: datetime
) -> TaskQuerySet:
    """Tasks of a group that failed in this time and did not run again since, the newest first.

    Of one organization unless that is empty.
    """
    rows = _failed_within(start, end).filter(
        type=group.type, error_code=group.code, fingerprint=group.fingerprint
    )
    return rows.of_organization(organization_id or None)


def newest_tasks_of(
    group: FailureGroup, organization_id: str, start: datetime, end: datetime, most: int
) -> list[Task]:
    """Some of them with their messages (`words`), and without large columns.

    At most MOST_WALKED failed tasks of all groups are looked through.
    """
    newest = _failed_within(start, end).values("pk")[:MOST_WALKED]
    rows = tasks_of(group, organization_id, start, end).filter(pk__in=newest)
    words = Coalesce(KT("error__detail"), KT("error__message"))
    names = ("id", "organization_id", "project_id", "state", "completed_at", "attempt_count")
    return list(rows.annotate(words=words).only(*names)[:most])


def _failed_within(start: datetime, end: datetime) -> TaskQuerySet:
    rows = Task.objects.in_state(State.FAILED, State.EXPIRED)
    return rows.filter(completed_at__gte=start, completed_at__lt=end).order_by("-completed_at")


def prunable_minutes(before: datetime) -> QuerySet[FailureMinute]:
    """Minutes before a moment, the oldest first."""
    return FailureMinute.objects.filter(minute__lt=before).order_by("minute")


def prunable_groups(before: datetime | None, most: int) -> QuerySet[FailureGroup]:
    """Groups not seen since a moment (None: never mind), and those beyond the `most` newest."""
    seen = FailureGroup.objects.order_by("-last_seen").values_list("last_seen", flat=True)
    oldest_kept = seen[most - 1 : most].first()
    old = Q(pk__in=[])
    for moment in (before, oldest_kept):
        if moment is not None:
            old |= Q(last_seen__lt=moment)
    return FailureGroup.objects.filter(old).order_by("last_seen")
