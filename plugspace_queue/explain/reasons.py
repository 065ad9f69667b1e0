"""Why a task is where it is: all reasons that apply, the most important first."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from plugspace_queue.broker.inspection import GateView, View
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.catalog import find
from plugspace_queue.domain.enums import Reason, State
from plugspace_queue.models import Task


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A row and its view in Redis, read after it; None for an ended or blocked task."""

    task: Task
    now: datetime
    view: View | None = None

    @property
    def state(self) -> State:
        return State(self.task.state)

    @property
    def is_early(self) -> bool:
        """Its time has not come."""
        return self.task.wake_at is not None and self.task.wake_at > self.now

    @property
    def is_startable(self) -> bool:
        return self.state in lifecycle.STARTABLE

    @property
    def is_dropped(self) -> bool:
        """Whether its type is not declared any more."""
        return find(self.task.type) is None

    def is_at(self, place: str) -> bool:
        return self.view is not None and self.view.place == place

    def gate(self, name: str) -> GateView | None:
        """The state of a gate; None without Redis."""
        gates = self.view.gates if self.view else []
        return next((gate for gate in gates if gate.name == name), None)

    def is_shut(self, name: str) -> bool:
        gate = self.gate(name)
        return gate is not None and not gate.is_open

    @property
    def is_paused(self) -> bool:
        return self.is_shut("queue_paused") or self.is_shut("organization_paused")

    @property
    def is_overdue(self) -> bool:
        """Whether its ttl is over and no pause suspends it."""
        deadline = self.task.deadline
        return deadline is not None and deadline <= self.now and not self.is_paused

    @property
    def is_unserved(self) -> bool:
        """No worker takes tasks of this queue."""
        return self.view is not None and self.view.workers.serving == 0


Check = Callable[[Observation], bool]


def reasons(observed: Observation) -> list[Reason]:
    """All reasons that apply; the first is the answer."""
    if observed.task.is_final:
        return [Reason(observed.task.state)]
    found: list[Reason] = []
    for reason, holds in CHECKS.items():
        if holds(observed):
            found.append(reason)
        if Reason.RUNNING in found:
            # The gates do not matter for a running task.
            break
    return found or [Reason.WAITING_ITS_TURN]


def _shut(reason: Reason) -> Check:
    return lambda observed: observed.is_shut(reason)


def _runs(observed: Observation) -> bool:
    return observed.state == State.PROCESSING or observed.is_at("running")


def _backs_off(observed: Observation) -> bool:
    return observed.is_early and observed.is_startable and observed.state != State.SCHEDULED


def _is_scheduled(observed: Observation) -> bool:
    return observed.is_early and observed.state in (State.SCHEDULED, State.BLOCKED)


def _has_idle_workers(observed: Observation) -> bool:
    return observed.view is not None and observed.view.workers.idle > 0


def _has_no_processor(observed: Observation) -> bool:
    return observed.is_dropped or (observed.is_unserved and _has_idle_workers(observed))


# Holds set by a person come first, then missing workers, then gates that open by themselves.
CHECKS: dict[Reason, Check] = {
    Reason.CANCELLING: lambda observed: observed.task.cancel_requested_at is not None,
    Reason.RUNNING: _runs,
    Reason.BLOCKED: lambda observed: observed.state == State.BLOCKED,
    Reason.EXPIRING: lambda observed: observed.is_startable and observed.is_overdue,
    Reason.BACKOFF: _backs_off,
    Reason.SCHEDULED: _is_scheduled,
    Reason.UNPUBLISHED: lambda observed: observed.is_startable and observed.is_at("absent"),
    Reason.QUEUE_PAUSED: _shut(Reason.QUEUE_PAUSED),
    Reason.ORGANIZATION_PAUSED: _shut(Reason.ORGANIZATION_PAUSED),
    Reason.WORKERS_SUSPENDED: lambda observed: (
        observed.view is not None and observed.view.workers.suspended
    ),
    Reason.NO_PROCESSOR: _has_no_processor,
    Reason.NO_WORKER: lambda observed: observed.is_unserved and not _has_idle_workers(observed),
    Reason.UNCONFIGURED: lambda observed: (
        observed.view is not None and observed.view.answer == "unconfigured"
    ),
    Reason.QUEUE_CONCURRENCY: _shut(Reason.QUEUE_CONCURRENCY),
    Reason.QUEUE_LIMITER: _shut(Reason.QUEUE_LIMITER),
    Reason.ORGANIZATION_CONCURRENCY: _shut(Reason.ORGANIZATION_CONCURRENCY),
}
