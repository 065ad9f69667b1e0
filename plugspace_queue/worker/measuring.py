"""What a group commit adds to the metrics: once a batch, in memory."""

from collections import Counter

from plugspace_queue import metrics
from plugspace_queue.domain import lifecycle
from plugspace_queue.metrics import Counts, field, observe
from plugspace_queue.models import Task
from plugspace_queue.worker.closing import Closing
from plugspace_queue.worker.commit import Batch


def measure(batch: Batch) -> None:
    """Waits of what started, runs and ends of what was recorded."""
    counts: Counts = Counter()
    for task in batch.started:
        if _starts_first(task):
            observe(counts, metrics.WAIT, _waited(task), task.type)
    for one in batch.recorded:
        _add_ending(counts, one)
    if counts:
        metrics.add(counts)


def _starts_first(task: Task) -> bool:
    """No rerun, and no step that had to wait for its parents."""
    return not (task.retry_count or task.deferral_count or task.recovery_count or task.step)


def _waited(task: Task) -> float:
    return 0.0 if task.started_at is None else (task.started_at - task.queued_at).total_seconds()


def _add_ending(counts: Counts, one: Closing) -> None:
    task, state = one.run.task, one.finish.state
    observe(counts, metrics.RUN, (one.finish.duration or 0) / 1000, task.type)
    counts[field(metrics.ATTEMPTS, task.type, one.ending.outcome.value)] += 1
    if state in lifecycle.FINAL:
        counts[field(metrics.ENDED, task.type, state.value, str(task.priority))] += 1
