"""The bodies of responses, and how rows become such bodies."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field
from rest_framework.response import Response

from plugspace_queue.broker import server
from plugspace_queue.domain.enums import EventName, Policy, State, Status
from plugspace_queue.domain.kinds import KindOfRow
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.limits.policies import tier_of
from plugspace_queue.models import Organization, Workflow, tenancy_queries
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
    """The state of a cancelled task; `processing`: it runs and was told to stop."""

    id: UUID
    state: State
    status: Status


class WorkflowStarted(WireModel):
    """A new workflow and its steps in order."""

    workflow_id: UUID
    task_ids: list[UUID]


class WorkflowSummary(WireModel):
    """A workflow; its status follows from its steps."""

    id: UUID
    kind: KindOfRow
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


class LimiterShape(WireModel):
    """Starts per window of `duration` seconds, over all workers."""

    max: int
    duration: float


class LimitOverride(WireModel):
    """A limit of a queue that is overridden now; the queue shows the value in force."""

    key: str = Field(description="limiter, concurrency, globalConcurrency, …")
    ends_at: datetime | None = Field(description="null: until staff end it.")


class QueueShape(WireModel):
    """One queue: its figures and its settings."""

    model_config = ConfigDict(strict=False)

    type: TaskType
    waiting: int | None = Field(
        description="The figures count your organization's tasks, for staff all. Null in the "
        "answer to a change while Redis is unavailable."
    )
    active: int | None = Field(
        description="Null: the data of the queue in Redis is damaged, so what runs is unknown "
        "until workers have repaired it. The other figures are counted from rows."
    )
    completed: int | None = Field(
        description="Of the tasks that are kept, for staff of all tasks ever. Null: above 10,000."
    )
    failed: int | None = Field(description="Likewise.")
    delayed: int | None = Field(description="Null: above 10,000.")
    is_paused: bool
    concurrency: int = Field(description="Slots of one worker process.")
    global_concurrency: int | None
    organization_concurrency: int | None
    default_priority: int = Field(description="For organizations without a tier.")
    limiter: LimiterShape | None = Field(description="Null: no limit.")
    policy: Policy
    overrides: list[LimitOverride] = Field(description="Limits that hold for a while only.")


class QueueResults(WireModel):
    """All queues."""

    results: list[QueueShape]


class OverrideShape(WireModel):
    """A limit or quota that holds for a while, or a grant."""

    id: int
    type: str = Field(description="Task type.")
    key: str = Field(
        description="limiter, concurrency, globalConcurrency, organizationConcurrency; quota, grant"
    )
    value: int = Field(description="Starts, slots, tasks per month; -1: no limit.")
    duration: float | None = Field(description="Window of a limiter, in seconds.")
    state: Literal["pending", "active", "ended"]
    starts_at: datetime
    ends_at: datetime | None
    reason: str
    author: str
    created_at: datetime


class OverrideResults(WireModel):
    """Overrides, the newest first."""

    results: list[OverrideShape]


class EventShape(WireModel):
    """A change of a task; `id` is its cursor, and a repeated event has the same `key`."""

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
    """Events, the oldest first; request the next page with `since` = `cursor`."""

    results: list[EventShape]
    cursor: str
    has_more: bool = Field(
        description="Whether there may be more: request again at once, even if `results` is empty."
    )


class OrganizationShape(WireModel):
    """An organization and its settings."""

    id: str
    name: str
    tier: str | None = Field(description="null: the quotas and limits of `free` apply.")
    is_suspended: bool
    is_paused: bool
    created_at: datetime


class RequestWindow(WireModel):
    """The running window of the request limiter; figures are null while Redis is unavailable."""

    limit: int
    duration: float = Field(description="Seconds of a window.")
    used: int | None
    remaining: int | None
    reset: int | None = Field(description="Seconds until it ends; 0: no window runs.")


class QuotaChange(WireModel):
    """What changes the quota of a type for a while."""

    key: Literal["quota", "grant"] = Field(description="Instead of the tier's, or beside it.")
    value: int = Field(description="-1: no limit.")
    ends_at: datetime | None = Field(description="null: until staff end it.")


class TypeUsage(WireModel):
    """Units of one task type; quota and remaining are null when there is no limit.

    A past month has the quota that was in force at its end.
    """

    used: int
    quota: int | None = Field(description="In force: with the grants.")
    remaining: int | None
    granted: int | None = Field(
        None, description="How much of the quota is granted; absent without an override."
    )
    overrides: list[QuotaChange] | None = Field(
        None, description="What changes the tier's quota for a while; absent: nothing does."
    )


class Usage(WireModel):
    """What an organization used of its month (UTC)."""

    organization_id: str
    tier: str | None
    month: str
    period_end: datetime
    usage: dict[TaskType, TypeUsage]
    requests: RequestWindow


class FieldProblem(WireModel):
    """One field that is not valid."""

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


def task_to_wire(task: Any, *, is_staff: bool = False) -> dict[str, Any]:
    """A task as JSON data."""
    return task_for_caller(agent_task(task).to_wire(), is_staff=is_staff)


def task_for_caller(body: dict[str, Any], *, is_staff: bool) -> dict[str, Any]:
    """The wire form of a task; only staff see stacks, which show our code and our paths."""
    if not is_staff and "error" in body:
        body["error"].pop("stack", None)
    return body


def workflow_summary(workflow: Workflow, *, omits_input: bool) -> dict[str, Any]:
    """A workflow as JSON data; its tasks are prefetched (state and step are enough)."""
    if not omits_input:
        return WorkflowSummary(**_fields(workflow), input=workflow.input).to_wire()
    # The input was not loaded: reading it would cost a query for each row.
    summary = WorkflowSummary(**_fields(workflow), input=None, input_omitted=True)
    return summary.to_wire() | {"input": None}


def workflow_detail(workflow: Workflow, tasks: Sequence[Any], *, is_staff: bool) -> dict[str, Any]:
    """A workflow and its steps, in order, as JSON data."""
    steps = [agent_task(task) for task in tasks]
    body = WorkflowDetail(**_fields(workflow), input=workflow.input, tasks=steps).to_wire()
    for step in body["tasks"]:
        task_for_caller(step, is_staff=is_staff)
    return body


def window_of(organization: Organization) -> RequestWindow:
    """The running request window: limit, requests counted and left, seconds to the reset."""
    tier = tier_of(organization)
    used, reset = server.request_window(organization.pk) or (None, None)
    return RequestWindow(
        limit=tier.request_limit,
        duration=tier.request_window,
        used=used,
        remaining=None if used is None else max(0, tier.request_limit - used),
        reset=reset,
    )


def with_window(response: Response, organization_id: str) -> Response:
    """The response with the headers of the request window; without Redis as it was."""
    rows = tenancy_queries.organizations_by_id([organization_id]).select_related("tier")
    window = window_of(rows.get())
    if window.used is not None:
        response["RateLimit-Limit"] = str(window.limit)
        response["RateLimit-Remaining"] = str(window.remaining)
        response["RateLimit-Reset"] = str(window.reset)
    return response


def _fields(workflow: Workflow) -> dict[str, Any]:
    return {
        "id": workflow.pk,
        "kind": KindOfRow(workflow.kind),
        "organization_id": workflow.organization_id,
        "project_id": workflow.project_id,
        "user_id": workflow.user_id,
        "status": workflow.status,
        "created_at": workflow.created_at,
        "task_ids": workflow.task_ids,
    }
