"""Copies of rows in Redis: compares them and writes them again.

The end of a task is written to Redis once, after its commit. If an outage, a crash or a concurrent
publish prevents that, nothing else writes it, and the copy of an open task never expires. So the
copies of recently ended tasks are compared too; missing ones are not written again.
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet
from pydantic import ValidationError

from plugspace_queue.broker import audit, keys, routing, task_store
from plugspace_queue.broker.connection import Client, client
from plugspace_queue.broker.task_store import Note
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import DECLARED, TaskType, queue_of
from plugspace_queue.limits import quota
from plugspace_queue.limits.quota import Account, Counter
from plugspace_queue.maintenance.reconcile.findings import Finding
from plugspace_queue.models import (
    MonthlyUsage,
    Task,
    task_queries,
    tenancy_queries,
)
from plugspace_queue.publishing import projections
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.schemas.task import AgentTask

LATELY = timedelta(minutes=10)
"""How far back the first comparison of ended tasks goes."""

OVERLAP = timedelta(minutes=1)
"""Time that is compared again, as another process may still have been writing its copies."""

SLICE = 1000
"""Rows of one comparison of ended tasks."""

MOST_ORGANIZATIONS = 100
"""Organizations of one comparison: each has up to six types in three months."""

MOST_COPIES = 100
"""Copies read in one call: some of them are large."""

UNSETTLED = frozenset({State.CANCELLED, State.EXPIRED})
"""Final states that are reached without a settle, which writes the snapshot."""


class EndedRow(NamedTuple):
    """A row that has ended."""

    pk: uuid.UUID
    type: str
    state: str
    workflow_id: uuid.UUID | None
    completed_at: datetime


def compare_all_organizations(now: datetime) -> Iterator[list[Finding]]:
    """Compare the copies of all organizations, in slices. Raises Unavailable."""
    after = ""
    while ids := list(tenancy_queries.organization_ids_after(after)[:MOST_ORGANIZATIONS]):
        yield compare_organizations(ids, now)
        after = ids[-1]


def compare_organizations(organization_ids: Collection[str], now: datetime) -> list[Finding]:
    """Compare tiers, usage and lists of newest tasks. Raises Unavailable."""
    organizations = tenancy_queries.organizations_by_id(organization_ids)
    tiers: Sequence[tuple[str, str | None]] = list(organizations.values_list("pk", "tier_id"))
    found = audit.texts(client(), [keys.organization_tier(pk) for pk, _ in tiers])
    with_tasks = tenancy_queries.organizations_with_tasks(organization_ids)
    named = {keys.organization_tasks(pk): pk for pk in with_tasks.values_list("pk", flat=True)}
    return [
        *(
            Finding("tier_differs", "", pk, detail=f"{text} instead of {slug}")
            for (pk, slug), text in zip(tiers, found, strict=True)
            if text != (slug or "")
        ),
        *(
            Finding(
                "usage_differs",
                row.type,
                row.organization_id,
                detail=f"{text} instead of {row.used}",
            )
            for row, text in _wrong_usage(organization_ids, now)
        ),
        *(
            Finding("newest_missing", "", named[key])
            for key in audit.missing(client(), list(named), "zset")
        ),
    ]


def _wrong_usage(
    organization_ids: Collection[str], now: datetime
) -> list[tuple[MonthlyUsage, str | None]]:
    """Months, of those kept in Redis, whose copy differs, and the copy's value."""
    since = quota.month_of(now - timedelta(seconds=task_store.USAGE_TTL))
    months = tenancy_queries.usage_after(organization_ids, since)
    found = audit.texts(client(), [keys.usage(*_account_of(row)) for row in months])
    pairs = zip(months, found, strict=True)
    return [(row, text) for row, text in pairs if text != str(row.used)]


def _account_of(row: MonthlyUsage) -> Account:
    return Account(row.organization_id, row.type, row.month)


def write_tiers(organization_ids: Collection[str], now: datetime) -> None:
    """Write `plugspace:org:{id}:tier` from the rows."""
    projections.write_tiers_on_commit(tenancy_queries.organizations_by_id(organization_ids))


def write_usage(organization_ids: Collection[str], now: datetime) -> None:
    """Write `plugspace:usage:…` of all months kept in Redis from the rows."""
    differing = [row for row, _ in _wrong_usage(organization_ids, now)]
    # Deleted first, as a value is not written if its version is stored already.
    audit.delete(client(), [keys.usage(*_account_of(row)) for row in differing])
    counters = [Counter(_account_of(row), row.used, row.version) for row in differing]
    routing.ask_all(quota.mirrored(counters))


def write_newest(organization_ids: Collection[str], now: datetime) -> None:
    """Write `plugspace:org:{id}:tasks`: the newest tasks that were published."""
    for organization_id in organization_ids:
        newest = task_queries.published_of(organization_id).values_list("pk", "queued_at")
        made = {
            str(pk): int(queued_at.timestamp() * 1000)
            for pk, queued_at in newest[: get_settings().org_tasks_maxlen]
        }
        if made:
            audit.write_newest(client(), organization_id, made)


def garbled(kind: TaskType, tasks: Sequence[tuple[uuid.UUID, str]]) -> Iterator[uuid.UUID]:
    """The tasks (id, organization) whose snapshot is invalid or belongs to another task.

    A snapshot that was deleted meanwhile counts too; it is written again.
    """
    organization_of = dict(tasks)
    for pk, text in _copies(keys.task, client(kind.queue_name), organization_of):
        if not _is_snapshot(text, str(pk), kind, organization_of[pk]):
            yield pk


def _is_snapshot(text: str | None, task_id: str, kind: TaskType, organization_id: str) -> bool:
    try:
        copy = AgentTask.model_validate_json(text or "")
    except ValidationError:
        return False
    return (copy.id, copy.type, copy.organization_id) == (task_id, kind, organization_id)


