"""What a group commit started and ended is told to the log, and each failure to a signal.

After Redis was told: a log or a receiver that is slow keeps no slot and no lease.
"""

from plugspace_queue import announcing, task_log
from plugspace_queue.domain.enums import Outcome, State
from plugspace_queue.errors import WORKER_LOST
from plugspace_queue.models import Attempt
from plugspace_queue.processing.outcome import Failure
from plugspace_queue.task_log import EndedAttempt
from plugspace_queue.worker.closing import Closing
from plugspace_queue.worker.commit import Batch

WILL_RETRY = frozenset({Outcome.RETRY, Outcome.DEFERRED, Outcome.LOST})


def changes_of(batch: Batch) -> None:
    """Log the changes of state, where anybody reads them."""
    if task_log.wants_changes():
        task_log.changed([task.pk for task in batch.started], State.PROCESSING)
        for one in batch.recorded:
            task_log.changed([one.finish.id], one.finish.state, State.PROCESSING)


def to_tell(batch: Batch) -> list[Closing]:
    """The endings that somebody hears of: failures, others when they are logged."""
    all_of_them = task_log.wants_successes()
    return [
        one
        for one in batch.closings
        if all_of_them or one.ending.outcome is not Outcome.COMPLETE
        if batch.is_recorded(one) or _was_recorded(one)
    ]


def _was_recorded(one: Closing) -> bool:
    """Whether its commit was made though the answer got lost; a refused one is another's."""
    ended = Attempt.objects.filter(task=one.finish.id, fence=one.finish.fence)
    return ended.filter(outcome=one.finish.outcome).exists()


def tell(one: Closing) -> None:
    """Log one ended attempt, and send the signal when it failed."""
    task, ending = one.run.task, one.ending
    failure = ending.failure or (_LOST if ending.outcome is Outcome.LOST else None)
    is_failure = failure is not None and ending.outcome in task_log.FAILURES
    announcing.attempt_ended(
        EndedAttempt(
            task_id=str(task.pk),
            type=task.type,
            organization_id=task.organization_id,
            attempt=one.run.number,
            retry_count=one.finish.retry_count,
            worker=task.worker_name,
            outcome=ending.outcome,
            will_retry=ending.outcome in WILL_RETRY,
            is_last=ending.outcome is Outcome.FAILED,
            code=failure.code if failure else None,
            error=failure.whole_message if failure else None,
            exception=failure.as_exception() if failure and is_failure else None,
        )
    )


_LOST = Failure(code=WORKER_LOST, message="The process of this attempt died.", retryable=True)
