"""What went wrong with a task that did not complete, and what helps."""

from collections.abc import Sequence
from dataclasses import dataclass

from plugspace_queue.domain.enums import State
from plugspace_queue.domain.redaction import redacted
from plugspace_queue.models import Task, task_queries

MOST_CAUSES = 5

HELPS = {
    "TIMEOUT": "It took longer than its processor may: raise the timeout, or give it less to do.",
    "RATE_LIMITED": "Its provider refused it for too long: retry when the provider's limit opens.",
    "EXTERNAL_SERVICE_ERROR": "A service that it needs did not answer: retry when that is back.",
    "VALIDATION_ERROR": "Its processor does not take such an input: a retry ends the same way.",
    "AUTHENTICATION_ERROR": "Its provider refused the credentials: renew them, then retry.",
    "QUOTA_EXCEEDED": "The month's quota is used up: raise the tier, then retry.",
    "MAX_ITERATIONS": "The workflow was refined as often as it may be.",
    "INVALID_RESULT": "Its processor returned what this type does not allow: mend it, then retry.",
    "WORKER_LOST": (
        "Workers died while they ran it, at last one that ran nothing else: look at the memory it"
        " takes, and at native code."
    ),
    "INTERNAL_ERROR": "Its processor raised what it does not handle: the stack says where.",
}
"""By the code of an error; a processor may have codes of its own."""


@dataclass(frozen=True, kw_only=True)
class FailureExplanation:
    """The error of a row, for people."""

    stack: str
    help: str
    runs: str
    causes: Sequence[Task]
    """Tasks it waited for that did not complete."""


def failure_of(task: Task) -> FailureExplanation | None:
    """What went wrong; None when nothing is written down."""
    error = redacted(task.error)
    if not isinstance(error, dict):
        return None
    return FailureExplanation(
        stack=str(error.get("stack", "")),
        help=HELPS.get(str(error.get("code", "")), ""),
        runs=_runs(task),
        causes=_causes(task),
    )


def _runs(task: Task) -> str:
    if not task.attempt_count:
        return "It never started."
    runs = "once" if task.attempt_count == 1 else f"{task.attempt_count} times"
    told = f"It ran {runs} and used {task.retry_count} of {task.max_retries} retries"
    if not task.recovery_count:
        return f"{told}."
    deaths = "a worker" if task.recovery_count == 1 else f"{task.recovery_count} workers"
    return f"{told}; {deaths} died under it."


def _causes(task: Task) -> list[Task]:
    """Only a task that never started was ended by another one."""
    if task.attempt_count or task.state != State.CANCELLED:
        return []
    ended = task_queries.parents_not_complete(task)
    return list(ended.only("id", "type", "state").order_by("pk")[:MOST_CAUSES])
