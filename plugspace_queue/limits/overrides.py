"""Overrides of the limits of queues: those in force at a moment, from rows read once a second.

A row is known before it begins, so that its start and its end are exact in every process.
"""

import threading
import time
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from plugspace_queue.domain import clock
from plugspace_queue.domain.enums import OverrideKey, Reason
from plugspace_queue.models import Override, tenancy_queries

FRESH_FOR = 1.0
"""Seconds for which rows are used again."""

_GATE_OF: dict[str, str] = {
    OverrideKey.LIMITER: Reason.QUEUE_LIMITER,
    OverrideKey.GLOBAL_CONCURRENCY: Reason.QUEUE_CONCURRENCY,
    OverrideKey.ORGANIZATION_CONCURRENCY: Reason.ORGANIZATION_CONCURRENCY,
}
"""The slots of one worker are no gate."""

_lock = threading.Lock()
_read_at = float("-inf")
_cleared = 0
_rows: list[Override] = []


def of_queue(task_type: str, now: datetime | None = None) -> tuple[Override, ...]:
    """The overrides of a queue in force, as their rows were within the last second."""
    return in_force(_recent(), task_type, now or clock.now())


def read(task_type: str, now: datetime) -> tuple[Override, ...]:
    """The same from the rows as they are."""
    return in_force(tenancy_queries.queue_overrides(now), task_type, now)


def in_force(rows: Iterable[Override], task_type: str, now: datetime) -> tuple[Override, ...]:
    """Of overrides, newest first, those of a queue in force; of several for one key the newest."""
    found: dict[str, Override] = {}
    for row in rows:
        if row.type == task_type and row.is_in_force(now):
            found.setdefault(row.key, row)
    return tuple(found.values())


def limits(overrides: Iterable[Override]) -> dict[str, Any]:
    """The values that these set, by the names of `QueuePolicy`."""
    return {name: value for row in overrides for name, value in row.limits.items()}


def gates(overrides: Iterable[Override]) -> dict[str, int]:
    """The gates whose limits these set, and until when in ms since 1970; 0 without an end."""
    return {
        _GATE_OF[row.key]: int(row.ends_at.timestamp() * 1000) if row.ends_at else 0
        for row in overrides
        if row.key in _GATE_OF
    }


def read_each(
    task_types: Collection[str], now: datetime
) -> dict[str, tuple[tuple[Override, ...], datetime | None]]:
    """`read` for many queues, each with when its last override began or ended (None: none has)."""
    rows = tenancy_queries.queue_overrides(now)
    ended = tenancy_queries.last_ends_of_overrides(task_types, now)
    found = {kind: in_force(rows, kind, now) for kind in task_types}
    return {kind: (held, _changed_at(held, ended.get(kind))) for kind, held in found.items()}


def _changed_at(overrides: Iterable[Override], ended: datetime | None) -> datetime | None:
    moments = [row.starts_at for row in overrides]
    return max([*moments, ended] if ended else moments, default=None)


def clear_cache() -> None:
    """Make the next call read the rows again."""
    global _read_at, _cleared
    _cleared += 1
    _read_at = float("-inf")


def _recent() -> list[Override]:
    global _read_at, _rows
    with _lock:
        if time.monotonic() - _read_at >= FRESH_FOR:
            cleared = _cleared
            _rows = tenancy_queries.queue_overrides(clock.now())
            # If the cache was cleared during the read, the rows may be older than the change.
            _read_at = time.monotonic() if cleared == _cleared else float("-inf")
        return _rows
