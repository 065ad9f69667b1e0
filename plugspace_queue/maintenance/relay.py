"""Publishes what a commit left unpublished: rows that wait and that Redis does not know.

Every worker calls it every few seconds; all of it may be done twice.
"""

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import product
from typing import NamedTuple

from django.db.models import QuerySet

from plugspace_queue.broker import routing, task_store
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State, TaskType
from plugspace_queue.maintenance.queue_config import mend_each
from plugspace_queue.models import Task
from plugspace_queue.publishing import tasks as publishing

SLICE = 1000
"""Rows looked at per call, the newest minute and the rotation together."""

NEWEST = timedelta(minutes=1)

WHOLE = 100
"""Rows read whole at once: only those that are missing, inputs and all."""


class Row(NamedTuple):
    """A row as far as it is looked at: what is in it may be large."""

    pk: uuid.UUID
    type: str


class RowCursor:
    """Walks all rows of some states in slices, range by range, and begins again at the end."""

    def __init__(
        self,
        states: Iterable[State] = lifecycle.STARTABLE,
        kinds: Iterable[TaskType] = tuple(TaskType),
    ) -> None:
        self._lock = threading.Lock()
        # Each pair of state and type is a range of one index, ordered by id.
        self._ranges = list(product(sorted(states), kinds))
        self._range = 0
        self._after: uuid.UUID | None = None

    def next_slice(self, size: int) -> list[Row]:
        """At most `size` further rows; one turn over all ranges at most."""
        found: list[Row] = []
        with self._lock:
            for _ in self._ranges:
                found += self._of_range(size - len(found))
                if len(found) >= size:
                    break
                self._range, self._after = (self._range + 1) % len(self._ranges), None
        return found

    def turn(self, size: int) -> Iterator[list[Row]]:
        """One whole turn over all rows, from the first one on, in slices."""
        with self._lock:
            for at in range(len(self._ranges)):
                self._range, self._after = at, None
                while rows := self._of_range(size):
                    yield rows
            self._range, self._after = 0, None

    def _of_range(self, size: int) -> list[Row]:
        state, kind = self._ranges[self._range]
        rows = Task.objects.filter(state=state, type=kind).order_by("pk")
        if self._after is not None:
            rows = rows.filter(pk__gt=self._after)
        found = _looked_at(rows[:size])
        if found:
            self._after = found[-1].pk
        return found


_rotation = RowCursor()


def relay(
    now: datetime,
    rotation: RowCursor = _rotation,
    goes_on: Callable[[], bool] = lambda: True,
) -> int:
    """Mend gates, publish a slice of unpublished tasks, newest minute first; how many were missing.

    After Redis lost its data everything is published, as long as `goes_on()`. Raises Unavailable
    when a server is away, after the queues of the others were served.
    """
    others = routing.PerServerErrors()
    # Gates first: nothing is published into a queue that should be paused and is not.
    is_lost = mend_each(now, others)
    newest = _newest(now)
    published = _publish_missing(newest, others)
    rest = [rotation.next_slice(SLICE - len(newest))] if not is_lost else RowCursor().turn(SLICE)
    for rows in rest:
        published += _publish_missing(rows, others)
        if not goes_on():
            break
    others.tell()
    return published


def first_id_of(moment: datetime) -> uuid.UUID:
    """The smallest id that can have been made at `moment` (ids begin with the milliseconds)."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)


def _newest(now: datetime) -> list[Row]:
    rows = Task.objects.filter(pk__gte=first_id_of(now - NEWEST), state__in=lifecycle.STARTABLE)
    return _looked_at(rows.order_by("-pk")[: SLICE // 2])


def _looked_at(rows: QuerySet[Task]) -> list[Row]:
    return [Row(*values) for values in rows.values_list("pk", "type")]


def _publish_missing(rows: Sequence[Row], others: routing.PerServerErrors) -> int:
    missing: list[uuid.UUID] = []
    for queue, group in _by_queue(rows):
        with others.at_one():
            missing += _unknown(queue, group)
    published = 0
    for start in range(0, len(missing), WHOLE):
        # Read only now: meanwhile one may have run to its end.
        whole = Task.objects.filter(pk__in=missing[start : start + WHOLE]).order_by("pk")
        with others.at_one():
            published += publishing.publish(whole)
    return published


def _by_queue(rows: Sequence[Row]) -> Iterator[tuple[str, list[uuid.UUID]]]:
    for kind in TaskType:
        ids = [row.pk for row in rows if row.type == kind]
        if ids:
            yield kind.queue_name, ids


def _unknown(queue: str, ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    places = routing.ask(task_store.places(queue, [str(pk) for pk in ids]), queue)
    return [pk for pk, place in zip(ids, places, strict=True) if place == "absent"]
