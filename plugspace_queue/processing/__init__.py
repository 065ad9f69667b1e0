"""One attempt of a task: the registered processor, its execution, and the result."""


def perform(task_id: str) -> None:
    """The function named in a task's RQ job; plugspace_queue's worker never calls it.

    Only a stock RQ worker on these queues would call it, and then it raises.
    """
    raise RuntimeError(
        f"Task {task_id} is run by plugspace_queue's worker: manage.py rqworker <queue>."
    )
