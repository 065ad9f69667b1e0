"""Django signals of the events, sent in the process where a task settles.

Receivers get `sender=Task`, `task` and the event's `payload`. A receiver that raises is logged
and changes nothing (`send_robust`).
"""

from django.dispatch import Signal

from plugspace_queue.types import EventName

task_added = Signal()
task_started = Signal()
task_progress = Signal()
task_retrying = Signal()
task_completed = Signal()
task_failed = Signal()
task_cancelled = Signal()
task_expired = Signal()

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
