"""Writes limits and pauses to Redis again, after an outage or a loss of data.

The rows are authoritative for both; every worker calls this every few seconds.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import count

from plugspace_queue.broker import routing, server_epochs
from plugspace_queue.broker.connection import Client, client
from plugspace_queue.domain.catalog import queue_names
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.limits import overrides
from plugspace_queue.models import Override, tenancy_queries
from plugspace_queue.publishing import projections

TURNS = 6
"""Most turns until the gates of every queue were written."""

_turns = count()


def repair(now: datetime) -> bool:
    """Write the gates of the next queues, or of all whose server lost its data (True).

    Raises Unavailable when a server is unavailable, after the gates on the others were written.
    """
    errors = routing.PerServerErrors()
    is_lost = repair_each(now, errors)
    errors.raise_if_any()
    return is_lost


def repair_each(now: datetime, errors: routing.PerServerErrors) -> bool:
    """The same; `errors` collects unavailable servers."""
    is_lost, due = False, _due()
    for server, queues in routing.by_server(queue_names()).items():
        with errors.collect():
            lost = _lost(server, queues)
            chosen = lost or [queue for queue in queues if queue in due]
            _write(server, [TaskType(queue.upper()) for queue in chosen], errors)
            # Marked last: another worker may meanwhile write the same again, which is harmless.
            if lost:
                server_epochs.set_epoch(server, now.isoformat())
                is_lost = True
    return is_lost


def _due() -> set[str]:
    """The queues whose turn it is: of sixty as long until each had its turn as of six."""
    names = queue_names()
    turns = max(min(TURNS, len(names)), 1)
    return set(names[next(_turns) % turns :: turns])


def write(kind: TaskType) -> None:
    """Write the gates of one queue and all pauses from the rows. Raises Unavailable."""
    errors = routing.PerServerErrors()
    _write(client(kind.queue_name), [kind], errors)
    errors.raise_if_any()


def _write(server: Client, kinds: Sequence[TaskType], errors: routing.PerServerErrors) -> None:
    """The same for queues of one server, in one round trip. Raises Unavailable."""
    if not kinds:
        return
    # Redis is read first: a pause is committed before it is written there, so the rows have it.
    held = server_epochs.paused_organizations(server)
    wanted = paused_by_rows()
    pauses = {organization_id: organization_id in wanted for organization_id in held | wanted}
    gates = projections.all_gates(kinds)
    # The queue's gates are written last, as nothing is granted without them.
    calls = {kind.queue_name: [*projections.pauses_in(kind, pauses), gates[kind]] for kind in kinds}
    routing.send_each(calls, errors)


def paused_by_rows() -> set[str]:
    """The organizations that are paused according to the rows."""
    return tenancy_queries.paused_organization_ids()


class OverrideWatch:
    """Writes the gates of a queue when one of its overrides begins or ends.

    Nothing is saved at that moment, so every worker looks at the clock, twice a second.
    """

    def __init__(self) -> None:
        self._written: dict[TaskType, tuple[int, ...]] | None = None

    def turn(self, now: datetime) -> list[TaskType]:
        """Write the gates of the queues whose overrides changed; which ones. Raises Unavailable.

        The first turn writes those of every queue that ever had an override: one may have ended
        while no worker ran.
        """
        if self._written is None:
            ever = tenancy_queries.types_with_overrides()
            self._written = {kind: () for kind in TaskType if kind not in ever}
        errors = routing.PerServerErrors()
        rows = tenancy_queries.queue_overrides(now)
        held = {kind: _ids(overrides.in_force(rows, kind.value, now)) for kind in TaskType}
        changed = [kind for kind in TaskType if self._written.get(kind) != held[kind]]
        if not changed:
            return []
        gates = projections.all_gates(changed, now)
        done = routing.ask_each({kind.queue_name: gates[kind] for kind in changed}, errors)
        written = [kind for kind in changed if kind.queue_name in done]
        self._written |= {kind: held[kind] for kind in written}
        errors.raise_if_any()
        return written


def _ids(rows: Iterable[Override]) -> tuple[int, ...]:
    return tuple(row.pk for row in rows)


def _lost(server: Client, queues: Sequence[str]) -> list[str]:
    are_lost = server_epochs.are_lost(server, queues)
    return [queue for queue, is_lost in zip(queues, are_lost, strict=True) if is_lost]
