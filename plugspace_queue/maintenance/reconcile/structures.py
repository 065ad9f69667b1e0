"""Compares queues as a whole: the types of their keys, their structures, limits, pauses, counts.

The number of round trips and statements does not grow with the number of queues.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import product

from plugspace_queue.broker import audit, routing, server_epochs
from plugspace_queue.broker.connection import Client, client
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.maintenance import queue_config
from plugspace_queue.maintenance.reconcile.findings import Finding
from plugspace_queue.models import QueueSettings, tenancy_queries
from plugspace_queue.publishing import projections


def by_server(kinds: Iterable[TaskType]) -> Iterator[tuple[Client, list[TaskType]]]:
    """The queues of each server."""
    for server, queues in routing.by_server(kind.queue_name for kind in kinds).items():
        yield server, [TaskType(queue.upper()) for queue in queues]


def of_right_types(
    kinds: Sequence[TaskType], errors: routing.PerServerErrors
) -> tuple[list[TaskType], list[Finding]]:
    """The queues whose keys are of the right types, and findings about the keys of others.

    Scripts fail on the other structures of a queue as long as a key is of a wrong type.
    """
    sound: list[TaskType] = []
    found: list[Finding] = []
    for server, of_server in by_server(kinds):
        with errors.collect():
            wrong = audit.keys_of_wrong_type(server, [kind.queue_name for kind in of_server])
            queues = {one.queue for one in wrong}
            sound += [kind for kind in of_server if kind.queue_name not in queues]
            found += [
                Finding(
                    "key_strange",
                    one.queue.upper(),
                    one.name,
                    detail=f"{one.has} instead of {one.wanted}",
                )
                for one in wrong
            ]
    return sound, found


def compare_structures(kinds: Sequence[TaskType], errors: routing.PerServerErrors) -> list[Finding]:
    """All structures except the lanes, and the settings."""
    calls = {kind.queue_name: audit.audit_queue(kind.queue_name) for kind in kinds}
    answers = routing.ask_each(calls, errors)
    found = [
        _of_structure(kind, code, text)
        for kind in kinds
        for code, text in answers.get(kind.queue_name, ())
    ]
    for server, of_server in by_server(kind for kind in kinds if kind.queue_name in answers):
        with errors.collect():
            found += compare_settings(server, of_server)
    return found


def _of_structure(kind: TaskType, code: str, text: str) -> Finding:
    if code in ("wait_differs", "fence_strange"):
        return Finding(code, kind.value, kind.queue_name, detail=text)
    return Finding(code, kind.value, text)


def compare_settings(
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
