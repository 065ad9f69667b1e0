"""One attempt of a task, from the registered processor to the decision what follows."""


def perform(task_id: str) -> None:
    """What the job of a task names; never called, our worker goes by the row.

    A stock RQ worker that is pointed at our queues ends up here.
    """
    raise RuntimeError(
        f"Task {task_id} is run by plugspace_queue's worker: manage.py rqworker <queue>."
    )
