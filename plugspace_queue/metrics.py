"""Counters and histograms of tasks: kept in this process, added to Redis about once a second.

Counting costs a task one addition in memory. A process that is killed loses the counts of its last
second; counts are for graphs, rows are the truth.
"""

import atexit
import logging
import os
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.signals import request_finished
from django.db import InterfaceError, OperationalError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from plugspace_queue.broker import counters as store
from plugspace_queue.broker.connection import client
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import QueueError, Unavailable

logger = logging.getLogger("plugspace_queue.metrics")

INTERVAL = 1.0
"""Seconds between two additions of one process."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Upper bounds of the histograms, in seconds."""

BOUNDS = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")
"""Their names, and the name of the bucket of all."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A counter or histogram that is kept in Redis."""

    name: str
    labels: tuple[str, ...]
    help: str
    is_histogram: bool = False


ADDED = Metric("plugspace_tasks_added_total", ("type", "priority"), "Tasks that were accepted.")
ENDED = Metric(
    "plugspace_tasks_ended_total", ("type", "state", "priority"), "Tasks in a final state."
)
ATTEMPTS = Metric("plugspace_attempts_total", ("type", "outcome"), "Attempts that ended.")
WAIT = Metric(
    "plugspace_wait_seconds",
    ("type",),
    "Time from the submit, or a retry by hand, to the first start; without later steps.",
    is_histogram=True,
)
RUN = Metric("plugspace_run_seconds", ("type",), "Time one attempt ran.", is_histogram=True)
REFUSED = Metric(
    "plugspace_refusals_total", ("code",), "Submits and retries that a gate refused, by code."
)
PROBLEMS = Metric("plugspace_problems_total", ("code",), "Requests the API refused, by code.")
REAPED = Metric("plugspace_reaped_total", ("type",), "Leases taken from workers that died.")
REPAIRED = Metric(
    "plugspace_findings_total",
    ("kind",),
    "Differences between rows and Redis that the reconciler repaired.",
)
LISTENER_ERRORS = Metric(
    "plugspace_listener_errors_total", (), "Listeners and signal receivers that raised."
)
UNCOUNTED = Metric(
    "plugspace_requests_uncounted_total", (), "Requests let pass because Redis was away."
)

SHARED = (
    ADDED,
    ENDED,
    ATTEMPTS,
    WAIT,
    RUN,
    REFUSED,
    PROBLEMS,
    REAPED,
    REPAIRED,
    LISTENER_ERRORS,
    UNCOUNTED,
)

Counts = Counter[str]

_lock = threading.Lock()
_counts: Counts = Counter()
_added_at = float("-inf")


def field(metric: Metric, *labels: str) -> str:
    """The field of a counter in the hash."""
    return "|".join((metric.name, *labels))


def observe_all(counts: Counts, metric: Metric, seconds: Sequence[float], *labels: str) -> None:
    """Add observations of a histogram: to their buckets, and milliseconds to the sum."""
    bounds = Counter([bisect_left(BUCKETS, one) for one in seconds])
    for at, number in bounds.items():
        counts[field(metric, *labels, BOUNDS[at])] += number
    total = sum([max(round(one * 1000), 0) for one in seconds])
    counts[field(metric, *labels, "sum")] += total


def count(metric: Metric, *labels: str, by: int = 1) -> None:
    """Count something; never waits for Redis."""
    add({field(metric, *labels): by})


def add(counts: Mapping[str, int]) -> None:
    """Count many things at once; never waits for Redis."""
    with _lock:
        _counts.update(counts)


DATABASE_AWAY = gettext_noop(
    "The database does not answer at the moment; nothing was stored, try again soon."
)


class RefusalsCounted:
    """Counts the error that refuses a submit or a retry; of the database's it makes Unavailable.

    A class, since every submit enters it: a generator costs several times as much.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OperationalError | InterfaceError):
            count(REFUSED, Unavailable.code)
            raise Unavailable(_(DATABASE_AWAY)) from error
        if isinstance(error, QueueError):
            count(REFUSED, error.code)


def unsent(metric: Metric, *labels: str) -> int:
    """The part that this process has not added to Redis yet."""
    return _counts[field(metric, *labels)]


def flush_due(**kwargs: Any) -> None:
    """Add the counts to Redis, unless that was done within the last second."""
    if _counts and time.monotonic() - _added_at >= INTERVAL:
        flush()


def flush() -> None:
    """Add the counts to Redis; without Redis they are kept for the next time."""
    global _added_at
    with _lock:
        counts, _added_at = Counter(_counts), time.monotonic()
        _counts.clear()
    if not counts:
        return
    try:
        store.add(client(), counts)
    except Unavailable:
        add(counts)
    except Exception:
        # The key may hold another type of value; that must not fail a request that was answered.
        logger.exception("%d counts are lost: Redis refuses them", len(counts))


def read() -> dict[str, int]:
    """The counters of all processes, with the latest ones of this process. Raises Unavailable."""
    flush()
    return store.read(client())


def workers_alive() -> int:
    """Workers with a current heartbeat, on all servers. Raises Unavailable."""
    servers = {client(kind.queue_name) for kind in TaskType}
    return sum(store.workers_alive(server) for server in servers)


def discard_unsent() -> None:
    """Discard counts that were not added yet; after a fork the parent process adds them."""
    global _lock
    _lock = threading.Lock()
    _counts.clear()


os.register_at_fork(after_in_child=discard_unsent)
# Every request of the process may add the counts: of the API, the admin or the host project.
request_finished.connect(flush_due, dispatch_uid="plugspace_queue.metrics")
# A script or a command that submits serves no request.
atexit.register(flush)
