"""Limits, pauses and lifetime counts of queues in Redis: compares them with rows, rewrites them."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import product

from plugspace_queue.broker import audit, server_epochs
from plugspace_queue.broker.connection import Client, client
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.maintenance import queue_config
from plugspace_queue.maintenance.reconcile.findings import Finding
from plugspace_queue.models import QueueSettings, tenancy_queries
from plugspace_queue.publishing import projections


def compare(
    server: Client, kinds: Sequence[TaskType], now: datetime | None = None
) -> Iterator[Finding]:
    """Limits, pauses and lifetime counts of queues of a server against the rows.

    Raises Unavailable.
    """
    gates = projections.all_gates(kinds, now)
    found = audit.gates(server, [kind.queue_name for kind in kinds])
    for kind, held in zip(kinds, found, strict=True):
        wanted = map(str, gates[kind].args[-len(audit.GATES) :])
        if text := _differences(held, wanted):
            yield Finding("gates_differ", kind.value, kind.queue_name, detail=text)
    paused = server_epochs.paused_organizations(server)
    differing = sorted(paused ^ queue_config.paused_by_rows())
    for kind, organization_id in product(kinds, differing):
        yield Finding("pauses_differ", kind.value, organization_id)
    for kind, (completed, failed) in _counts_owed(server, kinds).items():
        if completed or failed:
            detail = f"completed {completed:+}, failed {failed:+}"
            yield Finding("lifetime_differs", kind.value, kind.queue_name, detail=detail)


def _differences(held: Iterable[str], wanted: Iterable[str]) -> str:
    rows = zip(audit.GATES, held, wanted, strict=True)
    return ", ".join(
        f"{name} {found or 'missing'} instead of {want}"
        for name, found, want in rows
        if found != want
    )


def _counts_owed(server: Client, kinds: Sequence[TaskType]) -> dict[TaskType, tuple[int, int]]:
    """The differences of the lifetime counts; (0, 0) if running tasks may explain one."""
    rows = tenancy_queries.queue_rows(kinds)
    found = audit.lifetimes(server, [kind.queue_name for kind in kinds])
    owed: dict[TaskType, tuple[int, int]] = {}
    for kind, (completed, failed, running) in zip(kinds, found, strict=True):
        row = rows.get(kind) or QueueSettings()
        pair = row.completed - completed, row.failed - failed
        owed[kind] = pair if max(map(abs, pair)) > running else (0, 0)
    return owed


def write_settings(kind: TaskType) -> None:
    """Write limits and pauses of a queue from the rows. Raises Unavailable."""
    # A stored version above the row's would prevent the write.
    audit.delete_fields(client(kind.queue_name), kind.queue_name, "version")
    queue_config.write(kind)


def write_lifetime(kind: TaskType) -> None:
    """Write lifetime counts of a queue from the rows. Raises Unavailable."""
    server = client(kind.queue_name)
    audit.add_lifetime(server, kind.queue_name, *_counts_owed(server, [kind])[kind])
