"""How the queues stand for one organization: its own tasks, never those of others.

There are no counters by organization, so rows are counted, each state up to a limit: what a
tenant asks must not cost more the more tasks it has had.
"""

import threading
import time
from collections import Counter, OrderedDict
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass

from django.db import connections

from plugspace_queue.broker import lanes, routing
from plugspace_queue.broker.connection import client
from plugspace_queue.domain.enums import State, TaskType
from plugspace_queue.errors import Unavailable
from plugspace_queue.models import Task

MOST = 10_000
"""Rows of one state that are counted."""

FRESH_FOR = 1.0
"""Seconds a count is good for."""

STALE_FOR = 10.0
"""Seconds for which a count is good enough for who asks while the next one is made."""

PATIENCE = 5.0
"""Seconds that others wait for a count when there is no such one."""

REMEMBERED = 1_000
"""Organizations whose last count is kept."""

COUNTED = (State.WAITING, State.SCHEDULED, State.RETRYING, State.COMPLETE, State.FAILED)

Counts = Counter[tuple[str, str]]

_lock = threading.Lock()
_kept: OrderedDict[str, tuple[float, Counts]] = OrderedDict()
_running: "dict[str, Future[Counts]]" = {}
"""Counts that a thread makes now, by organization; cancelled when one could not be made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnStats:
    """One queue in numbers of one organization; None: more than are counted.

    What Redis alone knows is None when what the queue keeps there is damaged.
    """

    type: TaskType
    waiting: int | None
    active: int | None
    completed: int | None
    failed: int | None
    delayed: int | None


def own_stats(organization_id: str, kinds: list[TaskType]) -> list[OwnStats]:
    """A row per queue. Raises Unavailable."""
    counts = _recent(organization_id)
    return [_row(kind, organization_id, counts) for kind in kinds]


def clear_cache() -> None:
    """Count anew when asked next."""
    with _lock:
        _kept.clear()
        _running.clear()


def _row(kind: TaskType, organization_id: str, counts: Counts) -> OwnStats:
    in_line, active = routing.unless_damaged(
        lambda: lanes.of_organization(client(kind.queue_name), kind.queue_name, organization_id)
    ) or (None, None)
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
    """The shared count; one thread makes it, the others take the last one or wait for it."""
    with _lock:
        counted_at, counts = _kept.get(organization_id, (float("-inf"), Counter()))
        age = time.monotonic() - counted_at
        if age <= FRESH_FOR:
            return counts
        running = _running.get(organization_id)
        if running is None:
            mine = _running[organization_id] = Future[Counts]()
    if running is None:
        return _count_for_all(organization_id, mine)
    return counts if age <= STALE_FOR else _awaited(running)


def _awaited(running: "Future[Counts]") -> Counts:
    try:
        return running.result(PATIENCE)
    except (TimeoutError, CancelledError) as error:
        raise Unavailable("The tasks could not be counted in time; try again soon.") from error


def _count_for_all(organization_id: str, mine: "Future[Counts]") -> Counts:
    try:
        counts = _counted(organization_id)
    except BaseException:
        _end(organization_id, mine)
        # Who waits is told to try again: what went wrong may be this thread's alone.
        mine.cancel()
        raise
    _end(organization_id, mine, counts)
    mine.set_result(counts)
    return counts


def _end(organization_id: str, mine: "Future[Counts]", counts: Counts | None = None) -> None:
    """Let others count again, and keep the count; neither when it was cleared meanwhile."""
    with _lock:
        if _running.get(organization_id) is not mine:
            return
        del _running[organization_id]
        if counts is None:
            return
        _kept[organization_id] = time.monotonic(), counts
        _kept.move_to_end(organization_id)
        while len(_kept) > REMEMBERED:
            _kept.popitem(last=False)


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
