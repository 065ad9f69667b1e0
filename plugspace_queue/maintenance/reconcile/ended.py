"""Looks at copies of what ended lately: Redis may say for good that it is still open.

An ending is told once, after its commit. What an outage, a death or a publish that was under way
kept from Redis is told by nobody else, and a copy of what is open has no time to live. Copies that
are gone stay gone.
"""

import json
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet

from plugspace_queue.broker import keys, projections
from plugspace_queue.broker.connection import client
from plugspace_queue.broker.routing import ANY_QUEUE
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State, TaskType
from plugspace_queue.maintenance.reconcile.findings import Finding, Kind
from plugspace_queue.models import Task

LATELY = timedelta(minutes=10)
"""How far back a first look goes."""

AGAIN = timedelta(minutes=1)
"""What is looked at once more: another process may have been about to tell it."""

SLICE = 1000
"""Rows of one look."""

AT_ONCE = 100
"""Copies read in one call: some of them are large."""

IN_LINE = frozenset({State.CANCELLED, State.EXPIRED})
"""States that no settle tells of."""


class Row(NamedTuple):
    """A row that has ended."""

    pk: uuid.UUID
    type: str
    state: str
    workflow_id: uuid.UUID | None
    completed_at: datetime


def all_between(
    since: datetime, until: datetime, kinds: Sequence[TaskType]
) -> Iterator[list[Finding]]:
    """Look at the copies of all that ended then, in slices. Raises Unavailable."""
    for state in sorted(lifecycle.FINAL):
        rows = Task.objects.filter(state=state, type__in=kinds, completed_at__lte=until)
        if state not in IN_LINE:
            rows = rows.filter(workflow__isnull=False)
        after = Q(completed_at__gte=since)
        while found := _rows(rows.filter(after).order_by("completed_at", "pk")[:SLICE]):
            yield _look_at(found)
            last = found[-1]
            after = Q(completed_at__gt=last.completed_at) | Q(
                completed_at=last.completed_at, pk__gt=last.pk
            )


def look_at(task_ids: Collection[str]) -> list[Finding]:
    """Look at the snapshots of these tasks, of those that have ended. Raises Unavailable."""
    return list(_snapshots(_rows(Task.objects.filter(pk__in=task_ids, state__in=IN_LINE))))


def look_at_workflows(workflow_ids: Collection[uuid.UUID]) -> list[Finding]:
    """Those of these workflows whose copy tells another state of a step. Raises Unavailable."""
    known = _told(keys.workflow, ANY_QUEUE, workflow_ids)
    told = {pk: _steps(one) for pk, one in known}
    rows = Task.objects.filter(workflow__in=told).order_by()
    states = rows.values_list("workflow_id", "pk", "state")
    wrong = {workflow for workflow, pk, state in states if (str(pk), state) not in told[workflow]}
    return [Finding(Kind.WORKFLOW_DIFFERS, "", str(pk)) for pk in sorted(wrong)]


def _look_at(rows: Sequence[Row]) -> list[Finding]:
    workflows = {row.workflow_id for row in rows if row.workflow_id}
    return [*_snapshots(rows), *look_at_workflows(workflows)]


def _rows(rows: QuerySet[Task]) -> list[Row]:
    return [Row(*values) for values in rows.values_list(*Row._fields)]


def _snapshots(rows: Sequence[Row]) -> Iterator[Finding]:
    for kind in TaskType:
        states = {row.pk: row.state for row in rows if row.type == kind and row.state in IN_LINE}
        for pk, one in _told(keys.task, kind.queue_name, states):
            if (one.get("id"), one.get("state")) != (str(pk), states[pk]):
                yield Finding(Kind.SNAPSHOT_DIFFERS, kind.value, str(pk))


def _steps(workflow: dict[str, Any]) -> set[tuple[str, str]]:
    """What a copy tells of its steps; nothing when it is no copy of a workflow."""
    try:
        return {(step["id"], step["state"]) for step in workflow["steps"]}
    except (KeyError, TypeError):
        return set()


def _told(
    key: Callable[[str], str], queue: str, ids: Collection[uuid.UUID]
) -> Iterator[tuple[uuid.UUID, dict[str, Any]]]:
    """What the server of a queue tells of these, of those that it knows; {} for what is no copy."""
    wanted = list(ids)
    for start in range(0, len(wanted), AT_ONCE):
        part = wanted[start : start + AT_ONCE]
        texts = projections.texts(client(queue), [key(str(pk)) for pk in part])
        for pk, text in zip(part, texts, strict=True):
            if text is not None:
                yield pk, _object(text)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
