"""Waits for a run to come to rest: nothing open in the rows, nothing left or wrong in Redis."""

import threading
import time

from django.db import close_old_connections

from plugspace_queue.models import Task
from tests.chaos import leftovers

POLL = 0.5


def settled(patience: float) -> float:
    """Seconds until nothing is open or left; ends when nothing changes for `patience` seconds."""
    began = changed = time.monotonic()
    last = None
    while (now := _state()) != (0, {}, {}) and time.monotonic() - changed < patience:
        if now != last:
            last, changed = now, time.monotonic()
        threading.Event().wait(POLL)
    return time.monotonic() - began


def _state() -> tuple[int, dict[str, int], dict[str, str]]:
    close_old_connections()
    if count := Task.objects.open().count():
        return count, {}, {}
    tasks = {str(task.pk): task for task in Task.objects.only("id", "state", "workflow_id")}
    return 0, leftovers.in_redis(), leftovers.stale_snapshots(tasks)
