"""Receivers of our Django signals in the worker's process: one keeps what it heard, one raises."""

import os
import threading
from typing import Any

from django_rq import get_connection

from plugspace_queue import signals

HEARD = "tests:signals:{}"
"""List of `name pid` by task id, in the queue's Redis."""


def connect() -> None:
    """Listen to all events of this process."""
    for signal in signals.SIGNALS.values():
        signal.connect(fall_over)
        signal.connect(keep)


def wait_for(name: str, task_id: str) -> None:
    """Return when this process has told the event of the task."""
    heard = f"{name} {os.getpid()}".encode()
    while heard not in get_connection("architect").lrange(HEARD.format(task_id), 0, -1):
        threading.Event().wait(0.01)


def keep(task: Any, payload: dict[str, Any], **kwargs: Any) -> None:
    get_connection("architect").rpush(HEARD.format(task.pk), f"{payload['name']} {os.getpid()}")


def fall_over(**kwargs: Any) -> None:
    raise RuntimeError("a receiver of the host fell over")