def compare_ended(
    since: datetime | None,
    until: datetime,
    kinds: Sequence[TaskType],
    errors: routing.PerServerErrors,
) -> Iterator[list[Finding]]:
    """Compare the copies of all tasks that ended since `since`, in slices. Raises Unavailable."""
    begin = (since or until - LATELY) - OVERLAP
    for state in sorted(lifecycle.FINAL):
        rows = task_queries.ended_by(until, state, kinds)
        if state not in UNSETTLED:
            rows = rows.filter(workflow__isnull=False)
        after = Q(completed_at__gte=begin)
        while found := _ended_rows(rows.filter(after)[:SLICE]):
            yield _compare_copies(found, errors)
            last = found[-1]
            after = Q(completed_at__gt=last.completed_at) | Q(
                completed_at=last.completed_at, pk__gt=last.pk
            )


def _compare_copies(rows: Sequence[EndedRow], errors: routing.PerServerErrors) -> list[Finding]:
    findings = _compare_snapshots(rows, errors)
    with errors.collect():
        findings += compare_workflows({row.workflow_id for row in rows if row.workflow_id})
    return findings


def compare_snapshots_of(
    task_ids: Collection[str], errors: routing.PerServerErrors
) -> list[Finding]:
    """Compare the snapshots of those tasks that have ended."""
    rows = task_queries.tasks_by_id(task_ids).filter(state__in=UNSETTLED)
    return _compare_snapshots(_ended_rows(rows), errors)


def _ended_rows(rows: QuerySet[Task]) -> list[EndedRow]:
    return [EndedRow(*values) for values in rows.values_list(*EndedRow._fields)]


def _compare_snapshots(rows: Sequence[EndedRow], errors: routing.PerServerErrors) -> list[Finding]:
    by_queue: dict[str, list[EndedRow]] = defaultdict(list)
    for row in rows:
        if row.state in UNSETTLED and row.type in DECLARED:
            by_queue[queue_of(row.type)].append(row)
    found: list[Finding] = []
    for server, queues in routing.by_server(by_queue).items():
        some = {row.pk: row for queue in queues for row in by_queue[queue]}
        with errors.collect():
            found += [
                Finding("snapshot_differs", some[pk].type, str(pk))
                for pk, text in _copies(keys.task, server, some)
                if text is not None and not _says(text, some[pk])
            ]
    return found


def _says(text: str, row: EndedRow) -> bool:
    copy = _object(text)
    return (copy.get("id"), copy.get("state")) == (str(row.pk), row.state)


def compare_workflows(workflow_ids: Collection[uuid.UUID]) -> list[Finding]:
    """Find workflows whose copy has a wrong state of a step. Raises Unavailable."""
    copies = _copies(keys.workflow, client(), workflow_ids)
    copied = {pk: _steps(_object(text)) for pk, text in copies if text is not None}
    states = task_queries.steps_of(copied).order_by()
    wrong = {
        workflow
        for workflow, pk, state in states.values_list("workflow_id", "pk", "state")
        if workflow is not None and (str(pk), state) not in copied[workflow]
    }
    return [Finding("workflow_differs", "", str(pk)) for pk in sorted(wrong)]


def missing_workflows(workflow_ids: Collection[uuid.UUID]) -> list[Finding]:
    """Find workflows without a copy. Raises Unavailable."""
    named = {keys.workflow(str(pk)): str(pk) for pk in sorted(workflow_ids)}
    gone = audit.missing(client(), list(named), "string")
    return [Finding("workflow_missing", "", named[key]) for key in gone]


def write_workflows(workflow_ids: Collection[str], now: datetime) -> None:
    """Write `plugspace:workflow:{id}` from the rows."""
    projections.write_workflows([uuid.UUID(pk) for pk in workflow_ids])


def write_ended(task_ids: Collection[str], now: datetime) -> None:
    """Write `plugspace:task:{id}` of ended tasks from the rows."""
    publishing.refresh_snapshots(task_queries.tasks_by_id(task_ids).final())


def write_snapshots(task_ids: Collection[str], now: datetime) -> None:
    """Write `plugspace:task:{id}` of tasks that have not ended.

    That of a running task is written only while it runs, as its end writes the final one.
    """
    tasks = list(task_queries.tasks_by_id(task_ids).open())
    publishing.publish([task for task in tasks if task.state != State.PROCESSING])
    notes: dict[str, list[Note]] = defaultdict(list)
    for task in tasks:
        if task.state == State.PROCESSING and task.type in DECLARED:
            notes[queue_of(task.type)].append(publishing.note_of(task))
    routing.ask_everywhere(
        {queue: [task_store.announce(queue, of_queue)] for queue, of_queue in notes.items()}
    )


def _copies(
    key: Callable[[str], str], server: Client, ids: Collection[uuid.UUID]
) -> Iterator[tuple[uuid.UUID, str | None]]:
    """The strings of these ids on a server; None for missing ones."""
    wanted = list(ids)
    for start in range(0, len(wanted), MOST_COPIES):
        part = wanted[start : start + MOST_COPIES]
        texts = audit.texts(server, [key(str(pk)) for pk in part])
        yield from zip(part, texts, strict=True)


def _object(text: str | None) -> dict[str, Any]:
    """The JSON object in a text; {} when it holds none."""
    try:
        found = json.loads(text or "")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _steps(workflow: dict[str, Any]) -> set[tuple[str, str]]:
    """Ids and states of the steps in a copy; empty when it is not a copy of a workflow."""
    try:
        return {(step["id"], step["state"]) for step in workflow["steps"]}
    except (KeyError, TypeError):
        return set()
