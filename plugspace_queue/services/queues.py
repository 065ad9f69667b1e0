"""Operations on queues: limits and policy, pauses, the priority of one task."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from plugspace_queue.broker import routing, task_store
from plugspace_queue.broker.scripts import Call
from plugspace_queue.domain import clock, lifecycle
from plugspace_queue.domain.catalog import find
from plugspace_queue.domain.enums import Policy, State
from plugspace_queue.domain.task_options import LONGEST_WINDOW, MOST, SHORTEST_WINDOW
from plugspace_queue.domain.task_types import TaskType, queue_of
from plugspace_queue.domain.tiers import LOWEST_PRIORITY
from plugspace_queue.errors import InvalidState, Unavailable
from plugspace_queue.limits import overrides, policies
from plugspace_queue.limits.policies import QueuePolicy
from plugspace_queue.models import Organization, QueueSettings, Task, task_queries, tenancy_queries
from plugspace_queue.publishing import projections
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.schemas.refusals import refuse
from plugspace_queue.services import arguments, lookup
from plugspace_queue.services.submission import alias


def set_queue(task_type: object, changes: Mapping[str, Any]) -> QueuePolicy:
    """Change some of a queue's settings; return those in force. Raises ValidationRefused."""
    kind = arguments.task_type(task_type)
    columns = _columns(changes)
    with transaction.atomic(using=alias()):
        row = tenancy_queries.locked_queue_row(kind.value, no_key=True)
        for column, value in columns.items():
            setattr(row, column, value)
        if columns:
            row.save(update_fields=list(columns))
    return policies.in_force(row, overrides.read(kind.value, clock.now()))


