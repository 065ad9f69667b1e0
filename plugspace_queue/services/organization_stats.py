"""Statistics of the queues for one organization, from its own tasks only.

There are no counters by organization, so rows are counted, each state up to a limit: the cost of a
tenant's request must not grow with the number of its tasks.
"""

import threading
import time
from collections import Counter, OrderedDict
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass

from django.db import connections
from django.utils.translation import gettext as _

from plugspace_queue.broker import lanes, routing
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import Unavailable
from plugspace_queue.models import Task

MOST = 10_000
"""Most rows of one state that are counted."""

FRESH_FOR = 1.0
"""Seconds for which a count is used again."""

STALE_FOR = 10.0
"""Seconds for which a count is used while another thread makes the next one."""

LONGEST_WAIT = 5.0
"""Seconds that other threads wait for a count when none is recent enough."""

REMEMBERED = 1_000
"""Most organizations whose last count is kept."""

COUNTED = (State.WAITING, State.SCHEDULED, State.RETRYING, State.COMPLETE, State.FAILED)

Counts = Counter[tuple[str, str]]

_lock = threading.Lock()
_kept: OrderedDict[str, tuple[float, Counts]] = OrderedDict()
_running: "dict[str, Future[Counts]]" = {}
"""Counts in progress by organization; a future is cancelled when its count fails."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnStats:
    """The numbers of one queue for one organization; None when there are more than are counted.

    Numbers that come from Redis are None when the queue's data there is damaged.
    """

    type: TaskType
    waiting: int | None
    active: int | None
    completed: int | None
    failed: int | None
    delayed: int | None


def own_stats(organization_id: str, kinds: list[TaskType]) -> list[OwnStats]:
    """A row per queue. Raises Unavailable."""
    counts, own = _recent(organization_id), dict[str, lanes.Own | None]()
    for server, queues in routing.by_server(kind.queue_name for kind in kinds).items():
        own |= lanes.of_organization(server, queues, organization_id)
    return [_row(kind, own[kind.queue_name], counts) for kind in kinds]


def clear_cache() -> None:
    """Make the next call count again."""
    with _lock:
        _kept.clear()
        _running.clear()


def _row(kind: TaskType, own: lanes.Own | None, counts: Counts) -> OwnStats:
    in_line, active = own or (None, None)
    waiting = _figure(counts, kind, State.WAITING)
    return OwnStats(
        type=kind,
        # Rows include unpublished tasks; above the limit only Redis has the number.
        waiting=in_line if waiting is None else waiting,
        active=active,
        completed=_figure(counts, kind, State.COMPLETE),
        failed=_figure(counts, kind, State.FAILED),
        delayed=_figure(counts, kind, State.SCHEDULED, State.RETRYING),
    )


def _figure(counts: Counts, kind: TaskType, *states: State) -> int | None:
    """The number of rows of a type; None when a state's rows, of all types, exceed the limit."""
    totals = [sum(n for (state, _type), n in counts.items() if state == each) for each in states]
    if max(totals) > MOST:
        return None
    return sum(counts[state, kind] for state in states)


def _recent(organization_id: str) -> Counts:
    """The shared count: one thread makes it, the others use the last one or wait."""
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
        return running.result(LONGEST_WAIT)
    except (TimeoutError, CancelledError) as error:
        raise Unavailable(_("The tasks could not be counted in time; try again soon.")) from error


def _count_for_all(organization_id: str, mine: "Future[Counts]") -> Counts:
    try:
        counts = _counted(organization_id)
    except BaseException:
        _end(organization_id, mine)
        # Waiting threads get Unavailable and not this error, which may concern this thread only.
        mine.cancel()
        raise
    _end(organization_id, mine, counts)
    mine.set_result(counts)
    return counts


def _end(organization_id: str, mine: "Future[Counts]", counts: Counts | None = None) -> None:
    """End this count and keep its result, unless the cache was cleared meanwhile."""
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
    """Count the newest rows of each state in one statement, by the index on both columns."""
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
