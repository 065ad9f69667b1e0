"""Messages whose rows somebody else's transaction holds: they wait aside, the others flow."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from plugspace_queue.worker.messages import Ended, Guard, Lost, Progressed, RecorderMessage

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 4.0
"""Seconds between two tries for one task: each costs everybody a moment."""


@dataclass(eq=False)
class Waiting:
    """The messages of one task, in their order, and when they are tried again."""

    task_id: str
    messages: list[RecorderMessage] = field(default_factory=list)
    pause: float = FIRST_PAUSE
    due_at: float = 0.0


class Aside:
    """What waits, by task; used by the recorder's thread only."""

    def __init__(self) -> None:
        self._waiting: dict[str, Waiting] = {}

    def add(self, message: RecorderMessage) -> None:
        """Keep a message of one task (see `single`) for later."""
        task_id = task_of(message)
        waiting = self._waiting.get(task_id)
        if waiting is None:
            waiting = self._waiting[task_id] = Waiting(task_id)
            _postpone(waiting)
        if not _is_told_already(waiting, message):
            waiting.messages.append(message)

    def sift(self, messages: Sequence[RecorderMessage]) -> list[RecorderMessage]:
        """Keep those whose task waits already, so that none overtakes; return the others."""
        if not self._waiting:
            return list(messages)
        free = []
        for message in single(messages):
            if task_of(message) in self._waiting:
                self.add(message)
            else:
                free.append(message)
        return free

    def take_due(self) -> Waiting | None:
        """The task that is due for longest, if any is; given back with `put_back` when in vain."""
        first = self._first()
        if first is None or first.due_at > time.monotonic():
            return None
        return self._waiting.pop(first.task_id)

    def take_all(self) -> list[Waiting]:
        """Everything that waits, due or not."""
        waiting, self._waiting = list(self._waiting.values()), {}
        return waiting

    def put_back(self, waiting: Waiting) -> None:
        """Tried in vain: the next pause is twice as long."""
        waiting.pause = min(waiting.pause * 2, LONGEST_PAUSE)
        _postpone(waiting)
        self._waiting[waiting.task_id] = waiting

    def patience(self) -> float | None:
        """Seconds until something is due; None when nothing waits."""
        first = self._first()
        return None if first is None else max(first.due_at - time.monotonic(), 0.0)

    def _first(self) -> Waiting | None:
        return min(self._waiting.values(), key=lambda one: one.due_at, default=None)


def single(messages: Sequence[RecorderMessage]) -> list[RecorderMessage]:
    """The same messages, those of many tasks taken apart into one task each."""
    return [part for message in messages for part in _parts(message)]


def task_of(message: RecorderMessage) -> str:
    """The id of the one task that a message is about."""
    match message:
        case Guard(held=held):
            return held[0].task_id
        case Lost(reaped=reaped):
            return reaped[0].task_id
        case Ended(run=run) | Progressed(run=run):
            return run.task_id


def _parts(message: RecorderMessage) -> list[RecorderMessage]:
    match message:
        case Guard(held=held):
            return [Guard([one]) for one in held]
        case Lost(queue=queue, reaped=reaped):
            return [Lost(queue, [one]) for one in reaped]
        case _:
            return [message]


def _is_told_already(waiting: Waiting, message: RecorderMessage) -> bool:
    # Progress is read from the run when it is written: one message of it is enough.
    return isinstance(message, Progressed) and any(
        isinstance(one, Progressed) and one.run is message.run for one in waiting.messages
    )


def _postpone(waiting: Waiting) -> None:
    waiting.due_at = time.monotonic() + waiting.pause
