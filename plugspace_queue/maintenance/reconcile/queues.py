"""Looks at a queue's structures against each other, and at its gates against the rows."""

from collections.abc import Iterator, Sequence

from plugspace_queue.broker import audit, projections, routing, server_epochs, task_store
from plugspace_queue.broker.audit import Disagreement, LaneWord
from plugspace_queue.broker.connection import client
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.maintenance import queue_config
from plugspace_queue.maintenance.reconcile.findings import Finding, Kind
from plugspace_queue.models import QueueSettings
from plugspace_queue.publishing.projections import gates_of

LONGEST_FENCE = 20
"""Digits of what is read as a number at all."""

RUNNING: dict[Disagreement, Kind] = {
    "active": Kind.ACTIVE_DIFFERS,
    "lease": Kind.LEASE_DIFFERS,
    "record": Kind.RECORD_DIFFERS,
    "line": Kind.RUNS_AND_WAITS,
    "count": Kind.RUNNING_COUNT,
}
LANES: dict[LaneWord, Kind] = {
    "strange": Kind.LANE_STRANGE,
    "empty": Kind.LANE_EMPTY,
    "both": Kind.LANE_DOUBLED,
    "off": Kind.LANE_OFF,
    "held": Kind.LANE_HELD,
    "strays": Kind.LANE_STRAYS,
}


def look_at(kind: TaskType) -> list[Finding]:
    """Everything but the lanes. Raises Unavailable."""
    # While a key is of a wrong type no script can look at the others.
    return look_at_keys(kind) or [
        *_structures(kind),
        *_gates(kind),
        *_fence(kind),
        *_pauses(kind),
        *_lifetime(kind),
    ]


def look_at_keys(kind: TaskType) -> list[Finding]:
    """Keys of the queue that are of another type than ours. Raises Unavailable."""
    strange = projections.strange_keys(client(kind.queue_name), kind.queue_name)
    return [
        Finding(Kind.KEY_STRANGE, kind.value, key, detail=f"{found} instead of {wanted}")
        for key, found, wanted in strange
    ]


def _fence(kind: TaskType) -> Iterator[Finding]:
    found = projections.last_fence(client(kind.queue_name), kind.queue_name)
    is_number = found.isascii() and found.isdigit() and len(found) <= LONGEST_FENCE
    if not (is_number and int(found) <= task_store.MOST_FENCE):
        yield Finding(Kind.FENCE_STRANGE, kind.value, kind.queue_name, detail=found[:40])


def all_lanes(kind: TaskType) -> Iterator[list[Finding]]:
    """Look at all lanes of the order, in slices. Raises Unavailable."""
    for lanes in audit.lanes_in_order(client(kind.queue_name), kind.queue_name):
        yield from look_at_lanes(kind, lanes)


def look_at_lanes(kind: TaskType, lanes: Sequence[str]) -> Iterator[list[Finding]]:
    """Look at these lanes, a thousand entries at a time. Raises Unavailable."""
    offset = 0
    while lanes:
        call = audit.audit_lanes(kind.queue_name, lanes, offset)
        seen = routing.ask(call, kind.queue_name)
        yield [Finding(LANES[word], kind.value, lane) for word, lane in seen.findings]
        lanes, offset = lanes[seen.done :], seen.offset


def counts_owed(kind: TaskType) -> tuple[int, int]:
    """What Redis should add to its lifetime counts; what runs may be on its way."""
    row = QueueSettings.objects.filter(pk=kind.value).first() or QueueSettings()
    completed, failed, running = projections.lifetime(client(kind.queue_name), kind.queue_name)
    owed = row.completed - completed, row.failed - failed
    return owed if max(map(abs, owed)) > running else (0, 0)


def _structures(kind: TaskType) -> Iterator[Finding]:
    seen = routing.ask(audit.audit_queue(kind.queue_name), kind.queue_name)
    if seen.waiting != seen.indexed:
        detail = f"{seen.waiting} in wait, {seen.indexed} in idx"
        yield Finding(Kind.WAIT_DIFFERS, kind.value, kind.queue_name, detail=detail)
    for word, key in seen.disagreements:
        yield Finding(RUNNING[word], kind.value, key)


def _gates(kind: TaskType) -> Iterator[Finding]:
    wanted = tuple(str(arg) for arg in gates_of(kind).args[-len(projections.GATES) :])
    there = projections.gates(client(kind.queue_name), kind.queue_name)
    differing = [
        f"{name} {has or 'missing'} instead of {want}"
        for name, has, want in zip(projections.GATES, there, wanted, strict=True)
        if has != want
    ]
    if differing:
        yield Finding(Kind.GATES_DIFFER, kind.value, kind.queue_name, detail=", ".join(differing))


def _pauses(kind: TaskType) -> Iterator[Finding]:
    held = server_epochs.paused_organizations(client(kind.queue_name))
    for organization_id in sorted(held ^ queue_config.paused_by_rows()):
        yield Finding(Kind.PAUSES_DIFFER, kind.value, organization_id)


def _lifetime(kind: TaskType) -> Iterator[Finding]:
    completed, failed = counts_owed(kind)
    if completed or failed:
        detail = f"completed {completed:+}, failed {failed:+}"
        yield Finding(Kind.LIFETIME_DIFFERS, kind.value, kind.queue_name, detail=detail)
