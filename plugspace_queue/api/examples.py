"""Examples of the document: bodies and responses by operation, and a problem of each code."""

from typing import Any

from plugspace_queue import errors
from plugspace_queue.api import exceptions
from plugspace_queue.api.spectacular import OpenApiExample
from plugspace_queue.errors import QueueError

TASK_ID = "019b76da-a800-7c3e-9f6e-1d2f5b0c4a11"
WORKFLOW_ID = "019b76da-a900-7a51-8d0e-5c7f2e9b6d22"
STEP_IDS = [TASK_ID, "019b76da-a901-7b02-b1aa-3e4d5f6a7b33", "019b76da-a902-7c13-92bb-4f5e6a7b8c44"]
ADDED_AT = "2026-01-01T00:00:00Z"

NEW_TASK = {"type": "ARCHITECT", "projectId": "bakery", "input": {"prompt": "A site for a bakery"}}
NEW_WORKFLOW = {"projectId": "bakery", "input": {"prompt": "A site for a bakery"}}
REASON = {"reason": "ordered twice"}

TASK = {
    **NEW_TASK,
    "id": TASK_ID,
    "organizationId": "acme",
    "userId": "key:psq_CvLaWkaf",
    "priority": 1,
    "context": {"previousTasks": [], "iterationCount": 0, "maxIterations": 10},
    "status": "pending",
    "state": "waiting",
    "metrics": {"queuedAt": ADDED_AT, "tokensUsed": 0, "cost": 0.0, "currency": "USD"},
    "retryCount": 0,
    "maxRetries": 3,
    "ttl": 3600,
    "attempt": 0,
    "recoveryCount": 0,
    "deferralCount": 0,
}
STATE = {"id": TASK_ID, "state": "cancelled", "status": "failed"}
WORKFLOW = {
    **NEW_WORKFLOW,
    "id": WORKFLOW_ID,
    "kind": "create",
    "organizationId": "acme",
    "userId": "key:psq_CvLaWkaf",
    "status": "pending",
    "createdAt": ADDED_AT,
    "taskIds": STEP_IDS,
}
DETAIL = {**WORKFLOW, "tasks": [{**TASK, "workflowId": WORKFLOW_ID, "step": 0}]}
QUEUE = {
    "type": "CODE",
    "waiting": 12,
    "active": 3,
    "completed": 8123,
    "failed": 40,
    "delayed": 1,
    "isPaused": False,
    "concurrency": 3,
    "globalConcurrency": None,
    "organizationConcurrency": None,
    "defaultPriority": 2,
    "limiter": {"max": 50, "duration": 60.0},
    "policy": "strict",
    "overrides": [],
}
ORGANIZATION = {
    "id": "acme",
    "name": "Acme",
    "tier": "professional",
    "isSuspended": False,
    "isPaused": False,
    "createdAt": ADDED_AT,
}
USAGE = {
    "organizationId": "acme",
    "tier": "professional",
    "month": "2026-01",
    "periodEnd": "2026-02-01T00:00:00Z",
    "usage": {
        "ARCHITECT": {
            "used": 2,
            "quota": 550,
            "remaining": 548,
            "granted": 50,
            "overrides": [{"key": "grant", "value": 50, "endsAt": "2026-02-01T00:00:00Z"}],
        }
    },
    "requests": {"limit": 100, "duration": 60.0, "used": 2, "remaining": 98, "reset": 41},
}
GRANT = {
    "id": 7,
    "type": "CODE",
    "key": "grant",
    "value": 50,
    "duration": None,
    "state": "active",
    "startsAt": ADDED_AT,
    "endsAt": "2026-02-01T00:00:00Z",
    "reason": "launch",
    "author": "kim",
    "createdAt": ADDED_AT,
}
OVERRIDE = {**GRANT, "id": 8, "key": "limiter", "value": 200, "duration": 60.0}
EVENT = {
    "id": "1767225600120-0",
    "name": "taskAdded",
    "type": "ARCHITECT",
    "jobId": TASK_ID,
    "organizationId": "acme",
    "projectId": "bakery",
    "workflowId": None,
    "state": "waiting",
    "at": ADDED_AT,
    "key": f"{TASK_ID}:0:taskAdded:1767225600000000",
}
EXPLANATION = {
    "taskId": TASK_ID,
    "type": "ARCHITECT",
    "organizationId": "acme",
    "state": "waiting",
    "status": "pending",
    "reason": "queue_paused",
    "sentence": "The queue is paused.",
    "also": [],
    "blockedBy": [],
    "gates": [{"gate": "queue_paused", "verdict": "shut"}],
}

