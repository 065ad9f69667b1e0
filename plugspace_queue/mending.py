"""Gates that an outage kept from Redis, or that Redis lost, are written again.

Rows are the truth about pauses and limits; every worker calls it every few seconds.
"""

from datetime import datetime
from itertools import cycle

from plugspace_queue import mirrors
from plugspace_queue.engine import marks
from plugspace_queue.engine.connection import client
from plugspace_queue.models import Organization
from plugspace_queue.types import TaskType

_turns = cycle(TaskType)


def mend(now: datetime) -> bool:
    """Write the gates of one queue, in turn, or of all whose server lost its data; True then.

    Raises Unavailable when Redis is away.
    """
    lost = [kind for kind in TaskType if not marks.has_epoch(client(kind.queue_name))]
    for kind in lost or [next(_turns)]:
        mirrors.write_queue(kind)
        _mend_pauses(kind)
    # Marked only now: who comes in between writes the same once more.
    for kind in lost:
        marks.set_epoch(client(kind.queue_name), now.isoformat())
    return bool(lost)


def _mend_pauses(kind: TaskType) -> None:
    # Redis first: what is held there was committed before, so the rows read later know of it.
    held = marks.paused_organizations(client(kind.queue_name))
    wanted = set(Organization.objects.filter(is_paused=True).values_list("pk", flat=True))
    for organization_id in sorted(held | wanted):
        mirrors.write_pause_in(kind, organization_id, organization_id in wanted)
