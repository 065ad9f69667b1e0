"""What the API answers beside the task itself."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ConfigDict, Field

from plugspace_queue.domain.enums import EventName, Kind, Policy, State, Status, TaskType
from plugspace_queue.models import Workflow
from plugspace_queue.schemas.base import WireModel
from plugspace_queue.schemas.task import AgentTask, agent_task


class TaskPage(WireModel):
    """One page of tasks, the newest first."""

    results: list[AgentTask]
    next: str | None
    previous: str | None


class TaskResults(WireModel):
    """The added tasks in the order in which they were sent."""

    results: list[AgentTask]


class TaskState(WireModel):
    """What became of a cancelled task; `processing` means: told to stop."""

    id: UUID
    state: State
    status: Status


class WorkflowStarted(WireModel):
    """A new workflow and its steps in order."""

    workflow_id: UUID
    task_ids: list[UUID]


class WorkflowSummary(WireModel):
    """A workflow; its status is what its steps say."""

    id: UUID
    kind: Kind
    organization_id: str
    project_id: str
    user_id: str
    status: Status
    input: dict[str, Any] | None
    input_omitted: bool | None = None
    created_at: datetime
    task_ids: list[UUID]


class WorkflowDetail(WorkflowSummary):
    """A workflow with its steps."""

    tasks: list[AgentTask]


class WorkflowPage(WireModel):
    """One page of workflows, the newest first."""

    results: list[WorkflowSummary]
    next: str | None
    previous: str | None


class Limiter(WireModel):
    """Starts per window of `duration` seconds, over all workers."""

    max: int
    duration: float


class QueueShape(WireModel):
    """One queue: its figures and how it is set."""

    model_config = ConfigDict(strict=False)

    type: TaskType
    waiting: int | None = Field(
        description="The figures are of your organization's tasks, for staff of all. Null after a "
        "change without Redis."
    )
    active: int | None = Field(
        description="Null: what the queue keeps in Redis is damaged, and nobody knows what runs; "
        "workers repair it. The other figures are of the rows."
    )
    completed: int | None = Field(
        description="Of those that are kept, for staff of all that ever were. Null: above 10,000."
    )
    failed: int | None = Field(description="Likewise.")
    delayed: int | None = Field(description="Null: above 10,000.")
    is_paused: bool
    concurrency: int = Field(description="Slots of one worker process.")
    global_concurrency: int | None
    organization_concurrency: int | None
    default_priority: int = Field(description="For organizations without a tier.")
    limiter: Limiter
    policy: Policy


class QueueResults(WireModel):
    """All six queues."""

    results: list[QueueShape]


class EventShape(WireModel):
    """Something that happened to a task; `id` is its cursor, `key` the same when told again."""

    model_config = ConfigDict(extra="allow")

    id: str
    name: EventName
    type: TaskType
    job_id: UUID
    organization_id: str
    project_id: str
    workflow_id: UUID | None
    state: State
    at: datetime
    key: str
    result: Any | None = None
    error: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None


class EventPage(WireModel):
    """Events, the oldest first; ask again with `since` = `cursor`."""

    results: list[EventShape]
    cursor: str
    has_more: bool = Field(
        description="Whether there may be more: ask again at once, also when `results` is empty."
    )


class OrganizationShape(WireModel):
    """An organization as staff set it."""

    id: str
    name: str
    tier: str | None = Field(description="null: it has free's quotas and limits.")
    is_suspended: bool
    is_paused: bool
    created_at: datetime


class RequestWindow(WireModel):
    """The running window of the request limiter; its figures are null while Redis is away."""

    limit: int
    duration: float = Field(description="Seconds of a window.")
    used: int | None
    remaining: int | None
    reset: int | None = Field(description="Seconds until it ends; 0: none runs.")


class TypeUsage(WireModel):
    """Units of one task type; quota and remaining are null when there is no limit."""

    used: int
    quota: int | None
    remaining: int | None


class Usage(WireModel):
    """What an organization used of its month (UTC)."""

    organization_id: str
    tier: str | None
    month: str
    period_end: datetime
    usage: dict[TaskType, TypeUsage]
    requests: RequestWindow


class FieldProblem(WireModel):
    """One wrong field."""

    loc: list[str]
    msg: str
    type: str | None = None


class Problem(WireModel):
    """RFC 9457 problem details; `code` is stable, further members depend on it."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    errors: list[FieldProblem] | None = None
    retry_after: float | None = Field(None, description="Seconds; as in the header Retry-After.")


def wire(task: Any, *, is_staff: bool = False) -> dict[str, Any]:
    """A task as JSON data."""
    return for_caller(agent_task(task).to_wire(), is_staff=is_staff)


def for_caller(told: dict[str, Any], *, is_staff: bool) -> dict[str, Any]:
    """The wire form of a task; stacks show our code and our paths, so only staff see them."""
    if not is_staff and "error" in told:
        told["error"].pop("stack", None)
    return told


def summary(workflow: Workflow, *, is_input_left: bool = False) -> dict[str, Any]:
    """A workflow as JSON data, without its input when that is too large for a list.

    Its tasks are prefetched (state and step are enough).
    """
    if not is_input_left:
        return WorkflowSummary(**_fields(workflow, workflow.input)).to_wire()
    return WorkflowSummary(**_fields(workflow, None), input_omitted=True).to_wire() | {
        "input": None
    }


def detail(workflow: Workflow, tasks: Sequence[Any], *, is_staff: bool) -> dict[str, Any]:
    """A workflow and its steps, in order, as JSON data."""
    fields = _fields(workflow, workflow.input)
    told = WorkflowDetail(**fields, tasks=[agent_task(task) for task in tasks]).to_wire()
    for step in told["tasks"]:
        for_caller(step, is_staff=is_staff)
    return told


def _fields(workflow: Workflow, shown_input: Any) -> dict[str, Any]:
    return {
        "id": workflow.pk,
        "kind": Kind(workflow.kind),
        "organization_id": workflow.organization_id,
        "project_id": workflow.project_id,
        "user_id": workflow.user_id,
        "status": workflow.status,
        "input": shown_input,
        "created_at": workflow.created_at,
        "task_ids": workflow.task_ids,
    }
