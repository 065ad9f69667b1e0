"""RQ's commands to workers, sent over its channel."""

from redis import Redis
from rq.command import send_command

from plugspace_queue.engine.connection import client, guarded


def stop(task_id: str, worker_name: str, queue: str = "architect") -> None:
    """Tell a worker to stop the task; it may be over already. Raises Unavailable."""
    _send(client(queue), worker_name, task_id)


@guarded
def _send(connection: Redis, worker_name: str, task_id: str) -> None:
    send_command(connection, worker_name, "stop-job", job_id=task_id)
