"""How long the queue took to go on after each fault, read from the journal."""

from collections.abc import Iterator, Mapping

from plugspace_queue.models import Task
from tests.chaos.faults import Injected
from tests.chaos.journal import Span, by_task

OF_WORKERS = {"SIGKILL", "SIGSTOP", "SIGTERM"}


def recovery(fault: Injected, spans: list[Span], tasks: Mapping[str, Task]) -> float | None:
    """Seconds until everything it interrupted ran again, or until anything ran again.

    None when it interrupted nothing.
    """
    if fault.name in OF_WORKERS:
        return max(_of_interrupted(fault, spans, tasks), default=None)
    return min((s.began - fault.ended for s in spans if s.began >= fault.ended), default=None)


def _of_interrupted(
    fault: Injected, spans: list[Span], tasks: Mapping[str, Task]
) -> Iterator[float]:
    worker = fault.target.split(" ")[0]
    for task_id, executions in by_task(spans).items():
        for span, following in zip(executions, [*executions[1:], None], strict=True):
            if span.key.worker == worker and _is_cut(span, fault):
                yield max(_next(following, tasks.get(task_id)) - fault.began, 0.0)


def _is_cut(span: Span, fault: Injected) -> bool:
    """Whether it ran when the fault began, and went no further."""
    return span.began <= fault.began <= span.seen + 0.5 and not span.ended


def _next(following: Span | None, task: Task | None) -> float:
    if following is not None:
        return following.began
    return task.completed_at.timestamp() if task and task.completed_at else 0.0
