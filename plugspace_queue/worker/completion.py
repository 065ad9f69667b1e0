"""An ended attempt and the update of its row."""

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import DatabaseError, DataError

from plugspace_queue.db.attempts import Key, TaskUpdate
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import Outcome, State
from plugspace_queue.domain.fingerprint import LONGEST_CODE, fingerprint
from plugspace_queue.domain.text import fitting
from plugspace_queue.models import UsageEntry
from plugspace_queue.processing import outcome
from plugspace_queue.processing.execution import NOTHING, Execution
from plugspace_queue.processing.outcome import AttemptResult, Failure
from plugspace_queue.services.failure_counts import FailedTask
from plugspace_queue.worker.state import HeldLease

Counts = dict[str, tuple[int, int]]
"""(completed, failed) per task type."""


class Completion(NamedTuple):
    """One ended attempt and the update of its row."""

    held: HeldLease
    execution: Execution
    result: AttemptResult
    update: TaskUpdate

    @property
    def key(self) -> Key:
        return self.update.task_id, self.update.fence


def completion_of(
    held: HeldLease, execution: Execution, result: AttemptResult, now: datetime
) -> Completion:
    """The completion of an ended attempt; nothing is written here."""
    return Completion(held, execution, result, _update(execution, result, now))


def _update(execution: Execution, result: AttemptResult, now: datetime) -> TaskUpdate:
    row = execution.row
    is_final = result.state in lifecycle.FINAL
    return TaskUpdate(
        row.task_id,
        execution.fence,
        result.state,
        result.outcome,
        result.result_text,
        result.failure.as_json() if result.failure else None,
        # A task that runs again starts without progress.
        execution.progress if is_final else None,
        now if is_final else None,
        _milliseconds(execution, now),
        row.tokens_used + execution.tokens,
        row.cost + execution.cost if execution.cost else row.cost,
        row.retry_count + result.burns_retry,
        row.deferral_count + (result.outcome is Outcome.DEFERRED),
        row.recovery_count + result.counts_recovery,
        result.wake_at,
        execution.tokens,
        execution.cost,
        list(execution.log),
        *_cause(row.type, result),
    )


def _cause(task_type: str, result: AttemptResult) -> tuple[str, str]:
    """Code and fingerprint of a task that has ended without completing, else two empty texts."""
    failure = result.failure
    if failure is None or result.state not in lifecycle.FINAL:
        return "", ""
    code = fitting(failure.code, LONGEST_CODE)
    if result.state != State.FAILED:
        return code, ""
    # By its words for staff: those for tenants have a `[path]` in each place of a path.
    words = failure.whole_message
    return code, fingerprint(task_type, failure.class_name, words, failure.stack)


def failed_task(one: Completion) -> FailedTask:
    """A completion that has a fingerprint, as it is counted by its cause."""
    row, update, failure = one.execution.row, one.update, one.result.failure
    assert failure is not None and update.completed_at is not None
    return FailedTask(
        uuid.UUID(row.task_id),
        row.type,
        row.organization_id,
        update.completed_at,
        update.error_code,
        update.fingerprint,
        failure.whole_message,
        failure.class_name,
        failure.stack,
    )


def _milliseconds(execution: Execution, now: datetime) -> int:
    """How long the processor ran; 0 when its process never started."""
    if execution.began_at is None:
        return 0
    return max(round((now - execution.began_at).total_seconds() * 1000), 0)


def invalid(one: Completion, reason: str, now: datetime) -> Completion:
    """The same attempt as a failure, because the database rejects its data."""
    message = outcome.public(reason)
    detail = reason if reason != message else ""
    failure = Failure(code="INVALID_RESULT", message=message, detail=detail, retryable=False)
    execution = one.execution
    execution.log.clear()
    execution.percent = execution.stage = None
    execution.tokens, execution.cost = 0, NOTHING
    return completion_of(one.held, execution, outcome.failed(failure), now)


def reason_of(refusal: Exception) -> str:
    """What a tenant may read of it: further lines, and rules of tables, may tell of other rows."""
    if isinstance(refusal, DatabaseError) and not isinstance(refusal, DataError):
        return "it breaks a rule"
    return str(refusal).partition("\n")[0]


def completed_tasks(completions: Iterable[Completion]) -> list[str]:
    """The ids of tasks that completed."""
    return [one.update.task_id for one in completions if one.update.outcome is Outcome.COMPLETE]


def missed_steps(completions: Iterable[Completion]) -> list[str]:
    """The ids of steps that failed and that their workflows go on without."""
    failed = [one for one in completions if one.update.outcome is Outcome.FAILED]
    return [one.update.task_id for one in failed if one.execution.row.may_fail]


def usage_entries(recorded: Sequence[Completion], now: datetime) -> list[UsageEntry]:
    """What the attempts used, for the ledger; of those that used nothing, nothing."""
    return [
        UsageEntry(
            organization_id=one.execution.row.organization_id,
            type=one.execution.row.type,
            month=f"{now:%Y-%m}",
            reason=UsageEntry.Reason.SETTLE,
            tokens=one.update.attempt_tokens,
            cost=one.update.attempt_cost,
            task_id=uuid.UUID(one.update.task_id),
        )
        for one in recorded
        if one.update.attempt_tokens or one.update.attempt_cost
    ]


def added(one: Counts, other: Counts, sign: int = 1) -> Counts:
    """The sums per type, or the differences with `sign` -1; types with only zeros are left out."""
    pairs = [(kind, one.get(kind, (0, 0)), other.get(kind, (0, 0))) for kind in {*one, *other}]
    sums = {kind: (a[0] + sign * b[0], a[1] + sign * b[1]) for kind, a, b in pairs}
    return {kind: pair for kind, pair in sums.items() if any(pair)}


def counts_of(completions: Sequence[Completion]) -> Counts:
    """(completed, failed) per task type."""
    ends = Counter((one.execution.row.type, one.update.outcome) for one in completions)
    kinds = {kind for kind, outcome in ends if outcome in (Outcome.COMPLETE, Outcome.FAILED)}
    return {kind: (ends[kind, Outcome.COMPLETE], ends[kind, Outcome.FAILED]) for kind in kinds}
