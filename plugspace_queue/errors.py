"""Every error of the package: one root, a stable code each; the docstring is the default message.

Two families: what the queue refuses (`QueueError`, with an HTTP status), and how an attempt failed
(`TaskError`, with its retry class). A processor raises the second kind. Messages of the first are
in the language of the caller, those of the second are stored, and so in English.
"""

from typing import Any, ClassVar

from django.apps import apps
from django.utils.translation import gettext


def translated(text: str) -> str:
    """The text in the language in force; as it is until Django has started.

    Types, kinds and processors are declared, and refused, before translations can be loaded.
    """
    return gettext(text) if apps.ready else text


class QueueError(Exception):
    """Something went wrong in the queue."""

    code: ClassVar[str] = "QUEUE_ERROR"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(str(message) or translated((self.__doc__ or "").strip()))
        self.details = {name: value for name, value in details.items() if value is not None}

    @property
    def message(self) -> str:
        """One sentence for people; never holds secrets or another organization's data."""
        return str(self)


class ValidationRefused(QueueError):
    """The input is not valid for this task type; `details["errors"]` lists what and where."""

    code = "VALIDATION_ERROR"
    http_status = 400


class AuthenticationRefused(QueueError):
    """No valid credentials were given."""

    code = "AUTHENTICATION_ERROR"
    http_status = 401


class PermissionRefused(QueueError):
    """These credentials do not allow that."""

    code = "PERMISSION_DENIED"
    http_status = 403


class OrganizationSuspended(QueueError):
    """This organization is suspended; it can read but not submit."""

    code = "ORGANIZATION_SUSPENDED"
    http_status = 403


class TenantCallableFailed(QueueError):
    """This site could not tell who sent the request; its operators find the reason in the log."""

    code = "TENANT_CALLABLE_FAILED"


class NotFound(QueueError):
    """No such task, workflow or export in this organization."""

    code = "NOT_FOUND"
    http_status = 404


class OrganizationUnknown(QueueError):
    """No such organization; create it with queue_manager.set_organization(id, tier=...)."""

    code = "ORGANIZATION_UNKNOWN"
    http_status = 404


class QuotaExceeded(QueueError):
    """The monthly quota for this task type is used up; it is renewed with the next month (UTC)."""

    code = "QUOTA_EXCEEDED"
    http_status = 402
    organization_id: str = ""
    """Whose quota; not in the response, as it is the caller's own."""


class InvalidState(QueueError):
    """The task is in a state that does not allow this."""

    code = "INVALID_STATE"
    http_status = 409


class IdempotencyConflict(QueueError):
    """This idempotency key was used before with other arguments; take a new key."""

    code = "IDEMPOTENCY_CONFLICT"
    http_status = 409


class PayloadTooLarge(QueueError):
    """The input is larger than the limit."""

    code = "PAYLOAD_TOO_LARGE"
    http_status = 413


class RequestRateLimited(QueueError):
    """Too many requests of this organization; try again when the window is over."""

    code = "REQUEST_RATE_LIMITED"
    http_status = 429

    def __init__(self, message: str = "", *, retry_after: float, **details: Any) -> None:
        super().__init__(message, retry_after=retry_after, **details)
        self.retry_after = retry_after


class TooManyStreams(RequestRateLimited):
    """Too many event streams or polls of this organization or credential at once; close some."""


class Unavailable(QueueError):
    """Redis or the database does not answer at the moment; nothing was lost, try again soon."""

    code = "UNAVAILABLE"
    http_status = 503
    retry_after: float = 2.0


class TaskFailed(QueueError):
    """The task that was waited for has failed, was cancelled, or expired."""

    code = "TASK_FAILED"
    task: Any
    """The task's row; of a workflow, the step's."""

    def __init__(self, message: str = "", *, task: Any, code: str = "") -> None:
        super().__init__(message, task_id=str(task.pk))
        self.task = task
        self.code = code or type(self).code  # type: ignore[misc]


class WaitTimeout(QueueError, TimeoutError):
    """The task or workflow has not ended in time; it goes on, and can be waited for again."""

    code = "WAIT_TIMEOUT"


class InvalidTransition(QueueError):
    """The table of transitions does not know this change of state."""

    code = "INVALID_TRANSITION"


class ProcessorConflict(QueueError):
    """This task type has a processor already; pass replace=True to take its place."""

    code = "PROCESSOR_CONFLICT"


class InvalidProcessor(QueueError, ValueError):
    """This cannot be a processor, or not with these options; `details["option"]` names which."""

    code = "INVALID_PROCESSOR"


class InvalidTaskType(QueueError, ValueError):
    """This cannot be declared as a task type; `details["option"]` names what is wrong."""

    code = "INVALID_TASK_TYPE"


class TaskTypeReserved(InvalidTaskType):
    """This name of a task type is reserved; take another one."""

    code = "TASK_TYPE_RESERVED"


class TaskTypeConflict(QueueError):
    """This task type is declared already; pass replace=True to change it."""

    code = "TASK_TYPE_CONFLICT"


class CatalogFrozen(QueueError):
    """Task types and kinds are declared while Django starts, in task_types.py of an app."""

    code = "CATALOG_FROZEN"


class InvalidKind(QueueError, ValueError):
    """This cannot be declared as a workflow kind; `details["reason"]` names what is wrong."""

    code = "INVALID_KIND"


class KindConflict(QueueError):
    """This workflow kind is declared already; pass replace=True to change it."""

    code = "KIND_CONFLICT"


WORKER_LOST = "WORKER_LOST"
"""The code of attempts whose process died, and of tasks that this happened to too often."""


class TaskError(Exception):
    """The task failed for a reason that another run would not mend."""

    code: str = "INTERNAL_ERROR"
    retryable: bool = False
    refunds: ClassVar[bool] = False
    """Whether the task is refunded when it fails with this, whatever `REFUND_ON` says."""

    def __init__(
        self, message: str = "", *, code: str | None = None, retryable: bool | None = None
    ) -> None:
        super().__init__(message or (self.__doc__ or "").strip())
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable


class RateLimited(TaskError):
    """The provider answered 429; the task waits and burns no retry."""

    code = "RATE_LIMITED"
    retryable = True

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TaskTimeout(TaskError):
    """The attempt did not finish within its timeout."""

    code = "TIMEOUT"
    retryable = True


class ExternalServiceError(TaskError):
    """A service this task needs failed."""

    code = "EXTERNAL_SERVICE_ERROR"
    retryable = True


class ValidationFailed(TaskError):
    """The processor found the input not valid."""

    code = "VALIDATION_ERROR"


class OutdatedInput(ValidationFailed):
    """The stored input is not valid for the present model of its task type; it is refunded."""

    refunds = True


class AuthenticationFailed(TaskError):
    """The provider refused the credentials."""

    code = "AUTHENTICATION_ERROR"


class MaxIterations(TaskError):
    """The workflow has reached its last iteration."""

    code = "MAX_ITERATIONS"


class InvalidResult(TaskError):
    """The processor returned something that is not valid for this task type."""

    code = "INVALID_RESULT"


class TaskCancelled(TaskError):
    """The task was cancelled while it ran."""

    code = "CANCELLED"


class WorkerStopping(TaskError):
    """The worker stops; the task is handed back and runs again elsewhere, nothing is burned."""

    code = "HANDED_BACK"
