"""Names in a project's `RQ` setting: our classes, and where the project's own ones stand.

django-rq knows one queue, job and worker class per project. Ours choose by the name of the queue;
for a queue that is not ours they build what the STOCK_ keys name.
"""

from collections.abc import Mapping
from typing import Any

OURS = {
    "WORKER_CLASS": "plugspace_queue.rq.worker.Worker",
    "JOB_CLASS": "plugspace_queue.rq.job.Job",
    "QUEUE_CLASS": "plugspace_queue.rq.queue.Queue",
}
"""The classes that django-rq must find; a subclass does too. Its pages look for QUEUE_CLASS here
and not at the entries of RQ_QUEUES."""

STOCK_KEYS = {name: f"STOCK_{name}" for name in OURS}
"""Under which key the project's own class stands; without it, RQ's or django-rq's."""

OLD_PATHS = {
    "WORKER_CLASS": "plugspace_queue.worker.worker.Worker",
    "JOB_CLASS": "plugspace_queue.engine.job.Job",
    "QUEUE_CLASS": "plugspace_queue.engine.queue.Queue",
}
"""Paths in settings of before 0.2; they go on working."""


def with_our_classes(rq: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A project's `RQ` with our classes; its own ones move to the STOCK_ keys, the rest stays.

    May be applied twice.

    >>> rq = with_our_classes({"WORKER_CLASS": "shop.rq.Worker", "SHOW_ADMIN_LINK": True})
    >>> rq["STOCK_WORKER_CLASS"], rq["SHOW_ADMIN_LINK"], with_our_classes(rq) == rq
    ('shop.rq.Worker', True, True)
    """
    given = dict(rq or {})
    merged = {**given, **OURS}
    for name, stock in STOCK_KEYS.items():
        if given.get(name) not in (None, OURS[name], OLD_PATHS[name]):
            merged.setdefault(stock, given[name])
    return merged
