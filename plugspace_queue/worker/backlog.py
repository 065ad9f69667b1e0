"""A backlog of messages whose rows another transaction has locked, so that they block no others."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from plugspace_queue.worker.state import Ended, Guard, Lost, Progressed, RowMessage

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 4.0
"""Seconds between two tries for one task."""


@dataclass(eq=False)
class DeferredTask:
    """The messages of one task, in their order, and when they are tried again."""

    task_id: str
    messages: list[RowMessage] = field(default_factory=list)
    pause: float = FIRST_PAUSE
    due_at: float = 0.0


class LockedBacklog:
    """Deferred tasks by id: the loop adds messages, the follow-up thread retries them."""

    def __init__(self) -> None:
        self._tasks: dict[str, DeferredTask] = {}
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def add(self, message: RowMessage) -> None:
        """Keep a message of one task (see `split`) for later."""
        with self._lock:
            self._add(message)

    def _add(self, message: RowMessage) -> None:
        task_id = task_of(message)
        task = self._tasks.get(task_id)
        if task is None:
            task = self._tasks[task_id] = DeferredTask(task_id)
            _postpone(task)
        if not _is_there_already(task, message):
            task.messages.append(message)

    def keep_back(self, messages: Sequence[RowMessage]) -> list[RowMessage]:
        """Defer messages of tasks that wait already, to keep their order; return the others."""
        if not self._tasks:
            return list(messages)
        free = []
        with self._lock:
            for message in split(messages):
                if task_of(message) in self._tasks:
                    self._add(message)
                else:
                    free.append(message)
        return free

    def due(self) -> DeferredTask | None:
        """The task that has been due the longest, if any is due."""
        with self._lock:
            first = self._first()
        return first if first is not None and first.due_at <= time.monotonic() else None

    def all(self) -> list[DeferredTask]:
        """All deferred tasks, due or not."""
        with self._lock:
            return list(self._tasks.values())

    def done(self, task: DeferredTask, count: int) -> None:
        """Remove the first `count` messages, now written; messages added meanwhile are due now."""
        with self._lock:
            del task.messages[:count]
            if task.messages:
                task.pause, task.due_at = FIRST_PAUSE, 0.0
            else:
                del self._tasks[task.task_id]

    def postpone(self, task: DeferredTask) -> None:
        """Schedule the next try after a failed one, and double the pause."""
        with self._lock:
            task.pause = min(task.pause * 2, LONGEST_PAUSE)
            _postpone(task)

    def make_all_due(self) -> None:
        """Make every deferred task due at once, because the worker stops."""
        with self._lock:
            for task in self._tasks.values():
                task.due_at = 0.0

    def wait_seconds(self) -> float | None:
        """Seconds until a task is due; None when the backlog is empty."""
        with self._lock:
            first = self._first()
        return None if first is None else max(first.due_at - time.monotonic(), 0.0)

    def _first(self) -> DeferredTask | None:
        return min(self._tasks.values(), key=lambda one: one.due_at, default=None)


def split(messages: Sequence[RowMessage]) -> list[RowMessage]:
    """Split messages about several tasks into one message per task."""
    return [part for message in messages for part in _parts(message)]


def task_of(message: RowMessage) -> str:
    """The id of the one task that a message is about."""
    match message:
        case Guard(held=held):
            return held[0].task_id
        case Lost(reaped=reaped):
            return reaped[0].task_id
        case Ended(held=one) | Progressed(held=one):
            return one.task_id


def _parts(message: RowMessage) -> list[RowMessage]:
    match message:
        case Guard(held=held):
            return [Guard([one]) for one in held]
        case Lost(queue=queue, reaped=reaped):
            return [Lost(queue, [one]) for one in reaped]
        case _:
            return [message]


def _is_there_already(task: DeferredTask, message: RowMessage) -> bool:
    # Progress is read from the execution when it is written, so one message is enough.
    return isinstance(message, Progressed) and any(
        isinstance(one, Progressed) and one.execution is message.execution for one in task.messages
    )


def _postpone(task: DeferredTask) -> None:
    task.due_at = time.monotonic() + task.pause
