"""How far a running task is: newer in Redis than in its row, which is written at the end."""

import json
from dataclasses import dataclass

from plugspace_queue.broker import server
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import queue_of
from plugspace_queue.models import Task


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the processor last said."""

    percent: float
    stage: str


def progress_of(task: Task) -> Progress | None:
    """The progress of a task; None while nothing was said."""
    told = _live(task) if task.state == State.PROCESSING else None
    told = told or task.progress
    if not isinstance(told, dict) or not isinstance(told.get("percent"), int | float):
        return None
    return Progress(percent=told["percent"], stage=str(told.get("stage") or ""))


def _live(task: Task) -> object:
    text = server.task_snapshot(queue_of(task.type), str(task.pk))
    try:
        told = json.loads(text) if text else {}
    except ValueError:
        return None
    return told.get("progress") if isinstance(told, dict) else None
