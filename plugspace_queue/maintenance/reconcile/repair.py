"""The five repairs: rebuild, rescue, terminate, publish, rewrite. Each is idempotent.

None of them disturbs a running attempt: rows change by compare-and-set with their fence, and data
in Redis changes in one script.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from plugspace_queue import metrics
from plugspace_queue.broker import audit, keys, routing, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.broker.task_store import Settlement
from plugspace_queue.conf import get_settings
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.maintenance import expiry, queue_config, rescue
from plugspace_queue.maintenance.reconcile import copies, structures
from plugspace_queue.maintenance.reconcile.findings import KINDS, Finding
from plugspace_queue.models import Task, task_queries
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.services import termination

T = TypeVar("T")
Repair = Callable[[str, Sequence[Finding], datetime], None]

WORKER = "reconcile"
"""The worker name of the tick that reaps expired leases; it owns no attempt."""

MOST = 100
"""Tasks or copies that are repaired in one call."""


def repair(findings: Iterable[Finding], now: datetime) -> int:
    """Repair findings; return how many. Raises Unavailable; the rest is found again later."""
    groups: dict[tuple[str, Repair], list[Finding]] = defaultdict(list)
    for finding in sorted(findings, key=lambda one: KINDS.index(one.kind)):
        groups[finding.queue, _REPAIRS[finding.kind.name]].append(finding)
    errors, done = routing.PerServerErrors(), 0
    for (queue, run), some in groups.items():
        # A queue that cannot be repaired now does not prevent the repair of others.
        with errors.collect():
            run(queue, some, now)
            for code, count in Counter(finding.code for finding in some).items():
                metrics.count(metrics.REPAIRED, code, by=count)
            done += len(some)
    errors.raise_if_any()
    return done


def _rebuild(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    """Rebuild structures from `own` and `idx`; keys of a wrong type are deleted first."""
    kind, codes = TaskType(queue), {finding.code for finding in findings}
    name = kind.queue_name
    deleted = set[str]()
    if "key_strange" in codes:
        # Another may have repaired it since it was found: then it holds what runs and waits.
        strange = {wrong.name for wrong in audit.keys_of_wrong_type(client(name), [name])}
        deleted = strange & {one.key for one in findings if one.code == "key_strange"}
        audit.delete(client(name), sorted(deleted))
        queue_config.write(kind)
    # It takes as long as the queue is.
    wait = not codes.isdisjoint({"wait_differs", "torn"})
    wait = wait or not deleted.isdisjoint({keys.wait(name), keys.idx(name)})
    routing.ask(audit.rebuild(name, _lease_ms(), wait=wait), name)


def _rebuild_lanes(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    name = TaskType(queue).queue_name
    # One lane per call, as the time of a call grows with the lane's length.
    for lane in sorted({finding.key for finding in findings}):
        routing.ask(audit.rebuild(name, _lease_ms(), lanes=[lane]), name)


def _rescue(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    """Recover attempts whose lease has expired, or that are missing in Redis."""
    name = TaskType(queue).queue_name
    if any(finding.code == "lease_ended" for finding in findings):
        tick = task_store.tick(name, worker=WORKER, held={}, lease_ms=_lease_ms(), reap=True)
        rescue.recover_all(routing.ask(tick, name).reaped, now)
    lost = [finding for finding in findings if finding.code != "lease_ended"]
    rescue.recover_these([(uuid.UUID(one.key), one.fence) for one in lost], now)


def _terminate(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    """End leases of tasks whose rows do not run, and tasks whose parents have ended."""
    name = TaskType(queue).queue_name
    for part in _parts([one for one in findings if one.kind.name == "ghost_running"]):
        rows = {str(task.pk): task for task in task_queries.tasks_by_id(_ids(part))}
        dropped = [_dropped(finding, rows.get(finding.key)) for finding in part]
        # A later attempt has another fence, so its lease is not affected.
        routing.ask(task_store.settle(name, dropped), name)
        publishing.publish(task_queries.tasks_in_order(_ids(part)))
    for part in _parts([one for one in findings if one.kind.name == "parents_ended"]):
        expiry.settle_blocked(_ids(part), now)


def _dropped(finding: Finding, task: Task | None) -> Settlement:
    if task is None:
        return Settlement(finding.key, finding.fence, "drop", task_type=finding.queue)
    dropped = publishing.settlement_of(task, fence=finding.fence, outcome="drop", counted=False)
    # The process that wrote the row may have died before it sent the event.
    return termination.with_last_event(dropped, task)


def _publish(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    """Publish tasks according to their rows; ended ones are only withdrawn."""
    name = TaskType(queue).queue_name
    for part in _parts(findings):
        if misplaced := [one.key for one in part if one.kind.name == "misplaced"]:
            routing.ask(task_store.withdraw(name, misplaced), name)
        publishing.publish(task_queries.tasks_in_order(_ids(part)))


def _rewrite_settings(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    codes = {finding.code for finding in findings}
    if codes - {"lifetime_differs"}:
        structures.write_settings(TaskType(queue))
    if "lifetime_differs" in codes:
        structures.write_lifetime(TaskType(queue))


def _rewrite(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    names_of: dict[str, set[str]] = defaultdict(set)
    for finding in findings:
        names_of[finding.code].add(finding.key)
    # Usage is kept elsewhere than the snapshots of the same queue.
    errors = routing.PerServerErrors()
    for code, names in names_of.items():
        with errors.collect():
            for part in _parts(sorted(names)):
                _WRITE[code](part, now)
    errors.raise_if_any()


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), MOST):
        yield items[start : start + MOST]


def _ids(findings: Sequence[Finding]) -> list[uuid.UUID]:
    return [pk for pk in (parse_id(finding.key) for finding in findings) if pk is not None]


def _lease_ms() -> int:
    return round(get_settings().lease * 1000)


_REPAIRS: dict[str, Repair] = {
    "structure": _rebuild,
    "torn": _rebuild,
    "settings": _rewrite_settings,
    "attempt_lost": _rescue,
    "ghost_running": _terminate,
    "parents_ended": _terminate,
    "misplaced": _publish,
    "unpublished": _publish,
    "lane": _rebuild_lanes,
    "snapshot": _rewrite,
    "organization": _rewrite,
    "workflow": _rewrite,
    "ended": _rewrite,
}

_WRITE: dict[str, Callable[[Sequence[str], datetime], None]] = {
    "snapshot_missing": copies.write_snapshots,
    "snapshot_garbled": copies.write_snapshots,
    "usage_differs": copies.write_usage,
    "tier_differs": copies.write_tiers,
    "newest_missing": copies.write_newest,
    "workflow_missing": copies.write_workflows,
    "workflow_differs": copies.write_workflows,
    "snapshot_differs": copies.write_ended,
}
