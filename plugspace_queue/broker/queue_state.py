"""The state of a queue, for display."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from rq.defaults import RQ_KEY_PREFIX
from rq.utils import utcparse

from plugspace_queue.broker import keys
from plugspace_queue.broker.scripts import Call
from plugspace_queue.conf import get_settings

MOST_LANES = 100
"""Most lanes read in one call, which blocks the server: 400 took 12 ms on a busy machine."""


@dataclass(frozen=True, slots=True)
class Oldest:
    """The task that has waited longest in a tier; "" is no tier."""

    tier: str
    organization_id: str
    task_id: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One queue at one moment."""

    queue: str
    waiting: int
    active: int
    delayed: int
    starts: int
    """Starts within the limiter's running window."""
    bands: tuple[int, ...]
    """Waiting tasks by priority, 0 first; incomplete when lanes were left out."""
    left_out: int
    """Lanes that were not read, because more than MOST_LANES organizations wait."""
    oldest: tuple[Oldest, ...]


def gauge(queue: str, most: int = MOST_LANES) -> Call[Gauge]:
    """The call that reads the state of one queue."""
    args = (queue, get_settings().key_prefix, RQ_KEY_PREFIX, most)
    return Call("gauge", (keys.queue(queue),), args, partial(_gauge, queue))


def _gauge(queue: str, reply: list[Any]) -> Gauge:
    waiting, active, delayed, starts, bands, left_out, flat = reply
    rows = [flat[start : start + 4] for start in range(0, len(flat), 4)]
    return Gauge(
        queue=queue,
        waiting=waiting,
        active=active,
        delayed=delayed,
        starts=starts,
        bands=tuple(bands),
        left_out=left_out,
        oldest=tuple(sorted((_oldest(row) for row in rows), key=lambda row: row.since)),
    )


def _oldest(row: Sequence[bytes]) -> Oldest:
    tier, organization_id, task_id, since = (value.decode() for value in row)
    return Oldest(tier, organization_id, task_id, utcparse(since))
