"""Explain one task: its row, a dry run of the gates in Redis, and who is alive.

The live part may change while it is read; a row that changed meanwhile is read again.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from plugspace_queue.broker import inspection, routing
from plugspace_queue.broker.inspection import GateView, Holder, View
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.catalog import find
from plugspace_queue.domain.enums import Reason, State
from plugspace_queue.domain.task_types import of_row, queue_of
from plugspace_queue.explain.messages import sentence_for
from plugspace_queue.explain.reasons import Observation, reasons
from plugspace_queue.models import Task, dependency_queries
from plugspace_queue.schemas.explanation import (
    Explanation,
    Gate,
    LinePosition,
    LiveWorkers,
    Parent,
    SlotHolder,
    Slots,
)
from plugspace_queue.services import lookup

MOST_PARENTS = 20
MOST_READS = 3
"""Most reads of a row that changes its state meanwhile."""


def explain(task_id: object, organization_id: str | None = None) -> Explanation:
    """Why the task is where it is. Raises NotFound, and Unavailable when it needs Redis.

    With an organization's id the answer has only counts of other organizations, no worker names.
    """
    observed = _observe(lookup.task_of(task_id, organization_id))
    for _ in range(MOST_READS - 1):
        again = lookup.task_of(task_id, organization_id)
        if _version(again) == _version(observed.task):
            break
        observed = _observe(again)
    return _explanation(observed, is_staff=organization_id is None)


def _observe(task: Task) -> Observation:
    if not _is_in_line(task) or find(task.type) is None:
        return Observation(task=task, now=timezone.now())
    seen = _view(task)
    return Observation(task=task, now=_moment(seen.now_ms), view=seen)


def _is_in_line(task: Task) -> bool:
    """Whether Redis says more of it than its row."""
    return State(task.state) in lifecycle.STARTABLE | {State.PROCESSING}


def _version(task: Task) -> tuple[object, ...]:
    return task.state, task.fence, task.wake_at, task.cancel_requested_at


def _view(task: Task) -> View:
    queue = queue_of(task.type)
    call = inspection.explain(
        queue,
        str(task.pk),
        organization_id=task.organization_id,
        band=task.priority,
        # A worker without a heartbeat for a whole lease has lost its attempts too.
        alive_ms=round(get_settings().lease * 1000),
    )
    return routing.ask(call, queue)


def _explanation(observed: Observation, *, is_staff: bool) -> Explanation:
    first, *rest = reasons(observed)
    task, seen = observed.task, observed.view
    return Explanation(
        task_id=str(task.pk),
        type=of_row(task.type),
        organization_id=task.organization_id,
        state=observed.state,
        status=task.status,
        reason=first,
        sentence=sentence_for(first, observed),
        also=rest,
        looked_at_again_at=_again_at(first, observed),
        expires_at=None if task.is_final else task.deadline,
        blocked_by=_parents(task),
        **_live(seen, task.organization_id, is_staff=is_staff) if seen else {"gates": []},
    )


def _again_at(reason: Reason, observed: Observation) -> datetime | None:
    if reason in (Reason.SCHEDULED, Reason.BACKOFF):
        return observed.task.wake_at
    if observed.view is None:
        return None
    if reason is Reason.UNCONFIGURED:
        return _moment(observed.view.now_ms + observed.view.opens_in)
    gate = observed.gate(reason)
    return _opens_at(gate, observed.view) if gate else None


def _opens_at(gate: GateView, seen: View) -> datetime | None:
    return _moment(seen.now_ms + gate.opens_in) if gate.opens_in else None


def _parents(task: Task) -> list[Parent]:
    if task.state != State.BLOCKED:
        return []
    rows = dependency_queries.parents_not_complete(task)
    found = rows.order_by("pk").values_list("pk", "type", "state")[:MOST_PARENTS]
    return [Parent(id=str(pk), type=of_row(kind), state=State(state)) for pk, kind, state in found]


def _live(seen: View, organization_id: str, *, is_staff: bool) -> dict[str, Any]:
    """The parts that come from Redis."""
    shown = None if is_staff else organization_id
    workers = seen.workers
    return {
        "gates": [_gate(gate, seen) for gate in seen.gates],
        "lease": _holder(seen.lease, is_staff=is_staff) if seen.lease else None,
        "slots": _slots(seen, shown),
        "position": _position(seen),
        "workers": LiveWorkers(
            serving=workers.serving,
            slots=workers.slots,
            without_processor=workers.idle,
            suspended=workers.suspended,
        ),
    }


def _gate(gate: GateView, seen: View) -> Gate:
    until = gate.overridden_until
    return Gate(
        gate=gate.name,
        verdict="open" if gate.is_open else "shut",
        current=gate.current,
        limit=gate.limit,
        retry_at=_opens_at(gate, seen),
        is_overridden=None if until is None else True,
        overridden_until=_moment(until) if until else None,
    )


def _slots(seen: View, shown: str | None) -> Slots:
    """The running tasks; `shown` is the only organization whose tasks may be seen, None for all."""
    listed = [holder for holder in seen.holders if shown in (None, holder.organization_id)]
    cap = next(gate for gate in seen.gates if gate.name == Reason.ORGANIZATION_CONCURRENCY)
    return Slots(
        used=seen.running,
        limit=seen.concurrency or None,
        organization_used=cap.current,
        holders=[_holder(holder, is_staff=shown is None) for holder in listed],
        others=seen.running - len(listed),
    )


def _holder(holder: Holder, *, is_staff: bool) -> SlotHolder:
    return SlotHolder(
        task_id=holder.task_id,
        organization_id=holder.organization_id if is_staff else None,
        worker=holder.worker if is_staff else None,
        since=datetime.fromisoformat(holder.started_at) if holder.started_at else None,
        lease_until=_moment(holder.lease_end_ms),
    )


def _position(seen: View) -> LinePosition | None:
    if seen.position is None:
        return None
    return LinePosition(
        tasks_ahead=seen.position.tasks,
        at_least=seen.position.at_least,
        organizations_ahead=seen.position.lanes,
        stricter_lines_ahead=seen.position.stricter_lanes,
    )


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)
