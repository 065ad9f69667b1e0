"""The six queues as the seed gives them; operators change them as rows."""

from dataclasses import dataclass

from plugspace_queue.domain.enums import TaskType


@dataclass(frozen=True, kw_only=True)
class QueueDefaults:
    """The initial values of a queue."""

    concurrency: int
    """Slots of one worker process."""

    default_priority: int
    """Priority of a task whose organization has no tier."""

    limiter_max: int
    """Starts per window over all workers."""

    limiter_duration: float = 60.0
    """Length of the window, in seconds."""


CATALOG: dict[TaskType, QueueDefaults] = {
    TaskType.ARCHITECT: QueueDefaults(concurrency=5, default_priority=2, limiter_max=100),
    TaskType.DESIGN: QueueDefaults(concurrency=5, default_priority=2, limiter_max=100),
    TaskType.CODE: QueueDefaults(concurrency=3, default_priority=2, limiter_max=50),
    TaskType.ANALYZE: QueueDefaults(concurrency=3, default_priority=2, limiter_max=30),
    TaskType.DEPLOY: QueueDefaults(concurrency=2, default_priority=1, limiter_max=10),
    TaskType.EXPORT: QueueDefaults(concurrency=5, default_priority=3, limiter_max=100),
}

QUEUE_NAMES: tuple[str, ...] = tuple(kind.queue_name for kind in TaskType)


def type_of_queue(name: str) -> TaskType | None:
    """The task type of an RQ queue name, or None when the queue is not ours.

    >>> type_of_queue("code"), type_of_queue("default")
    (<TaskType.CODE: 'CODE'>, None)
    """
    return TaskType(name.upper()) if name in QUEUE_NAMES else None
