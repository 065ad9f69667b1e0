"""One task as Redis sees it: its place, the gates before it, who runs, who is alive."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from plugspace_queue.broker.scripts import Call, on_queue
from plugspace_queue.broker.types import PlaceName

Answer = Literal["ok", "full", "limited", "paused", "unconfigured"]


@dataclass(frozen=True, slots=True)
class GateView:
    """What one gate says; `current` and `limit` are None where it counts nothing."""

    name: str
    is_open: bool
    current: int | None
    limit: int | None
    opens_in: int
    """Ms until it opens by itself; 0 when something must happen first."""


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
    """What is served before a waiting task, as the order stands now."""

    band: int
    tasks: int
    """Of its own lane."""
    at_least: bool
    """The lane is longer than was looked at."""
    lanes: int
    """Other lanes of its band; of all bands where the policy is weighted."""
    stricter_lanes: int
    """Lanes of bands that are served first."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Who was seen a moment ago."""

    serving: int
    slots: int
    idle: int
    """Workers of this queue without a processor for it."""
    suspended: bool
    """By RQ's own suspend: nobody takes anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The answer of the script."""

    now_ms: int
    place: PlaceName
    due_ms: int | None
    answer: Answer
    """What a worker that asks this queue is told; ok: the queue's own gates are open."""
    opens_in: int
    gates: list[GateView]
    """In the order in which they are asked."""
    running: int
    concurrency: int
    """Of the queue over all workers; 0 = no limit."""
    lease: Holder | None
    """Of the task itself, while it runs."""
    holders: list[Holder]
    """The longest running ones, the organization's own first."""
    position: Position | None
    """None where it stands in no lane."""
    workers: Workers


def explain(
    queue: str, task_id: str, *, organization_id: str, band: int, alive_ms: int
) -> Call[View]:
    """Look at a task and at the gates of its queue; workers not seen for `alive_ms` are dead."""
    return on_queue("explain", queue, [task_id, organization_id, band, alive_ms], _view)


def _view(reply: Any) -> View:
    told = json.loads(reply)
    position, lease = told.get("position"), told.get("lease")
    return View(
        now_ms=told["now"],
        place=told["place"],
        due_ms=told.get("due") or None,
        answer=told["answer"],
        opens_in=told["opens_in"],
        gates=[_gate(gate) for gate in told["gates"]],
        running=told["running"],
        concurrency=told["concurrency"],
        lease=_holder(lease) if lease else None,
        # An empty table is an object in the script's JSON.
        holders=[_holder(holder) for holder in told["holders"] or ()],
        position=Position(**position) if position else None,
        workers=Workers(**told["workers"]),
    )


def _gate(told: dict[str, Any]) -> GateView:
    return GateView(
        told["name"], told["is_open"], told.get("current"), told.get("limit"), told["opens_in"]
    )


def _holder(told: dict[str, Any]) -> Holder:
    return Holder(
        told["id"],
        told["organization"],
        told["worker"],
        told.get("started"),
        told["lease_end"],
    )
