"""Writes limits and pauses to Redis again, after an outage or a loss of data.

The rows are authoritative for both; every worker calls this every few seconds.
"""

from collections import defaultdict
from datetime import datetime
from itertools import count

from plugspace_queue.broker import routing, server_epochs
from plugspace_queue.broker.connection import Client, client
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.limits import overrides
from plugspace_queue.models import tenancy_queries
from plugspace_queue.publishing import projections

_turns = count()


def repair(now: datetime) -> bool:
    """Write the gates of the next queue, or of all queues whose server lost its data (True).

    Raises Unavailable when a server is unavailable, after the gates on the others were written.
    """
    errors = routing.PerServerErrors()
    is_lost = repair_each(now, errors)
    errors.raise_if_any()
    return is_lost


def repair_each(now: datetime, errors: routing.PerServerErrors) -> bool:
    """The same; `errors` collects unavailable servers."""
    kinds, is_lost = list(TaskType), False
    turn = kinds[next(_turns) % len(kinds)]
    for server, kinds in _servers().items():
        with errors.collect():
            lost = _lost(server, kinds)
            for kind in lost or ({turn} & set(kinds)):
                # A queue whose data is damaged does not stop the others.
                with errors.collect():
                    write(kind)
            # Marked last: another worker may meanwhile write the same again, which is harmless.
            if lost:
                server_epochs.set_epoch(server, now.isoformat())
                is_lost = True
    return is_lost


def write(kind: TaskType) -> None:
    """Write the gates of one queue and all pauses from the rows. Raises Unavailable."""
    # Redis is read first: a pause is committed before it is written there, so the rows have it.
    held = server_epochs.paused_organizations(client(kind.queue_name))
    wanted = paused_by_rows()
    pauses = {organization_id: organization_id in wanted for organization_id in held | wanted}
    # The queue's gates are written last, as nothing is granted without them.
    calls = [*projections.pauses_in(kind, pauses), projections.gates_of(kind)]
    routing.ask_all(calls, kind.queue_name)


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
        errors, written = routing.PerServerErrors(), []
        rows = tenancy_queries.queue_overrides(now)
        for kind in TaskType:
            held = tuple(row.pk for row in overrides.in_force(rows, kind.value, now))
            if self._written.get(kind) == held:
                continue
            with errors.collect():
                routing.ask(projections.gates_of(kind, now), kind.queue_name)
                self._written[kind] = held
                written.append(kind)
        errors.raise_if_any()
        return written


def _servers() -> dict[Client, list[TaskType]]:
    servers: dict[Client, list[TaskType]] = defaultdict(list)
    for kind in TaskType:
        servers[client(kind.queue_name)].append(kind)
    return servers


def _lost(server: Client, kinds: list[TaskType]) -> list[TaskType]:
    are_lost = server_epochs.are_lost(server, [kind.queue_name for kind in kinds])
    return [kind for kind, is_lost in zip(kinds, are_lost, strict=True) if is_lost]
