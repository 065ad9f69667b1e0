"""One turn over everything, in bounded looks, and a second look at what the first one found."""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from plugspace_queue.broker import routing
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State, TaskType
from plugspace_queue.maintenance.reconcile import ended, projection_checks, queues, tasks
from plugspace_queue.maintenance.reconcile.findings import Finding, Scope
from plugspace_queue.maintenance.reconcile.tasks import Look
from plugspace_queue.maintenance.relay import RowCursor

SLICE = 1000
"""Rows of one look."""

OPEN = [state for state in State if state not in lifecycle.FINAL]


def everywhere(
    now: datetime,
    kinds: Sequence[TaskType] = tuple(TaskType),
    *,
    ended_since: datetime | None = None,
) -> Iterator[Look]:
    """What ended lately, copies, rows, what Redis holds beside them, and structures.

    Raises Unavailable.
    """
    since = (ended_since or now - ended.LATELY) - ended.AGAIN
    yield from map(Look, ended.all_between(since, now, kinds))
    yield from map(Look, projection_checks.all_organizations(now))
    # One queue whose data is damaged, or whose server is away, hides no other.
    others = routing.PerServerErrors()
    for kind in kinds:
        with others.at_one():
            strange = queues.look_at_keys(kind)
            yield Look(strange)
            if strange:
                # No script can look at the rest before they are gone.
                continue
            yield from _rows([kind])
            yield from tasks.strangers(kind)
            yield from map(Look, queues.all_lanes(kind))
            yield Look(queues.look_at(kind))
    others.tell()


def again(findings: Iterable[Finding], now: datetime) -> set[Finding]:
    """What of these is still so, and what else the same look sees. Raises Unavailable."""
    by_scope: dict[tuple[Scope, str], set[str]] = defaultdict(set)
    for finding in findings:
        by_scope[finding.meaning.scope, finding.queue].add(finding.key)
    return {
        seen
        for (scope, queue), keys in by_scope.items()
        for seen in _LOOKS[scope](queue, sorted(keys), now)
    }


def _rows(kinds: Sequence[TaskType]) -> Iterator[Look]:
    for rows in RowCursor(OPEN, kinds).turn(SLICE):
        kind = TaskType(rows[0].type)
        look = tasks.look_at(kind, [str(row.pk) for row in rows])
        look.findings += projection_checks.look_at_workflows(look.workflow_ids)
        yield look


def _tasks(queue: str, keys: list[str], now: datetime) -> list[Finding]:
    return tasks.look_at(TaskType(queue), keys).findings


def _lanes(queue: str, keys: list[str], now: datetime) -> list[Finding]:
    looks = queues.look_at_lanes(TaskType(queue), keys)
    return [finding for findings in looks for finding in findings]


def _queue(queue: str, keys: list[str], now: datetime) -> list[Finding]:
    return queues.look_at(TaskType(queue))


def _organizations(queue: str, keys: list[str], now: datetime) -> list[Finding]:
    return projection_checks.look_at(keys, now)


def _workflows(queue: str, keys: list[str], now: datetime) -> list[Finding]:
    ids = [uuid.UUID(key) for key in keys]
    return projection_checks.look_at_workflows(ids) + ended.look_at_workflows(ids)


def _ended(queue: str, keys: list[str], now: datetime) -> list[Finding]:
    return ended.look_at(keys)


_LOOKS: dict[Scope, Callable[[str, list[str], datetime], list[Finding]]] = {
    Scope.TASK: _tasks,
    Scope.LANE: _lanes,
    Scope.QUEUE: _queue,
    Scope.ORGANIZATION: _organizations,
    Scope.WORKFLOW: _workflows,
    Scope.ENDED: _ended,
}
