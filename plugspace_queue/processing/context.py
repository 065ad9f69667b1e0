"""What a processor gets: its input, its parents' results, and ways to say what it is doing."""

from decimal import Decimal
from typing import Any, Generic

from plugspace_queue.domain.task_types import In
from plugspace_queue.errors import TaskCancelled, TaskTimeout, WorkerStopping
from plugspace_queue.processing.execution import Execution, StopReason


class Context(Generic[In]):
    """The argument of every processor.

    `input` is the validated input, as the model of the task type has it; `results` maps a parent's
    TYPE (or its id, for `depends_on`) to its output as JSON.
    """

    def __init__(self, execution: Execution, validated: In) -> None:
        self._execution = execution
        self.input: In = validated
        self.results: dict[str, Any] = execution.results

    @property
    def task_id(self) -> str:
        return self._execution.task_id

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""
        return self._execution.number

    @property
    def organization_id(self) -> str:
        return self._execution.row.organization_id

    @property
    def project_id(self) -> str:
        return self._execution.row.project_id

    @property
    def user_id(self) -> str:
        return self._execution.row.user_id

    @property
    def workflow_id(self) -> str | None:
        return self._execution.row.workflow_id

    @property
    def feedback(self) -> list[str]:
        """What users said about earlier iterations."""
        return list(self._execution.context.get("userFeedback") or [])

    @property
    def iteration(self) -> int:
        return int(self._execution.context.get("iterationCount") or 0)

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this task: give it to services that take one."""
        return f"plugspace:{self.task_id}"

    @property
    def should_stop(self) -> bool:
        """Whether the attempt was asked to stop: save what is worth saving and return or raise.

        When its worker ends this is so at once, and what is done within the grace time counts.
        """
        return self._execution.stop_reason is not None

    def check_cancelled(self) -> None:
        """Raise when the attempt has to stop; call it between pieces of work.

        When its worker ends it raises in the last `HARD_STOP` seconds of the grace time only.
        """
        if self._execution.must_stop:
            raise_if_stopped(self._execution.stop_reason)

    def report_progress(self, percent: float, stage: str | None = None) -> None:
        """Tell how far the work is, 0 to 100, and what it is at; cheap, call it often."""
        self._execution.add_progress(percent, stage)

    def log(self, message: str) -> None:
        """Keep a line with the attempt."""
        self._execution.add_log(message)

    def record_usage(self, tokens: int = 0, cost: Decimal | str | int = 0) -> None:
        """Add tokens and money this attempt has spent; counted for failed attempts too."""
        self._execution.add_usage(tokens, Decimal(cost))


def raise_if_stopped(reason: StopReason | None) -> None:
    """Raise the error with which an attempt ends that was asked to stop for this reason."""
    if reason is StopReason.CANCEL:
        raise TaskCancelled
    if reason is StopReason.TIMEOUT:
        raise TaskTimeout
    if reason is not None:
        raise WorkerStopping
