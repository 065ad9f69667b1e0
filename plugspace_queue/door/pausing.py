"""Pausing and resuming a queue or an organization; the ttl of what waits stands still meanwhile."""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from plugspace_queue import mirrors
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.door import admission, submitting, validating
from plugspace_queue.models import Organization, QueueSettings, Task


def pause(task_type: object = None, organization_id: str | None = None) -> None:
    """Start nothing more of a queue, or of an organization; running tasks go on.

    Raises ValidationRefused unless exactly one is named, OrganizationUnknown.
    """
    _set(task_type, organization_id, is_paused=True)


def resume(task_type: object = None, organization_id: str | None = None) -> None:
    """Let a queue, or an organization, go on; raises as `pause`."""
    _set(task_type, organization_id, is_paused=False)


def _set(task_type: object, organization_id: str | None, *, is_paused: bool) -> None:
    if (task_type is None) == (organization_id is None):
        validating.refuse("type", "give a task type or an organization, one of them")
    with transaction.atomic(using=submitting.alias()):
        if organization_id is None:
            _set_queue(validating.word("type", task_type, TaskType), is_paused)
        else:
            _set_organization(admission.known(organization_id).pk, is_paused)


def _set_queue(kind: TaskType, is_paused: bool) -> None:
    QueueSettings.objects.get_or_create(type=kind.value)
    row = QueueSettings.objects.select_for_update().get(type=kind.value)
    if row.is_paused == is_paused:
        return
    if not is_paused:
        _give_back_queue_time(row, timezone.now())
    _mark(row, is_paused)


def _set_organization(organization_id: str, is_paused: bool) -> None:
    rows = Organization.objects.select_for_update(no_key=True)
    row = rows.get(pk=organization_id)
    if row.is_paused == is_paused:
        return
    if not is_paused:
        _give_back_organization_time(row, timezone.now())
    _mark(row, is_paused)
    transaction.on_commit(lambda: mirrors.write_pause(organization_id, is_paused), robust=True)


def _mark(row: Any, is_paused: bool) -> None:
    row.is_paused = is_paused
    row.paused_at = timezone.now() if is_paused else None
    row.save(update_fields=["is_paused", "paused_at"])


def _give_back_queue_time(row: QueueSettings, now: datetime) -> None:
    """What an organization's own pause covers too is given back when that ends."""
    waiting = Task.objects.filter(type=row.type)
    paused = Organization.objects.filter(is_paused=True, paused_at__isnull=False)
    since = row.paused_at or now
    stand_still(waiting.exclude(organization__in=paused), since, now)
    for organization_id, until in paused.values_list("pk", "paused_at"):
        if until:
            stand_still(waiting.filter(organization=organization_id), since, until)


def _give_back_organization_time(row: Organization, now: datetime) -> None:
    waiting = Task.objects.filter(organization=row.pk)
    paused = QueueSettings.objects.filter(is_paused=True, paused_at__isnull=False)
    since = row.paused_at or now
    stand_still(waiting.exclude(type__in=paused.values("type")), since, now)
    for kind, until in paused.values_list("type", "paused_at"):
        if until:
            stand_still(waiting.filter(type=kind), since, until)


def stand_still(tasks: QuerySet[Task], since: datetime, until: datetime) -> None:
    """Move the deadlines of tasks whose wait for the first start was held up in that time."""
    if until <= since:
        return
    held = tasks.filter(deadline__isnull=False)
    for seconds in held.order_by().values_list("ttl", flat=True).distinct():
        live = timedelta(seconds=seconds)
        same = held.filter(ttl=seconds)
        # Accepted meanwhile: all of their wait so far was held up. First, or they move twice.
        same.filter(deadline__gt=since + live, deadline__lt=until + live).update(
            deadline=until + live
        )
        same.filter(deadline__lte=since + live).update(deadline=F("deadline") + (until - since))
