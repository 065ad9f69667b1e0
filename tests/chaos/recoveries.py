"""How long the queue took to go on after each fault, read from the journal and from the rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from plugspace_queue.domain.enums import Outcome
from plugspace_queue.models import Attempt, Task
from tests.chaos.faults import Injected
from tests.chaos.journal import Span, by_task

OF_WORKERS = {"SIGKILL", "SIGSTOP", "SIGTERM"}


class Loss(NamedTuple):
    """An execution that was killed with its worker, and when its task was taken back."""

    task_id: str
    number: int
    worker: str
    killed_at: float
    taken_back_at: float


def recovery(fault: Injected, spans: list[Span], tasks: Mapping[str, Task]) -> float | None:
    """Seconds until everything it interrupted ran again, or until anything ran again.

    None when it interrupted nothing.
    """
    if fault.name in OF_WORKERS:
        found = _interrupted(fault, spans)
        waits = (_next(next_, tasks.get(span.key.task_id)) - fault.began for span, next_ in found)
        return max((max(wait, 0.0) for wait in waits), default=None)
    return min((s.began - fault.ended for s in spans if s.began >= fault.ended), default=None)


def losses(
    fault: Injected, spans: list[Span], attempts: Mapping[str, Sequence[Attempt]]
) -> Iterator[Loss]:
    """What a SIGKILL interrupted, as far as the rows say that it was lost and when."""
    if fault.name != "SIGKILL":
        return
    for span, _ in _interrupted(fault, spans):
        for one in attempts.get(span.key.task_id, ()):
            if one.number == span.key.number and one.outcome == Outcome.LOST:
                told = one.ended_at.timestamp()
                yield Loss(span.key.task_id, span.key.number, span.key.worker, fault.began, told)


def _interrupted(fault: Injected, spans: list[Span]) -> Iterator[tuple[Span, Span | None]]:
    """Executions that the fault cut off, each with the next one of its task."""
    worker = fault.target.split(" ")[0]
    for executions in by_task(spans).values():
        for span, following in zip(executions, [*executions[1:], None], strict=True):
            if span.key.worker == worker and _is_cut(span, fault):
                yield span, following


def _is_cut(span: Span, fault: Injected) -> bool:
    """Whether it ran when the fault began, and went no further."""
    return span.began <= fault.began <= span.seen + 0.5 and not span.ended


def _next(following: Span | None, task: Task | None) -> float:
    if following is not None:
        return following.began
    return task.completed_at.timestamp() if task and task.completed_at else 0.0
