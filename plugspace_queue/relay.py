"""Publishes what a commit left unpublished: rows that wait and that Redis does not know.

Every worker calls it every few seconds; all of it may be done twice.
"""

import threading
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import product

from plugspace_queue import crossing, publishing
from plugspace_queue.engine import store
from plugspace_queue.mending import mend
from plugspace_queue.models import Task
from plugspace_queue.rules import lifecycle
from plugspace_queue.types import State, TaskType

SLICE = 1000
"""Rows looked at per call, the newest minute and the rotation together."""

NEWEST = timedelta(minutes=1)

# Each pair of state and type is a range of one index, ordered by id.
_RANGES: list[tuple[State, TaskType]] = list(product(sorted(lifecycle.STARTABLE), TaskType))


class Rotation:
    """Walks all waiting rows in slices, range by range, and begins again at the end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._range = 0
        self._after: uuid.UUID | None = None

    def next_slice(self, size: int) -> list[Task]:
        """At most `size` further rows; one turn over all ranges at most."""
        found: list[Task] = []
        with self._lock:
            for _ in _RANGES:
                found += self._of_range(size - len(found))
                if len(found) >= size:
                    break
                self._range, self._after = (self._range + 1) % len(_RANGES), None
        return found

    def _of_range(self, size: int) -> list[Task]:
        state, kind = _RANGES[self._range]
        rows = Task.objects.filter(state=state, type=kind).order_by("pk")
        if self._after is not None:
            rows = rows.filter(pk__gt=self._after)
        found = list(rows[:size])
        if found:
            self._after = found[-1].pk
        return found


_rotation = Rotation()


def relay(now: datetime, rotation: Rotation = _rotation) -> int:
    """Mend gates, publish a slice of unpublished tasks, newest minute first; how many were missing.

    Raises Unavailable when Redis is away.
    """
    # Gates first: nothing is published into a queue that should be paused and is not.
    mend(now)
    newest = _newest(now)
    return _publish_missing(newest) + _publish_missing(rotation.next_slice(SLICE - len(newest)))


def first_id_of(moment: datetime) -> uuid.UUID:
    """The smallest id that can have been made at `moment` (ids begin with the milliseconds)."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)


def _newest(now: datetime) -> list[Task]:
    rows = Task.objects.filter(pk__gte=first_id_of(now - NEWEST), state__in=lifecycle.STARTABLE)
    return list(rows.order_by("-pk")[: SLICE // 2])


def _publish_missing(tasks: Sequence[Task]) -> int:
    missing = [pk for queue, group in _by_queue(tasks) for pk in _unknown(queue, group)]
    if not missing:
        return 0
    # Read again: meanwhile one may have run to its end.
    return publishing.publish(Task.objects.filter(pk__in=missing))


def _by_queue(tasks: Sequence[Task]) -> Iterator[tuple[str, list[uuid.UUID]]]:
    for kind in TaskType:
        ids = [task.pk for task in tasks if task.type == kind]
        if ids:
            yield kind.queue_name, ids


def _unknown(queue: str, ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    places = crossing.ask(store.places(queue, [str(pk) for pk in ids]), queue)
    return [pk for pk, place in zip(ids, places, strict=True) if place == "absent"]
