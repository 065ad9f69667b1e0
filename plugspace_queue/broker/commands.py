"""RQ's commands to workers, sent over its channel."""

from redis import Redis
from rq.command import send_command

from plugspace_queue.broker.connection import client, guarded


def stop(task_id: str, worker_name: str, queue: str | None = None) -> None:
    """Ask a worker to stop the task, which may have ended already. Raises Unavailable."""
    _send(client(queue), worker_name, "stop-job", job_id=task_id)


def shut_down(worker_name: str, queue: str | None = None) -> None:
    """Ask a worker to end with the grace time, as by SIGTERM. Raises Unavailable."""
    _send(client(queue), worker_name, "shutdown")


@guarded
def _send(connection: Redis, /, worker_name: str, command: str, **arguments: str) -> None:
    send_command(connection, worker_name, command, **arguments)
