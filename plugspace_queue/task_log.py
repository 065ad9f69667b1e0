"""The log of tasks: one record per attempt that ended, and one per change of state at DEBUG.

Fields of a record: taskId, type, organization, attempt, error, code, retryCount, worker.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from plugspace_queue.domain.enums import Outcome

logger = logging.getLogger("plugspace_queue.tasks")

LONGEST_LINE = 300
"""Characters of an error in a record's own text; its field `error` has all of it."""

FAILURES = frozenset({Outcome.FAILED, Outcome.RETRY, Outcome.DEFERRED, Outcome.LOST})

WORDS = {
    Outcome.COMPLETE: "completed",
    Outcome.FAILED: "failed",
    Outcome.RETRY: "failed and will be retried",
    Outcome.DEFERRED: "was rate limited and will be retried",
    Outcome.CANCELLED: "was cancelled",
    Outcome.HANDED_BACK: "was handed back",
    Outcome.LOST: "was lost with its worker",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedAttempt:
    """How one attempt ended; `exception` is there when it failed."""

    task_id: str
    type: str
    organization_id: str
    attempt: int
    retry_count: int
    worker: str
    outcome: Outcome
    will_retry: bool = False
    is_last: bool = False
    """Whether the task has failed with it."""
    code: str | None = None
    error: str | None = None
    exception: BaseException | None = None

    @property
    def is_failure(self) -> bool:
        return self.outcome in FAILURES

    @property
    def level(self) -> int:
        if not self.is_failure:
            return logging.INFO
        return logging.ERROR if self.is_last else logging.WARNING


def wants_successes() -> bool:
    """Whether anybody reads records of attempts that did not fail."""
    return logger.isEnabledFor(logging.INFO)


def attempt_ended(ended: EndedAttempt) -> None:
    """Log it at the level of its outcome: failed, retried, or neither."""
    if not logger.isEnabledFor(ended.level):
        return
    exception = ended.exception
    logger.log(
        ended.level,
        "%s task %s of %s: attempt %d %s%s",
        ended.type,
        ended.task_id,
        ended.organization_id,
        ended.attempt,
        WORDS[ended.outcome],
        f": {ended.code}: {_one_line(ended.error or '')}" if ended.code else "",
        exc_info=exception and (type(exception), exception, exception.__traceback__),
        extra={
            "taskId": ended.task_id,
            "type": ended.type,
            "organization": ended.organization_id,
            "attempt": ended.attempt,
            "error": ended.error,
            "code": ended.code,
            "retryCount": ended.retry_count,
            "worker": ended.worker,
        },
    )


def _one_line(text: str) -> str:
    """The first line: what a task says must not look like another record."""
    lines = text.splitlines()
    return lines[0][:LONGEST_LINE] if lines else ""


def wants_changes() -> bool:
    """Whether anybody reads records of changes of state."""
    return logger.isEnabledFor(logging.DEBUG)


def changed(task_ids: Iterable[object], state: str, previous: str | None = None) -> None:
    """Log that these tasks have this state by now."""
    if not wants_changes():
        return
    for task_id in task_ids:
        logger.debug(
            "task %s is %s",
            task_id,
            str(state),
            extra={
                "taskId": str(task_id),
                "state": str(state),
                "previousState": None if previous is None else str(previous),
            },
        )


def change_on_commit(
    task_ids: Sequence[Any], state: str, previous: str | None = None, *, using: str
) -> None:
    """The same when the transaction commits that changes them."""
    if task_ids and wants_changes():
        transaction.on_commit(lambda: changed(task_ids, state, previous), using=using, robust=True)
