"""Writes copies of rows to Redis again: they may have been lost with its data."""

import uuid
from collections.abc import Collection
from datetime import datetime

from plugspace_queue.broker import keys, projections, routing, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State, TaskType
from plugspace_queue.limits import quota
from plugspace_queue.limits.quota import Counter
from plugspace_queue.maintenance.reconcile import projection_checks
from plugspace_queue.models import Organization, Task
from plugspace_queue.publishing import projections as row_projections
from plugspace_queue.publishing import tasks as publishing


def write_tiers(organization_ids: Collection[str], now: datetime) -> None:
    """`plugspace:org:{id}:tier` as the rows say."""
    row_projections.write_tiers_on_commit(Organization.objects.filter(pk__in=organization_ids))


def write_usage(organization_ids: Collection[str], now: datetime) -> None:
    """`plugspace:usage:…` of all months that Redis keeps, as the rows say."""
    rows = projection_checks.usage_rows(organization_ids, now)
    names = [keys.usage(*projection_checks.account_of(row)) for row in rows]
    there = projections.texts(client(), names)
    differing = [
        name for name, row, text in zip(names, rows, there, strict=True) if text != str(row.used)
    ]
    # A version that is there already is not written again, whatever its value has become.
    projections.forget(client(), differing)
    routing.ask_all(
        quota.mirrored(
            Counter(projection_checks.account_of(row), row.used, row.version) for row in rows
        )
    )


def write_newest(organization_ids: Collection[str], now: datetime) -> None:
    """`plugspace:org:{id}:tasks`: the newest ones, as far as they have been in line."""
    for organization_id in organization_ids:
        rows = Task.objects.filter(organization=organization_id).exclude(state=State.BLOCKED)
        newest = rows.order_by("-pk").values_list("pk", "queued_at")
        made = {
            str(pk): int(queued_at.timestamp() * 1000)
            for pk, queued_at in newest[: get_settings().org_tasks_maxlen]
        }
        if made:
            projections.write_newest(client(), organization_id, made)


def write_workflows(workflow_ids: Collection[str], now: datetime) -> None:
    """`plugspace:workflow:{id}` as the rows say."""
    row_projections.write_workflows([uuid.UUID(pk) for pk in workflow_ids])


def write_ended(task_ids: Collection[str], now: datetime) -> None:
    """`plugspace:task:{id}` of tasks that have ended, as the rows say."""
    publishing.refresh_snapshots(
        Task.objects.filter(pk__in=task_ids, state__in=sorted(lifecycle.FINAL))
    )


def write_snapshots(kind: TaskType, task_ids: Collection[uuid.UUID]) -> None:
    """`plugspace:task:{id}` of tasks that have not ended.

    What runs gets one only while it runs: its end writes the last one.
    """
    tasks = list(Task.objects.filter(pk__in=task_ids).open())
    publishing.publish([task for task in tasks if task.state != State.PROCESSING])
    running = [task for task in tasks if task.state == State.PROCESSING]
    notes = [publishing.note_of(task) for task in running]
    if notes:
        routing.ask(task_store.announce(kind.queue_name, notes), kind.queue_name)