SENT: dict[str, Any] = {
    "addTask": NEW_TASK,
    "addTasks": {"tasks": [{**NEW_TASK, "idempotencyKey": "order-1"}, NEW_TASK]},
    "addWorkflow": NEW_WORKFLOW,
    "cancelTask": REASON,
    "retryTask": REASON,
    "cancelWorkflow": REASON,
    "retryWorkflow": REASON,
    "pauseQueue": {"reason": "the model is down"},
    "resumeQueue": {"reason": "it is back"},
    "changeQueue": {
        "limiter": {"max": 20, "duration": 60},
        "policy": "weighted",
        "reason": "launch",
    },
    "changeOrganization": {"tier": "professional", "reason": "paid"},
    # Without `until`: an example must not be over.
    "addGrant": {"type": "CODE", "amount": 50, "reason": "launch"},
    "addOverride": {"limiter": {"max": 200, "duration": 60}, "reason": "launch"},
}
ANSWERED: dict[str, Any] = {
    "listTasks": {"results": [TASK], "next": None, "previous": None},
    "addTask": TASK,
    "addTasks": {"results": [TASK]},
    "getTask": TASK,
    "explainTask": EXPLANATION,
    "cancelTask": STATE,
    "retryTask": TASK,
    "listWorkflows": {"results": [WORKFLOW], "next": None, "previous": None},
    "addWorkflow": {"workflowId": WORKFLOW_ID, "taskIds": STEP_IDS},
    "getWorkflow": DETAIL,
    "cancelWorkflow": DETAIL,
    "retryWorkflow": DETAIL,
    "listQueues": {"results": [QUEUE]},
    "getQueue": QUEUE,
    "changeQueue": QUEUE,
    "pauseQueue": QUEUE | {"isPaused": True},
    "resumeQueue": QUEUE,
    "getOrganization": ORGANIZATION,
    "changeOrganization": ORGANIZATION,
    "getUsage": USAGE,
    "listGrants": {"results": [GRANT]},
    "addGrant": GRANT,
    "endGrant": GRANT | {"state": "ended"},
    "listOverrides": {"results": [OVERRIDE]},
    "addOverride": {"results": [OVERRIDE]},
    "endOverride": OVERRIDE | {"state": "ended"},
    "listenToTask": {"results": [EVENT], "cursor": EVENT["id"], "hasMore": False},
    "listenToWorkflow": {"results": [EVENT], "cursor": EVENT["id"], "hasMore": False},
    "listenToOrganization": {"results": [EVENT], "cursor": EVENT["id"], "hasMore": False},
}

_MISSING = {"loc": ["projectId"], "msg": "Field required", "type": "missing"}
REFUSED: tuple[QueueError, ...] = (
    errors.ValidationRefused("projectId: Field required", errors=[_MISSING]),
    errors.AuthenticationRefused("Send an API key: Authorization: Bearer psq_…"),
    errors.QuotaExceeded(type="CODE", wanted=1, used=50, limit=50),
    errors.PermissionRefused("This needs the scope submit.", scope="submit"),
    errors.OrganizationSuspended(),
    errors.NotFound(),
    errors.OrganizationUnknown("No such organization among yours."),
    errors.InvalidState(),
    errors.IdempotencyConflict(),
    exceptions.LengthRequired(),
    errors.PayloadTooLarge(limit=327_680),
    errors.RequestRateLimited(retry_after=12.5, used=100, limit=100),
    errors.Unavailable(),
)
OTHERS: tuple[QueueError, ...] = (
    exceptions.MethodNotAllowed(),
    exceptions.NotAcceptable(),
    exceptions.UnsupportedMediaType(),
    exceptions.InternalError(),
    errors.TenantCallableFailed(),
)


def of_operation(operation_id: str | None) -> list[OpenApiExample]:
    """The examples of the body and of the response of an operation."""
    name = operation_id or ""
    sent = [OpenApiExample("sent", SENT[name], request_only=True)] if name in SENT else []
    if name not in ANSWERED:
        return sent
    codes = ["200", "201", "202"]
    return [
        *sent,
        OpenApiExample("answered", ANSWERED[name], response_only=True, status_codes=codes),
    ]


def of_problems(refusals: tuple[QueueError, ...]) -> list[OpenApiExample]:
    """The problem of each of these errors, as it is sent."""
    return [OpenApiExample(error.code, exceptions.problem(error).data) for error in refusals]


def with_status(status: int) -> tuple[QueueError, ...]:
    """The errors with this status."""
    return tuple(error for error in REFUSED if error.http_status == status)
