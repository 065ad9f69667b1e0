"""Inspects one task in Redis: its place, the gates before it, running tasks, live workers."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from plugspace_queue.broker.scripts import Call, on_queue
from plugspace_queue.broker.types import PlaceName

Answer = Literal["ok", "full", "limited", "paused", "unconfigured"]


@dataclass(frozen=True, slots=True)
class GateView:
    """The state of one gate; `current` and `limit` are None if it counts nothing."""

    name: str
    is_open: bool
    current: int | None
    limit: int | None
    opens_in: int
    """Ms until it opens by itself; 0 when it needs an event to open."""
    overridden_until: int | None = None
    """Ms since 1970 until which an override holds its limit, 0: without an end; None: none does."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A running task, which holds a slot."""

    task_id: str
    organization_id: str
    worker: str
    started_at: str | None
    """ISO 8601."""
    lease_end_ms: int


@dataclass(frozen=True, slots=True)
class Position:
    """What is served before a waiting task in the current order."""

    band: int
    tasks: int
    """Of its own lane."""
    at_least: bool
    """Whether the lane is longer than the part that was searched."""
    lanes: int
    """Other lanes of its band, or of all bands if the policy is weighted."""
    stricter_lanes: int
    """Lanes of bands that are served first."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Workers with a recent heartbeat."""

    serving: int
    slots: int
    idle: int
    """Workers of this queue without a processor for it."""
    suspended: bool
    """Whether RQ's suspend is active, so that no worker acquires tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The answer of the script."""

    now_ms: int
    place: PlaceName
    due_ms: int | None
    answer: Answer
    """The status that acquire would return; ok when the queue's own gates are open."""
    opens_in: int
    gates: list[GateView]
    """In the order in which acquire checks them."""
    running: int
    concurrency: int
    """Of the queue over all workers; 0 = no limit."""
    lease: Holder | None
    """Of the task itself, while it runs."""
    holders: list[Holder]
    """The longest running tasks, those of the organization first."""
    position: Position | None
    """None when it is in no lane."""
    workers: Workers


def explain(
    queue: str, task_id: str, *, organization_id: str, band: int, alive_ms: int
) -> Call[View]:
    """Read a task's state and its queue's gates; workers not seen for `alive_ms` count as dead."""
    return on_queue("explain", queue, [task_id, organization_id, band, alive_ms], _view)


def _view(reply: Any) -> View:
    answer = json.loads(reply)
    position, lease = answer.get("position"), answer.get("lease")
    overridden = json.loads(answer["overridden"] or "{}")
    return View(
        now_ms=answer["now"],
        place=answer["place"],
        due_ms=answer.get("due") or None,
        answer=answer["answer"],
        opens_in=answer["opens_in"],
        gates=[_gate(gate, overridden.get(gate["name"])) for gate in answer["gates"]],
        running=answer["running"],
        concurrency=answer["concurrency"],
        lease=_holder(lease) if lease else None,
        # An empty table is an object in the script's JSON.
        holders=[_holder(holder) for holder in answer["holders"] or ()],
        position=Position(**position) if position else None,
        workers=Workers(**answer["workers"]),
    )


def _gate(part: dict[str, Any], overridden_until: int | None) -> GateView:
    return GateView(
        part["name"],
        part["is_open"],
        part.get("current"),
        part.get("limit"),
        part["opens_in"],
        overridden_until,
    )


def _holder(part: dict[str, Any]) -> Holder:
    return Holder(
        part["id"],
        part["organization"],
        part["worker"],
        part.get("started"),
        part["lease_end"],
    )
