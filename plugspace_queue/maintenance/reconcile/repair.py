"""Repairs, one small function for each kind of finding; each may be done twice.

None of them disturbs an attempt that runs: rows move by compare-and-set with their fence, and
what Redis holds moves in one script.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from plugspace_queue import metrics
from plugspace_queue.broker import audit, projections, routing, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.broker.task_store import Settlement
from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.maintenance import expiry, queue_config, rescue
from plugspace_queue.maintenance.reconcile import queues, rewrites
from plugspace_queue.maintenance.reconcile.findings import Finding, Kind
from plugspace_queue.models import Task
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.services import termination

Repair = Callable[[str, Sequence[Finding], datetime], None]

WORKER = "reconcile"
"""Owner of no attempt; the name it takes ended leases back under."""

MOST = 100
"""Findings of one kind and queue that are repaired in one go."""


def repair(findings: Iterable[Finding], now: datetime) -> int:
    """Repair all these; how many. Raises Unavailable, and what was not done is found again."""
    groups: dict[tuple[Kind, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.kind, finding.queue].append(finding)
    # What is put right inside of Redis comes before what rows add to it.
    others, done = routing.PerServerErrors(), 0
    for kind, queue in sorted(groups, key=lambda group: _ORDER.index(group[0])):
        with others.at_one():
            for some in _parts(groups[kind, queue]):
                _REPAIRS[kind](queue, some, now)
                metrics.count(metrics.REPAIRED, kind.value, by=len(some))
                done += len(some)
    others.tell()
    return done


def _parts(findings: Sequence[Finding]) -> Iterator[Sequence[Finding]]:
    for start in range(0, len(findings), MOST):
        yield findings[start : start + MOST]


def _publish(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    publishing.publish(Task.objects.filter(pk__in=_ids(findings)).order_by("pk"))


def _line_up_again(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    """Out of the line, and in again where its row wants it: nowhere, for one that has ended."""
    name = TaskType(queue).queue_name
    routing.ask(task_store.withdraw(name, [finding.key for finding in findings]), name)
    _publish(queue, findings, now)


def _drop(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    """End leases of tasks whose rows do not run, if they are still the same leases."""
    name = TaskType(queue).queue_name
    rows = {str(task.pk): task for task in Task.objects.filter(pk__in=_ids(findings))}
    dropped = [_dropped(finding, rows.get(finding.key)) for finding in findings]
    routing.ask(task_store.settle(name, dropped), name)
    _publish(queue, findings, now)


def _dropped(finding: Finding, task: Task | None) -> Settlement:
    if task is None:
        return Settlement(finding.key, finding.fence, "drop", task_type=finding.queue)
    told = publishing.settlement_of(task, fence=finding.fence, outcome="drop", counted=False)
    # Who wrote the row may have died before it told of it.
    return termination.with_last_event(told, task)


def _settle_blocked(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    expiry.settle_blocked(_ids(findings), now)


def _recover(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    attempts = [(uuid.UUID(finding.key), finding.fence) for finding in findings]
    rescue.recover_these(attempts, now)


def _reap(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    """Take back what ran out of its lease, as every worker does that looks."""
    name = TaskType(queue).queue_name
    call = task_store.tick(name, worker=WORKER, held={}, lease_ms=_lease_ms(), reap=True)
    rescue.recover_all(routing.ask(call, name).reaped, now)


def _mend_wait(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    name = TaskType(queue).queue_name
    routing.ask(audit.mend_wait(name), name)


def _mend_lanes(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    name = TaskType(queue).queue_name
    # One lane a call: each takes as long as the lane is.
    for lane in sorted({finding.key for finding in findings}):
        routing.ask(audit.mend_lanes(name, [lane]), name)


def _mend_running(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    name = TaskType(queue).queue_name
    routing.ask(audit.mend_running(name, _lease_ms()), name)


def _write_gates(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    kind = TaskType(queue)
    # A version above the row's would keep it from being written.
    projections.forget_fields(client(kind.queue_name), kind.queue_name, "version")
    queue_config.write(kind)


def _forget_fence(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    name = TaskType(queue).queue_name
    projections.forget_fields(client(name), name, "fence")


def _delete_keys(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    """What is of a wrong type is not ours; the rows, and the keys that are left, tell the rest."""
    name = TaskType(queue).queue_name
    projections.forget(client(name), [finding.key for finding in findings])
    queue_config.write(TaskType(queue))


def _count(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    kind = TaskType(queue)
    projections.add_lifetime(client(kind.queue_name), kind.queue_name, *queues.counts_owed(kind))


def _snapshots(queue: str, findings: Sequence[Finding], now: datetime) -> None:
    rewrites.write_snapshots(TaskType(queue), _ids(findings))


def _rewrite(write: Callable[[list[str], datetime], None]) -> Repair:
    def rewrite(queue: str, findings: Sequence[Finding], now: datetime) -> None:
        write(sorted({finding.key for finding in findings}), now)

    return rewrite


def _ids(findings: Sequence[Finding]) -> list[uuid.UUID]:
    return [pk for pk in (parse_id(finding.key) for finding in findings) if pk is not None]


def _lease_ms() -> int:
    return round(get_settings().lease * 1000)


_REPAIRS: dict[Kind, Repair] = {
    Kind.KEY_STRANGE: _delete_keys,
    Kind.FENCE_STRANGE: _forget_fence,
    Kind.GATES_DIFFER: _write_gates,
    Kind.PAUSES_DIFFER: _write_gates,
    Kind.ACTIVE_DIFFERS: _mend_running,
    Kind.LEASE_DIFFERS: _mend_running,
    Kind.RECORD_DIFFERS: _mend_running,
    Kind.RUNS_AND_WAITS: _mend_running,
    Kind.RUNNING_COUNT: _mend_running,
    Kind.TORN: _mend_wait,
    Kind.WAIT_DIFFERS: _mend_wait,
    Kind.LEASE_ENDED: _reap,
    Kind.GHOST_RUNNING: _drop,
    Kind.PROCESSING_IN_LINE: _recover,
    Kind.ATTEMPT_LOST: _recover,
    Kind.GHOST: _line_up_again,
    Kind.BLOCKED_IN_LINE: _line_up_again,
    Kind.NOT_IN_LANE: _line_up_again,
    Kind.WRONG_LANE: _line_up_again,
    Kind.JOB_MISSING: _line_up_again,
    Kind.DOUBLED: _line_up_again,
    Kind.LATE: _line_up_again,
    Kind.HANGING: _settle_blocked,
    Kind.ORPHANED: _settle_blocked,
    Kind.UNPUBLISHED: _publish,
    # After all that writes into lanes.
    Kind.LANE_STRANGE: _mend_lanes,
    Kind.LANE_EMPTY: _mend_lanes,
    Kind.LANE_DOUBLED: _mend_lanes,
    Kind.LANE_OFF: _mend_lanes,
    Kind.LANE_HELD: _mend_lanes,
    Kind.LANE_STRAYS: _mend_lanes,
    Kind.SNAPSHOT_MISSING: _snapshots,
    Kind.SNAPSHOT_GARBLED: _snapshots,
    Kind.LIFETIME_DIFFERS: _count,
    Kind.USAGE_DIFFERS: _rewrite(rewrites.write_usage),
    Kind.TIER_DIFFERS: _rewrite(rewrites.write_tiers),
    Kind.NEWEST_MISSING: _rewrite(rewrites.write_newest),
    Kind.WORKFLOW_MISSING: _rewrite(rewrites.write_workflows),
    Kind.WORKFLOW_DIFFERS: _rewrite(rewrites.write_workflows),
    Kind.SNAPSHOT_DIFFERS: _rewrite(rewrites.write_ended),
}
_ORDER = list(_REPAIRS)
