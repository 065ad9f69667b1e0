"""Compares rows with Redis: tasks in both directions, then the structures of each queue.

Every comparison is bounded. A queue whose data is damaged, or whose server is unavailable, does not
prevent the comparison of the others.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from plugspace_queue.broker import audit, routing
from plugspace_queue.broker.audit import Holds, RedisTaskState
from plugspace_queue.broker.connection import client
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.maintenance import expiry
from plugspace_queue.maintenance.reconcile import copies, structures
from plugspace_queue.maintenance.reconcile.findings import Finding, FindingScope
from plugspace_queue.maintenance.reconcile.places import TaskPlace, TaskRow, compare_task, place_of
from plugspace_queue.maintenance.relay import RowCursor
from plugspace_queue.models import task_queries

SLICE = 1000
"""Rows of one comparison."""

OPEN = [state for state in State if state not in lifecycle.FINAL]


@dataclass
class Comparison:
    """The result of one bounded comparison."""

    findings: list[Finding] = field(default_factory=list)
    places: Counter[tuple[str, TaskPlace]] = field(default_factory=Counter)
    """Open tasks by type and place."""
    workflow_ids: set[uuid.UUID] = field(default_factory=set)
    """Workflows of the open tasks that were read."""

    def add(self, other: "Comparison") -> None:
        """Add what another comparison found."""
        self.findings += other.findings
        self.places += other.places
        self.workflow_ids |= other.workflow_ids


def compare_all(
    now: datetime,
    kinds: Sequence[TaskType] | None = None,
    *,
    ended_since: datetime | None = None,
) -> Iterator[Comparison]:
    """Compare copies, rows, further ids in Redis, and structures, in slices.

    `kinds`: all declared types; rows of dropped types are skipped, as no server is named for them.
    Raises Unavailable when a server is unavailable or its data damaged, after all else was
    compared.
    """
    kinds, errors = kinds or list(TaskType), routing.PerServerErrors()
    with errors.collect():
        for found in copies.compare_ended(ended_since, now, kinds, errors):
            yield Comparison(found)
    with errors.collect():
        yield from map(Comparison, copies.compare_all_organizations(now))
    yield from _compare_in_full(kinds, errors)
    errors.raise_if_any()


def compare_again(
    findings: Iterable[Finding], now: datetime, errors: routing.PerServerErrors
) -> list[Finding]:
    """The findings that still hold; without those that cannot be read now (see `errors`)."""
    findings = list(findings)
    keys_of: dict[tuple[FindingScope, str], set[str]] = defaultdict(set)
    for finding in findings:
        keys_of[finding.kind.scope, finding.queue].add(finding.key)
    still = set[Finding]()
    for (scope, queue), names in keys_of.items():
        with errors.collect():
            still.update(_compare_scope(scope, queue, sorted(names), now, errors))
    return [finding for finding in findings if finding in still]


def _compare_scope(
    scope: FindingScope,
    queue: str,
    names: Sequence[str],
    now: datetime,
    errors: routing.PerServerErrors,
) -> Iterable[Finding]:
    match scope:
        case FindingScope.TASK:
            return compare_tasks(TaskType(queue), names).findings
        case FindingScope.LANE:
            return _compare_lanes(TaskType(queue), names)
        case FindingScope.QUEUE:
            sound, found = structures.of_right_types([TaskType(queue)], errors)
            return [*found, *structures.compare_structures(sound, errors)]
        case FindingScope.ORGANIZATION:
            return copies.compare_organizations(names, now)
        case FindingScope.WORKFLOW:
            ids = [uuid.UUID(name) for name in names]
            return copies.compare_workflows(ids) + copies.missing_workflows(ids)
        case FindingScope.ENDED:
            return copies.compare_snapshots_of(names, errors)


def _compare_in_full(
    kinds: Sequence[TaskType], errors: routing.PerServerErrors
) -> Iterator[Comparison]:
    """Compare queues: those that hold nothing take no round trip of their own."""
    sound, findings = structures.of_right_types(kinds, errors)
    yield Comparison(findings)
    yield from _compare_rows(kinds, sound, errors)
    for kind in _with_tasks(sound, errors):
        with errors.collect():
            yield from _compare_strangers(kind)
            for lanes in audit.lanes_in_order(client(kind.queue_name), kind.queue_name):
                yield Comparison(list(_compare_lanes(kind, lanes)))
    yield Comparison(structures.compare_structures(sound, errors))


def _compare_rows(
    kinds: Sequence[TaskType], sound: Collection[TaskType], errors: routing.PerServerErrors
) -> Iterator[Comparison]:
    """Compare all open rows of the sound queues."""
    is_of_all = len(kinds) == len(TaskType)
    for cursor in [RowCursor(OPEN)] if is_of_all else [RowCursor(OPEN, kind) for kind in kinds]:
        for rows in cursor.turn(SLICE):
            ids: dict[str, list[str]] = defaultdict(list)
            for row in rows:
                ids[row.type].append(str(row.pk))
            compared = Comparison()
            for kind in (kind for kind in sound if kind in ids):
                with errors.collect():
                    compared.add(compare_tasks(kind, ids[kind]))
            with errors.collect():
                compared.findings += copies.missing_workflows(compared.workflow_ids)
            yield compared


def _with_tasks(kinds: Sequence[TaskType], errors: routing.PerServerErrors) -> Iterator[TaskType]:
    for server, of_server in structures.by_server(kinds):
        with errors.collect():
            held = audit.with_tasks(server, [kind.queue_name for kind in of_server])
            yield from (kind for kind in of_server if kind.queue_name in held)


def compare_tasks(kind: TaskType, ids: Sequence[str]) -> Comparison:
    """Compare these tasks' rows with what this queue holds. Raises Unavailable."""
    # Rows are read first. Changes are written to rows before Redis, so the row is the older state.
    rows = _rows(ids)
    compared = Comparison(list(_compare_blocked(kind, rows.values())))
    copied: list[TaskRow] = []
    for state in _states(kind, ids):
        row = rows.get(state.task_id)
        compared.findings += compare_task(kind, row, state)
        if row is not None and row.is_open:
            compared.places[row.type, place_of(row, state)] += 1
            compared.workflow_ids |= {row.workflow_id} if row.workflow_id else set()
            if Holds.SNAPSHOT in state.holds and row.type == kind:
                copied.append(row)
    garbled = copies.garbled(kind, [(r.pk, r.organization_id) for r in copied])
    compared.findings += [Finding("snapshot_garbled", kind.value, str(pk)) for pk in garbled]
    return compared


