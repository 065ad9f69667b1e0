"""Publishes waiting rows that are missing in Redis, because they were not published on commit.

Every worker calls this every few seconds; all calls are idempotent.
"""

import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import QuerySet

from plugspace_queue.broker import routing, task_store
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import DECLARED, TaskType, queue_of
from plugspace_queue.maintenance.queue_config import repair_each
from plugspace_queue.models import Task, task_queries
from plugspace_queue.publishing import tasks as publishing

SLICE = 1000
"""Rows of one call, those of the newest minute and of the cursor together."""

NEWEST = timedelta(minutes=1)

WHOLE = 100
"""Most rows read at once with their inputs; only rows that are missing in Redis."""


class TaskRef(NamedTuple):
    """The columns read of every row, without the inputs, which may be large."""

    pk: uuid.UUID
    type: str


class RowCursor:
    """Reads all rows of some states in slices, state by state, and starts over at the end.

    A state is a range of one index, ordered by type and id, so that the number of statements does
    not grow with the number of types. `kind` leaves out all types but one.
    """

    def __init__(
        self, states: Iterable[State] = lifecycle.STARTABLE, kind: TaskType | None = None
    ) -> None:
        self._lock = threading.Lock()
        self._states = sorted(states)
        self._kind = kind
        self._at = 0
        self._after: TaskRef | None = None

    def next_slice(self, size: int) -> list[TaskRef]:
        """At most `size` further rows; reads each state once at most."""
        found: list[TaskRef] = []
        with self._lock:
            for _ in self._states:
                found += self._of_state(size - len(found))
                if len(found) >= size:
                    break
                self._at, self._after = (self._at + 1) % len(self._states), None
        return found

    def turn(self, size: int) -> Iterator[list[TaskRef]]:
        """All rows once, from the first one on, in slices."""
        with self._lock:
            for at in range(len(self._states)):
                self._at, self._after = at, None
                while rows := self._of_state(size):
                    yield rows
            self._at, self._after = 0, None

    def _of_state(self, size: int) -> list[TaskRef]:
        """The next rows of this state: the rest of the type that was read last, then others."""
        state, after, found = self._states[self._at], self._after, list[TaskRef]()
        kind = self._kind or (after and after.type)
        if kind is not None:
            found = _refs(task_queries.rows_of_range(state, kind, after and after.pk)[:size])
        if self._kind is None and len(found) < size:
            others = task_queries.rows_of_state(state, before=after.type if after else "")
            found += _refs(others[: size - len(found)])
        if found:
            self._after = found[-1]
        return found


_cursor = RowCursor()


def relay(
    now: datetime,
    cursor: RowCursor = _cursor,
    goes_on: Callable[[], bool] = lambda: True,
) -> int:
    """Write gates, publish a slice of unpublished tasks, newest minute first; return how many.

    After a data loss of Redis all rows are published, while `goes_on()`. Raises Unavailable when a
    server is unavailable, after the queues of the others were published.
    """
    errors = routing.PerServerErrors()
    # Gates are written first, so that nothing is published into a queue whose pause is missing.
    is_lost = repair_each(now, errors)
    newest = _newest(now)
    published = _publish_missing(newest, errors)
    rest = [cursor.next_slice(SLICE - len(newest))] if not is_lost else RowCursor().turn(SLICE)
    for rows in rest:
        published += _publish_missing(rows, errors)
        if not goes_on():
            break
    errors.raise_if_any()
    return published


def first_id_of(moment: datetime) -> uuid.UUID:
    """The smallest possible id of `moment` (ids begin with the milliseconds)."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)


def _newest(now: datetime) -> list[TaskRef]:
    rows = task_queries.startable_since(first_id_of(now - NEWEST))
    return _refs(rows[: SLICE // 2])


def _refs(rows: QuerySet[Task]) -> list[TaskRef]:
    return [TaskRef(*values) for values in rows.values_list("pk", "type")]


def _publish_missing(rows: Sequence[TaskRef], errors: routing.PerServerErrors) -> int:
    ids = _by_queue(rows)
    places = routing.ask_each(
        {
            queue: task_store.places(queue, list(map(str, of_queue)))
            for queue, of_queue in ids.items()
        },
        errors,
    )
    missing = [
        pk
        for queue, found in places.items()
        for pk, place in zip(ids[queue], found, strict=True)
        if place == "absent"
    ]
    published = 0
    for start in range(0, len(missing), WHOLE):
        # The full rows are read late, as tasks may have ended meanwhile.
        whole = task_queries.tasks_by_id(missing[start : start + WHOLE]).oldest_first()
        with errors.collect():
            published += publishing.publish(whole)
    return published


def _by_queue(rows: Sequence[TaskRef]) -> Mapping[str, list[uuid.UUID]]:
    """The rows' ids by queue; those of dropped types are left out."""
    ids: dict[str, list[uuid.UUID]] = defaultdict(list)
    for row in rows:
        if row.type in DECLARED:
            ids[queue_of(row.type)].append(row.pk)
    return ids
