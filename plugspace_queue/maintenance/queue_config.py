"""Gates that an outage kept from Redis, or that Redis lost, are written again.

Rows are the truth about pauses and limits; every worker calls it every few seconds.
"""

from collections import defaultdict
from datetime import datetime
from itertools import cycle

from plugspace_queue.broker import routing, server_epochs
from plugspace_queue.broker.connection import Client, client
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.models import Organization
from plugspace_queue.publishing import projections

_turns = cycle(TaskType)


def mend(now: datetime) -> bool:
    """Write the gates of one queue, in turn, or of all whose server lost its data; True then.

    Raises Unavailable when a server is away, after the others were mended.
    """
    others = routing.PerServerErrors()
    is_lost = mend_each(now, others)
    others.tell()
    return is_lost


def mend_each(now: datetime, others: routing.PerServerErrors) -> bool:
    """The same; what is away is told by `others`."""
    turn, is_lost = next(_turns), False
    for server, kinds in _servers().items():
        with others.at_one():
            lost = _lost(server, kinds)
            for kind in lost or ({turn} & set(kinds)):
                # One whose data is damaged holds up no other.
                with others.at_one():
                    write(kind)
            # Marked only now: who comes in between writes the same once more.
            if lost:
                server_epochs.set_epoch(server, now.isoformat())
                is_lost = True
    return is_lost


def write(kind: TaskType) -> None:
    """Write the gates of one queue and all pauses, as the rows say. Raises Unavailable."""
    # Redis first: what is held there was committed before, so the rows read later know of it.
    held = server_epochs.paused_organizations(client(kind.queue_name))
    wanted = paused_by_rows()
    pauses = {organization_id: organization_id in wanted for organization_id in held | wanted}
    # The queue itself last: nothing is granted before that.
    calls = [*projections.pauses_in(kind, pauses), projections.gates_of(kind)]
    routing.ask_all(calls, kind.queue_name)


def paused_by_rows() -> set[str]:
    """The organizations that an operator paused."""
    return set(Organization.objects.filter(is_paused=True).values_list("pk", flat=True))


def _servers() -> dict[Client, list[TaskType]]:
    servers: dict[Client, list[TaskType]] = defaultdict(list)
    for kind in TaskType:
        servers[client(kind.queue_name)].append(kind)
    return servers


def _lost(server: Client, kinds: list[TaskType]) -> list[TaskType]:
    are_lost = server_epochs.are_lost(server, [kind.queue_name for kind in kinds])
    return [kind for kind, is_lost in zip(kinds, are_lost, strict=True) if is_lost]
