"""Django signals of the events, sent in the process where a task settles.

Receivers get `sender=Task`, `task` and the event's `payload`; those of `task_attempt_failed` what
stands below it. A receiver that raises is logged
and changes nothing (`send_robust`).
"""

from typing import Any

from django.dispatch import Signal

from plugspace_queue.domain.enums import EventName


class TaskSignal(Signal):
    """A signal whose receivers need no name: `functools.partial` and objects with `__call__`."""

    def _log_robust_failure(self, receiver: Any, err: Exception) -> None:
        """Leave it to the sender, who knows the task.

        Django logs `receiver.__qualname__`, which raises in `send_robust` where there is none.
        """


task_added = TaskSignal()
task_started = TaskSignal()
task_progress = TaskSignal()
task_retrying = TaskSignal()
task_completed = TaskSignal()
task_failed = TaskSignal()
task_cancelled = TaskSignal()
task_expired = TaskSignal()

task_attempt_failed = TaskSignal()
"""Sent in the worker for each attempt that failed, one that is retried too: task_id, type,
organization_id, attempt, exception, will_retry."""

SIGNALS: dict[EventName, Signal] = {
    EventName.ADDED: task_added,
    EventName.STARTED: task_started,
    EventName.PROGRESS: task_progress,
    EventName.RETRYING: task_retrying,
    EventName.COMPLETED: task_completed,
    EventName.FAILED: task_failed,
    EventName.CANCELLED: task_cancelled,
    EventName.EXPIRED: task_expired,
}
