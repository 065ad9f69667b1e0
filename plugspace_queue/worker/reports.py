"""The log records and the metrics of a commit."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence

from plugspace_queue import metrics, task_log
from plugspace_queue.db.attempts import StartedTask
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import Outcome, State
from plugspace_queue.errors import WORKER_LOST
from plugspace_queue.models import Attempt
from plugspace_queue.processing.outcome import Failure
from plugspace_queue.task_log import EndedAttempt
from plugspace_queue.worker.commit import CommitBatch
from plugspace_queue.worker.completion import Completion

WILL_RETRY = frozenset({Outcome.RETRY, Outcome.DEFERRED, Outcome.LOST})

_LOST = Failure(code=WORKER_LOST, message="The process of this attempt died.", retryable=True)


def log_changes(batch: CommitBatch) -> None:
    """Log the changes of state if that log is enabled."""
    if task_log.wants_changes():
        task_log.changed([row.task_id for row in batch.started], State.PROCESSING)
        for one in batch.recorded:
            task_log.changed([one.update.task_id], one.update.state, State.PROCESSING)


def to_log(batch: CommitBatch) -> list[Completion]:
    """The endings to log: failures, and successes if their log is enabled."""
    all_of_them = task_log.wants_successes()
    return [
        one
        for one in batch.completions
        if all_of_them or one.result.outcome is not Outcome.COMPLETE
        if one.key in batch.written or _was_recorded(one)
    ]


def _was_recorded(one: Completion) -> bool:
    """Whether an earlier commit wrote this ending although its answer got lost."""
    ended = Attempt.objects.filter(task_id=uuid.UUID(one.update.task_id), fence=one.update.fence)
    return ended.filter(outcome=one.update.outcome).exists()


def ended_attempt(one: Completion) -> EndedAttempt:
    """An ended attempt as the log and the signal report it."""
    row, result = one.execution.row, one.result
    failure = result.failure or (_LOST if result.outcome is Outcome.LOST else None)
    is_failure = failure is not None and result.outcome in task_log.FAILURES
    return EndedAttempt(
        task_id=row.task_id,
        type=row.type,
        organization_id=row.organization_id,
        attempt=row.attempt_count,
        retry_count=one.update.retry_count,
        worker=row.worker_name,
        outcome=result.outcome,
        will_retry=result.outcome in WILL_RETRY,
        is_last=result.outcome is Outcome.FAILED,
        code=failure.code if failure else None,
        error=failure.whole_message if failure else None,
        exception=failure.as_exception() if failure and is_failure else None,
    )


def measure(batch: CommitBatch) -> None:
    """Count waits of started and durations and outcomes of ended attempts, in memory, per batch."""
    counts: metrics.Counts = Counter()
    _add_waits(counts, batch.started)
    _add_runs(counts, batch.recorded)
    if counts:
        metrics.add(counts)


def _add_waits(counts: metrics.Counts, started: Sequence[StartedTask]) -> None:
    waits: defaultdict[str, list[float]] = defaultdict(list)
    for row in started:
        # Only first runs, and no steps that had to wait for their parents.
        if not (row.retry_count or row.deferral_count or row.recovery_count or row.step):
            waits[row.type].append((row.started_at - row.queued_at).total_seconds())
    for kind, seconds in waits.items():
        metrics.observe_all(counts, metrics.WAIT, seconds, kind)


def _add_runs(counts: metrics.Counts, recorded: Sequence[Completion]) -> None:
    runs: defaultdict[str, list[float]] = defaultdict(list)
    ends: Counter[tuple[str, str, State, int]] = Counter()
    for one in recorded:
        row, update = one.execution.row, one.update
        runs[row.type].append(update.duration / 1000)
        ends[row.type, update.outcome.value, update.state, row.priority] += 1
    for kind, seconds in runs.items():
        metrics.observe_all(counts, metrics.RUN, seconds, kind)
    for (kind, outcome, state, priority), number in ends.items():
        counts[metrics.field(metrics.ATTEMPTS, kind, outcome)] += number
        if state in lifecycle.FINAL:
            counts[metrics.field(metrics.ENDED, kind, state.value, str(priority))] += number
