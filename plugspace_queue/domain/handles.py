"""What a typed submit returns."""

import uuid
from typing import TYPE_CHECKING, Any, Generic

import plugspace_queue
from plugspace_queue.domain.shapes import Value

if TYPE_CHECKING:
    from plugspace_queue.models import Task


class TaskHandle(Generic[Value]):
    """A submitted task whose result has the type that its task type declares."""

    def __init__(self, task: "Task") -> None:
        self.task = task

    def __repr__(self) -> str:
        return f"<TaskHandle {self.task.type} {self.id}>"

    @property
    def id(self) -> uuid.UUID:
        return self.task.pk

    def wait(self, timeout: float = 30.0) -> Value:
        """Block until the task has ended; its result. Raises what `queue_manager.wait` raises."""
        manager: Any = plugspace_queue.queue_manager
        result: Value = manager.wait(self.id, timeout)
        return result
