"""Writes limits and pauses to Redis again, after an outage or a loss of data.

The rows are authoritative for both; every worker calls this every few seconds.
"""

from collections import defaultdict
from datetime import datetime
from itertools import count

from plugspace_queue.broker import routing, server_epochs
from plugspace_queue.broker.connection import Client, client
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import tenancy_queries
from plugspace_queue.publishing import projections

_turns = count()


def mend(now: datetime) -> bool:
    """Write the gates of the next queue, or of all queues whose server lost its data (True).

    Raises Unavailable when a server is unavailable, after the gates on the others were written.
    """
    errors = routing.PerServerErrors()
    is_lost = mend_each(now, errors)
    errors.tell()
    return is_lost


def mend_each(now: datetime, errors: routing.PerServerErrors) -> bool:
    """The same; `errors` collects unavailable servers."""
    kinds, is_lost = list(TaskType), False
    turn = kinds[next(_turns) % len(kinds)]
    for server, kinds in _servers().items():
        with errors.at_one():
            lost = _lost(server, kinds)
            for kind in lost or ({turn} & set(kinds)):
                # A queue whose data is damaged does not stop the others.
                with errors.at_one():
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


def _servers() -> dict[Client, list[TaskType]]:
    servers: dict[Client, list[TaskType]] = defaultdict(list)
    for kind in TaskType:
        servers[client(kind.queue_name)].append(kind)
    return servers


def _lost(server: Client, kinds: list[TaskType]) -> list[TaskType]:
    are_lost = server_epochs.are_lost(server, [kind.queue_name for kind in kinds])
    return [kind for kind, is_lost in zip(kinds, are_lost, strict=True) if is_lost]
