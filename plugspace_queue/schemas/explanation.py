"""Why a task is where it is, on the wire: the answer of explain."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from plugspace_queue.domain.enums import Reason, State, Status
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.schemas.base import WireModel


class Gate(WireModel):
    """One gate; counts and limits are absent where it has none."""

    gate: str
    verdict: Literal["open", "shut"]
    current: int | None = None
    limit: int | None = None
    retry_at: datetime | None = Field(
        default=None, description="When it opens by itself; absent: something must happen first."
    )
    is_overridden: bool | None = Field(
        default=None, description="The limit holds for a while only; absent: it does not."
    )
    overridden_until: datetime | None = Field(
        default=None, description="When the limit changes back; absent: when staff end it."
    )


class SlotHolder(WireModel):
    """A running task; whose it is and where it runs is for staff."""

    task_id: str
    organization_id: str | None = None
    worker: str | None = None
    since: datetime | None = None
    lease_until: datetime | None = None


class Slots(WireModel):
    """Running tasks of the queue over all workers, and who holds the slots."""

    used: int
    limit: int | None = Field(default=None, description="Absent: the queue has no limit.")
    organization_used: int | None = Field(
        default=None, description="Of the task's organization; absent without a limit for it."
    )
    holders: list[SlotHolder] = Field(
        description="At most 20 of the 60 that run longest, the own organization's first."
    )
    others: int = Field(description="Running tasks that are not listed.")


class LinePosition(WireModel):
    """What is served before the task, as the order stands now."""

    tasks_ahead: int = Field(description="Of its own organization, in its band.")
    at_least: bool = Field(description="More than that: the line was not counted to its end.")
    organizations_ahead: int = Field(
        description="Lines that have their turn before; some may be held by gates of their own."
    )
    stricter_lines_ahead: int = Field(description="Lines of higher priority; 0 when weighted.")


class LiveWorkers(WireModel):
    """Workers of the queue that were seen a moment ago."""

    serving: int
    slots: int
    without_processor: int
    suspended: bool


class Parent(WireModel):
    """A task that must complete first."""

    id: str
    type: TaskType
    state: State


class Explanation(WireModel):
    """Why a task is where it is; what is read from Redis is absent for ended and blocked tasks."""

    task_id: str
    type: TaskType
    organization_id: str
    state: State
    status: Status
    reason: Reason
    sentence: str
    also: list[Reason] = Field(description="What else would hold it, once the reason is gone.")
    looked_at_again_at: datetime | None = Field(
        default=None, description="Absent: when something happens, not by the clock."
    )
    expires_at: datetime | None = Field(
        default=None, description="It must have started by then; a pause moves it."
    )
    blocked_by: list[Parent] = Field(description="At most 20.")
    gates: list[Gate] = Field(description="In the order in which they are asked.")
    lease: SlotHolder | None = Field(default=None, description="Of the task itself.")
    slots: Slots | None = None
    position: LinePosition | None = None
    workers: LiveWorkers | None = None
