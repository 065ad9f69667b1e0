"""The task on the wire: the one `AgentTask` of REST, events and the Redis snapshot."""

from collections.abc import Collection, Sequence
from datetime import datetime
from json.encoder import encode_basestring as quoted
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from plugspace_queue.conf import get_settings
from plugspace_queue.domain import json_text
from plugspace_queue.domain.enums import State, Status
from plugspace_queue.domain.lifecycle import STATUSES
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.schemas.base import DeferredModel

if TYPE_CHECKING:
    from plugspace_queue.models import Task

LARGE = ("input", "context", "result")
"""Members that may be left out of a snapshot or a list."""

UNCOUNTED = 1024
"""Bytes of values that do not count in the budget: a waiting task needs more without any value."""

ALWAYS = 256
"""Bytes up to which a value is always part of a copy."""


class _Outgoing(DeferredModel):
    """Base of what we send: camelCase names, and no look at what our own rows hold."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    def to_wire(self) -> dict[str, Any]:
        """Strict JSON data: camelCase keys, absent instead of null."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class TaskContext(_Outgoing):
    """Where the task stands in its chain; only feedback, maximum and parent are the caller's."""

    previous_tasks: list[str] = Field(default_factory=list)
    user_feedback: list[str] | None = None
    iteration_count: int = 0
    max_iterations: int = 0
    parent_task_id: str | None = None
    chained_tasks: list[str] | None = None


class TaskFailure(_Outgoing):
    """Why a task failed; `code` is stable, `retryable` tells whether another run may help."""

    message: str
    code: str
    stack: str | None = None
    retryable: bool = False


class TaskProgress(_Outgoing):
    """How far a running task is: 0 to 100 and what it is at."""

    percent: float
    stage: str | None = None


class TaskMetrics(_Outgoing):
    """Times (UTC), `duration` in ms of the last attempt, tokens and cost over all attempts."""

    queued_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration: int | None = None
    tokens_used: int = 0
    cost: float = 0.0
    currency: str = "USD"


class AgentTask(_Outgoing):
    """A task as everybody outside sees it."""

    id: str
    type: TaskType
    project_id: str
    organization_id: str
    user_id: str
    priority: int = Field(ge=0, le=3)
    input: dict[str, Any] | None
    context: TaskContext | None
    status: Status
    state: State
    result: Any = None
    error: TaskFailure | None = None
    progress: TaskProgress | None = Field(
        default=None,
        description="Absent, not 0, until the attempt has reported some; the next one begins anew.",
    )
    metrics: TaskMetrics
    retry_count: int
    max_retries: int
    ttl: int = Field(description="Seconds the task may wait for its first start.")
    attempt: int = Field(description="Executions begun, from 1.")
    recovery_count: int
    deferral_count: int
    workflow_id: str | None = None
    step: int | None = None
    step_name: str | None = Field(
        default=None, description="In its workflow's kind; absent where it is the type."
    )
    run_at: datetime | None = Field(default=None, description="Not before; set while it waits.")
    cancel_requested_at: datetime | None = None
    input_omitted: bool | None = Field(
        default=None,
        description="Left out of a list: above SNAPSHOT_LIMIT bytes of JSON. The task has it.",
    )
    context_omitted: bool | None = None
    result_omitted: bool | None = None


INTERNAL = frozenset({"stack", "detail", "refunds"})
"""Keys of a stored error that are for staff or for us."""


OURS = frozenset({"detail", "refunds"})
"""Keys of a stored error that are on no wire."""


def without_internals(error: dict[str, Any]) -> dict[str, Any]:
    """A stored error as tenants may see it."""
    return {key: value for key, value in error.items() if key not in INTERNAL}


def agent_task(task: "Task") -> AgentTask:
    """The wire form of a row, input, context and result complete."""
    large = {"input": task.input, "context": task.context, "result": task.result}
    return AgentTask.model_validate(_wire(task) | large)


def snapshot(task: "Task", unread: Collection[str] = ()) -> str:
    """JSON of the AgentTask without what is larger than SNAPSHOT_LIMIT, as lists have it.

    `unread` are columns known to be larger: they are not looked at.
    """
    text = json_text.encode(_wire(task))[:-1]
    limit = get_settings().snapshot_limit
    for name in LARGE:
        text += _omitted(name) if name in unread else _spliced(task, name, limit)
    return text + "}"


class Values(NamedTuple):
    """Members of a task's JSON that are written while its organization's budget has room."""

    all: str
    lean: str
    """The same without large values, for an exhausted budget."""


class Copy(NamedTuple):
    """What `plugspace:task:{id}` holds: JSON, and values that count in the budget."""

    text: str
    values: Values | None = None


def copy_of(task: "Task", apart: Collection[str] = ()) -> Copy:
    """The copy of a task for Redis, without the values named `apart`.

    Like its snapshot, but without the parts of a failure for staff, which show code and paths.
    """
    text = json_text.encode(_for_all(_wire(task)))[:-1]
    return _with_values(task, text, [name for name in LARGE if name not in apart])


