"""Copies of what has ended are written again where Redis says otherwise.

An ending is told once, after its commit. What an outage, a death or a publish that was under way
kept from Redis would stand there for good, for a copy of what is open has no time to live. Every
worker looks at what ended lately; doing it twice does no harm.
"""

import json
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from django.db.models import QuerySet

from plugspace_queue import keys, mirrors, publishing
from plugspace_queue.engine import copies
from plugspace_queue.engine.connection import client
from plugspace_queue.models import Task
from plugspace_queue.rules import lifecycle
from plugspace_queue.types import State

MOST = 200
"""Tasks, and workflows, of one look: the newest."""

FIRST = timedelta(minutes=10)
"""How far back the first look goes."""

AGAIN = timedelta(minutes=1)
"""What is looked at once more: another process may have been about to tell it."""

ENDED_IN_LINE = (State.CANCELLED, State.EXPIRED)
"""States that no settle tells of."""

Told = tuple[uuid.UUID, str]
"""A task, and the state that it has or is said to have."""


class Retelling:
    """Remembers until when it has looked, so that no outage is too long."""

    def __init__(self) -> None:
        self._until: datetime | None = None

    def look(self, now: datetime) -> int:
        """Compare and write; how many copies were wrong. Raises Unavailable."""
        since = (self._until or now - FIRST) - AGAIN
        ended = Task.objects.filter(completed_at__gte=since).order_by("-completed_at")
        found = _retell_tasks(ended) + _retell_workflows(ended)
        self._until = now
        return found


def _retell_tasks(ended: QuerySet[Task]) -> int:
    rows = set(ended.filter(state__in=ENDED_IN_LINE).values_list("pk", "state")[:MOST])
    wrong = {pk for pk, _ in set(_of_tasks(pk for pk, _ in rows)) - rows}
    if wrong:
        publishing.refresh_snapshots(Task.objects.filter(pk__in=wrong))
    return len(wrong)


def _retell_workflows(ended: QuerySet[Task]) -> int:
    steps = ended.filter(state__in=lifecycle.FINAL, workflow__isnull=False)
    ids = set(steps.values_list("workflow_id", flat=True)[:MOST])
    told = dict(_of_workflows(ids))
    rows = Task.objects.filter(workflow__in=told).values_list("workflow_id", "pk", "state")
    wrong = {workflow for workflow, pk, state in rows if (pk, state) not in told[workflow]}
    mirrors.write_workflows(sorted(wrong))
    return len(wrong)


def _of_tasks(ids: Iterable[uuid.UUID]) -> Iterator[Told]:
    """What Redis says of these tasks, of those that it knows."""
    for text in _texts(keys.task(str(pk)) for pk in ids):
        told = json.loads(text)
        yield uuid.UUID(told["id"]), told["state"]


def _of_workflows(ids: Iterable[uuid.UUID]) -> Iterator[tuple[uuid.UUID, set[Told]]]:
    """What Redis says of the steps of these workflows, of those that it knows."""
    for text in _texts(keys.workflow(str(pk)) for pk in ids):
        told = json.loads(text)
        yield uuid.UUID(told["id"]), {(uuid.UUID(s["id"]), s["state"]) for s in told["steps"]}


def _texts(names: Iterable[str]) -> list[str]:
    """What is held by those of these keys that are there."""
    return [text for text in copies.texts(client(), list(names)) if text is not None]
