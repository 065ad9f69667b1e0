"""How the queues stand for one organization: its own tasks, never those of others.

There are no counters by organization, so rows are counted, each state up to a limit: what a
tenant asks must not cost more the more tasks it has had.
"""

import threading
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass

from django.db import connections

from plugspace_queue.broker import lanes
from plugspace_queue.broker.connection import client
from plugspace_queue.domain.enums import State, TaskType
from plugspace_queue.models import Task

MOST = 10_000
"""Rows of one state that are counted."""

FRESH_FOR = 1.0
"""Seconds a count is good for."""

REMEMBERED = 1_000
"""Organizations whose last count is kept."""

COUNTED = (State.WAITING, State.SCHEDULED, State.RETRYING, State.COMPLETE, State.FAILED)

Counts = Counter[tuple[str, str]]

_lock = threading.Lock()
_kept: OrderedDict[str, tuple[float, Counts]] = OrderedDict()


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnStats:
    """One queue in numbers of one organization; None: more than are counted."""

    type: TaskType
    waiting: int
    active: int
    completed: int | None
    failed: int | None
    delayed: int | None


def own_stats(organization_id: str, kinds: list[TaskType]) -> list[OwnStats]:
    """A row per queue. Raises Unavailable."""
    counts = _recent(organization_id)
    return [_row(kind, organization_id, counts) for kind in kinds]


def forget() -> None:
    """Count anew when asked next."""
    with _lock:
        _kept.clear()


def _row(kind: TaskType, organization_id: str, counts: Counts) -> OwnStats:
    in_line, active = lanes.of_organization(
        client(kind.queue_name), kind.queue_name, organization_id
    )
    waiting = _figure(counts, kind, State.WAITING)
    return OwnStats(
        type=kind,
        # Rows know what is not published yet; the line knows how many there are beyond the limit.
        waiting=in_line if waiting is None else waiting,
        active=active,
        completed=_figure(counts, kind, State.COMPLETE),
        failed=_figure(counts, kind, State.FAILED),
        delayed=_figure(counts, kind, State.SCHEDULED, State.RETRYING),
    )


def _figure(counts: Counts, kind: TaskType, *states: State) -> int | None:
    """The rows of a type; None where a state had more than were counted, of whatever types."""
    totals = [sum(n for (state, _), n in counts.items() if state == each) for each in states]
    if max(totals) > MOST:
        return None
    return sum(counts[state, kind] for state in states)


def _recent(organization_id: str) -> Counts:
    with _lock:
        counted_at, counts = _kept.get(organization_id, (float("-inf"), Counter()))
    if time.monotonic() - counted_at <= FRESH_FOR:
        return counts
    counts = _counted(organization_id)
    with _lock:
        _kept[organization_id] = time.monotonic(), counts
        _kept.move_to_end(organization_id)
        while len(_kept) > REMEMBERED:
            _kept.popitem(last=False)
    return counts


def _counted(organization_id: str) -> Counts:
    """One statement: of each state the newest rows, by the index of organization and state."""
    connection = connections[Task.objects.db]
    table = connection.ops.quote_name(Task._meta.db_table)
    part = (
        f"SELECT state, type FROM (SELECT state, type FROM {table}"
        " WHERE organization_id = %s AND state = %s ORDER BY id DESC LIMIT %s) AS newest"
    )
    parts = " UNION ALL ".join([part] * len(COUNTED))
    values = [value for state in COUNTED for value in (organization_id, state.value, MOST + 1)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT state, type, COUNT(*) FROM ({parts}) AS counted GROUP BY state, type",
            values,
        )
        return Counter({(state, kind): count for state, kind, count in cursor.fetchall()})