def _with_values(task: "Task", text: str, names: Sequence[str]) -> Copy:
    """A copy that begins with this text and contains the named values, as the budget allows."""
    limit = get_settings().snapshot_limit
    members = "".join(_spliced(task, name, limit) for name in names)
    if json_text.bytes_of(members) <= UNCOUNTED:
        return Copy(f"{text}{members}}}")
    lean = "".join(_spliced(task, name, min(limit, ALWAYS)) for name in names)
    return Copy(f"{text}}}", Values(members, lean))


def _for_all(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"error": without_internals(fields["error"])} if "error" in fields else fields


def new_copy(task: "Task") -> Copy:
    """What `copy_of` gives for a task that was never started, by a template."""
    workflow = ""
    if task.workflow_id:
        named = step_member(task.step_name, task.type)
        workflow = f',"workflowId":"{task.workflow_id}","step":{task.step}{named}'
    run_at = f',"runAt":"{_moment(task.wake_at)}"' if task.wake_at else ""
    text = (
        f'{{"id":"{task.id}","type":"{task.type}","projectId":{quoted(task.project_id)},'
        f'"organizationId":"{task.organization_id}","userId":{quoted(task.user_id)},'
        f'"priority":{task.priority},"status":"pending","state":"{task.state}",'
        f'"metrics":{{"tokensUsed":0,"cost":0.0,"currency":{quoted(get_settings().currency)},'
        f'"queuedAt":"{_moment(task.queued_at)}"}},"retryCount":0,"maxRetries":{task.max_retries},'
        f'"ttl":{task.ttl},"attempt":0,"recoveryCount":0,"deferralCount":0{workflow}{run_at}'
    )
    return _with_values(task, text, ("input", "context"))


def step_member(step_name: str, task_type: str) -> str:
    """The member of a task's JSON that names its step; empty where that is the type."""
    return "" if step_name in ("", task_type) else f',"stepName":"{step_name}"'


def added_event(task: "Task", now: datetime) -> str:
    """The event `taskAdded` of a task that was just stored, by a template."""
    workflow = f'"{task.workflow_id}"' if task.workflow_id else "null"
    queued = round(task.queued_at.timestamp() * 1_000_000)
    return (
        f'{{"name":"taskAdded","type":"{task.type}","jobId":"{task.id}",'
        f'"organizationId":"{task.organization_id}","projectId":{quoted(task.project_id)},'
        f'"workflowId":{workflow},"state":"{task.state}","at":"{now.isoformat()}",'
        f'"key":"{task.id}:{task.fence}:taskAdded:{queued}"}}'
    )


def _moment(moment: datetime) -> str:
    """A time in UTC in the format of the JSON serializer."""
    return f"{moment.replace(tzinfo=None).isoformat()}Z"


def text_of(task: "Task", name: str) -> str:
    """JSON of the task's input, context or result, written once for each value.

    A value that is changed in place is not seen: give the task another one. A text of more
    characters than SNAPSHOT_LIMIT is not kept.
    """
    value = getattr(task, name)
    kept: dict[str, tuple[Any, str]] = task.__dict__.setdefault("_texts", {})
    known, text = kept.get(name, (None, ""))
    if known is not value or not text:
        text = json_text.encode(value)
        if len(text) <= get_settings().snapshot_limit:
            kept[name] = (value, text)
    return text


def _spliced(task: "Task", name: str, limit: int) -> str:
    if name == "result" and task.result is None:
        return ""
    # Encoded apart, so that the size is known without encoding twice.
    text = text_of(task, name)
    is_large = json_text.bytes_of(text) > limit
    return _omitted(name) if is_large else f',"{name}":{text}'


def _omitted(name: str) -> str:
    return f',"{name}":null,"{name}Omitted":true'


def _wire(task: "Task") -> dict[str, Any]:
    """Everything but input, context and result; absent instead of null."""
    fields: dict[str, Any] = {
        "id": str(task.id),
        "type": str(task.type),
        "projectId": task.project_id,
        "organizationId": task.organization_id,
        "userId": task.user_id,
        "priority": task.priority,
        "status": STATUSES[State(task.state)].value,
        "state": str(task.state),
        "metrics": _metrics(task),
        "retryCount": task.retry_count,
        "maxRetries": task.max_retries,
        "ttl": task.ttl,
        "attempt": task.attempt_count,
        "recoveryCount": task.recovery_count,
        "deferralCount": task.deferral_count,
    }
    if task.workflow_id is not None:
        fields |= {"workflowId": str(task.workflow_id), "step": task.step}
        if step_member(task.step_name, task.type):
            fields["stepName"] = task.step_name
    if task.error is not None:
        fields["error"] = {key: task.error[key] for key in task.error if key not in OURS}
    if task.progress is not None:
        fields["progress"] = task.progress
    if task.wake_at is not None:
        fields["runAt"] = task.wake_at
    if task.cancel_requested_at is not None:
        fields["cancelRequestedAt"] = task.cancel_requested_at
    return fields


def _metrics(task: "Task") -> dict[str, Any]:
    fields: dict[str, Any] = {
        "tokensUsed": task.tokens_used,
        "cost": float(task.cost),
        "currency": get_settings().currency,
        "queuedAt": task.queued_at,
    }
    if task.started_at is not None:
        fields["startedAt"] = task.started_at
    if task.completed_at is not None:
        fields["completedAt"] = task.completed_at
    if task.duration is not None:
        fields["duration"] = task.duration
    return fields
