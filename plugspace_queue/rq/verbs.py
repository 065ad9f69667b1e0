"""What RQ's cancel, delete, empty and requeue do with a task: the manager cancels or retries it."""

# Imported at the call: RQ's own commands load these classes before Django is set up.


def cancel(task_id: str) -> None:
    """Cancel a task that has not ended. Raises `errors.QueueError`."""
    from plugspace_queue.manager import queue_manager

    queue_manager.cancel(task_id)


def retry(task_id: str, reason: str = "requeued by RQ's means") -> None:
    """Retry a task; the reason says why it costs nothing. Raises `errors.QueueError`."""
    from plugspace_queue.manager import queue_manager

    queue_manager.retry(task_id, charge=False, reason=reason, limit_requests=False)