def _compare_blocked(kind: TaskType, rows: Iterable[TaskRow]) -> Iterator[Finding]:
    blocked = [row.pk for row in rows if row.state == State.BLOCKED]
    if blocked:
        for pk in expiry.hanging_among(blocked):
            yield Finding("hanging", kind.value, str(pk))
        for pk in expiry.orphaned_among(blocked):
            yield Finding("orphaned", kind.value, str(pk))


def _compare_strangers(kind: TaskType) -> Iterator[Comparison]:
    """Tasks in the queue that should not be there according to the rows."""
    for ids in audit.known_ids(client(kind.queue_name), kind.queue_name):
        rows = _rows(ids)
        wanted = {id_ for id_, row in rows.items() if row.is_open and row.type == kind}
        if strange := [id_ for id_ in ids if id_ not in wanted]:
            yield Comparison(compare_tasks(kind, strange).findings)


def _rows(ids: Collection[str]) -> dict[str, TaskRow]:
    known = [pk for pk in map(parse_id, ids) if pk is not None]
    found = task_queries.tasks_by_id(known).order_by().values_list(*TaskRow._fields)
    return {str(values[0]): TaskRow(*values) for values in found}


def _states(kind: TaskType, ids: Sequence[str]) -> Iterator[RedisTaskState]:
    for start in range(0, len(ids), audit.MOST_IDS):
        part = ids[start : start + audit.MOST_IDS]
        yield from routing.ask(audit.audit(kind.queue_name, part), kind.queue_name)


def _compare_lanes(kind: TaskType, lanes: Sequence[str]) -> Iterator[Finding]:
    """Compare lanes, a limited number of entries at a time. Raises Unavailable."""
    offset = 0
    while lanes:
        seen = routing.ask(audit.audit_lanes(kind.queue_name, lanes, offset), kind.queue_name)
        for code, lane in seen.findings:
            yield Finding(code, kind.value, lane)
        lanes, offset = lanes[seen.done :], seen.offset