def _columns(changes: Mapping[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for field, value in changes.items():
        if field not in _FIELDS:
            refuse(str(field), _("is not known"))
        columns |= _FIELDS[field](field, value)
    return columns


def _count(field: str, value: object) -> dict[str, Any]:
    return {field: None if value is None else arguments.whole(field, value, 1, MOST)}


def _priority(field: str, value: object) -> dict[str, Any]:
    known = None if value is None else arguments.whole(field, value, 0, LOWEST_PRIORITY)
    return {field: known}


def _policy(field: str, value: object) -> dict[str, Any]:
    return {field: Policy.STRICT if value is None else arguments.word(field, value, Policy)}


def _limiter(field: str, value: object) -> dict[str, Any]:
    if value is None:
        return {"limiter_max": None, "limiter_duration": None}
    if not isinstance(value, Mapping) or set(value) != {"max", "duration"}:
        refuse(field, _("must hold max and duration"))
    return {
        "limiter_max": arguments.whole(f"{field}.max", value["max"], 1, MOST),
        "limiter_duration": _seconds(f"{field}.duration", value["duration"]),
    }


def _window(field: str, value: object) -> dict[str, Any]:
    return {field: None if value is None else _seconds(field, value)}


def _seconds(field: str, value: object) -> float:
    return arguments.seconds(field, value, SHORTEST_WINDOW, LONGEST_WINDOW)


_FIELDS: dict[str, Callable[[str, object], dict[str, Any]]] = {
    "concurrency": _count,
    "global_concurrency": _count,
    "organization_concurrency": _count,
    "limiter": _limiter,
    "limiter_max": _count,
    "limiter_duration": _window,
    "policy": _policy,
    "default_priority": _priority,
}


def pause(task_type: object = None, organization_id: str | None = None) -> None:
    """Stop starting tasks of a queue or an organization; running tasks continue.

    Raises ValidationRefused unless exactly one is named, OrganizationUnknown.
    """
    _set_pause(task_type, organization_id, is_paused=True)


def resume(task_type: object = None, organization_id: str | None = None) -> None:
    """Start tasks of a paused queue or organization again; raises as `pause`."""
    _set_pause(task_type, organization_id, is_paused=False)


def _set_pause(task_type: object, organization_id: str | None, *, is_paused: bool) -> None:
    if (task_type is None) == (organization_id is None):
        refuse("type", _("give a task type or an organization, one of them"))
    with transaction.atomic(using=alias()):
        if organization_id is None:
            _pause_queue(arguments.task_type(task_type), is_paused)
        else:
            _pause_organization(lookup.organization_of(organization_id).pk, is_paused)


def _pause_queue(kind: TaskType, is_paused: bool) -> None:
    row = tenancy_queries.locked_queue_row(kind.value)
    if row.is_paused == is_paused:
        return
    if not is_paused:
        _extend_deadlines_of_queue(row, timezone.now())
    _save_pause(row, is_paused)


def _pause_organization(organization_id: str, is_paused: bool) -> None:
    row = tenancy_queries.locked_organization(organization_id)
    if row.is_paused == is_paused:
        return
    if not is_paused:
        _extend_deadlines_of_organization(row, timezone.now())
    _save_pause(row, is_paused)
    transaction.on_commit(lambda: projections.write_pause(organization_id, is_paused), robust=True)


def _save_pause(row: Any, is_paused: bool) -> None:
    row.is_paused = is_paused
    row.paused_at = timezone.now() if is_paused else None
    row.save(update_fields=["is_paused", "paused_at"])


def _extend_deadlines_of_queue(row: QueueSettings, now: datetime) -> None:
    """Extend deadlines; the time in an organization's own pause is added when that ends."""
    held, paused = task_queries.deadlines_of_type(row.type), tenancy_queries.paused_organizations()
    since = row.paused_at or now
    extend_deadlines(held.exclude(organization__in=paused), since, now)
    for organization_id, until in paused.values_list("pk", "paused_at"):
        if until:
            extend_deadlines(held.filter(organization=organization_id), since, until)


def _extend_deadlines_of_organization(row: Organization, now: datetime) -> None:
    held, paused = task_queries.deadlines_of_organization(row.pk), tenancy_queries.paused_queues()
    since = row.paused_at or now
    extend_deadlines(held.exclude(type__in=paused.values("type")), since, now)
    for kind, until in paused.values_list("type", "paused_at"):
        if until:
            extend_deadlines(held.filter(type=kind), since, until)


def extend_deadlines(tasks: QuerySet[Task], since: datetime, until: datetime) -> None:
    """Extend the deadlines of tasks that could not start between `since` and `until`."""
    if until <= since:
        return
    held = tasks.filter(deadline__isnull=False)
    for seconds in held.order_by().values_list("ttl", flat=True).distinct():
        live = timedelta(seconds=seconds)
        same = held.filter(ttl=seconds)
        # Tasks accepted during the pause get their full ttl. They are updated first, as the second
        # statement would otherwise match and extend them too.
        same.filter(deadline__gt=since + live, deadline__lt=until + live).update(
            deadline=until + live
        )
        same.filter(deadline__lte=since + live).update(deadline=F("deadline") + (until - since))


def set_priority(task_id: object, priority: object, organization_id: str | None = None) -> Task:
    """Move a task to the end of another band, or to its front if it is a retry.

    A running task continues; its retries wait in the new band. Raises NotFound,
    ValidationRefused, InvalidState when it has ended.
    """
    band = arguments.whole("priority", priority, 0, LOWEST_PRIORITY)
    task = lookup.task_of(task_id, organization_id)
    if not task_queries.task_by_id(task.pk).open().update(priority=band):
        raise InvalidState(_("Task %(task)s has ended.") % {"task": task.pk}, task_id=str(task.pk))
    task.refresh_from_db()
    if task.state != State.BLOCKED and find(task.type) is not None:
        transaction.on_commit(lambda: _move_in_line(task), robust=True)
    return task


def _move_in_line(task: Task) -> None:
    queue, task_id = queue_of(task.type), str(task.pk)
    calls: list[Call[Any]] = [task_store.set_band(queue, task_id, task.priority)]
    if task.state in lifecycle.STARTABLE:
        calls.append(task_store.withdraw(queue, [task_id]))
    try:
        routing.ask_all(calls, queue)
    except Unavailable:
        # The task stays in its old band; only its order is wrong.
        return
    publishing.publish_ids([task.pk])
