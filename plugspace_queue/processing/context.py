"""What a processor gets: its input, its parents' results, and ways to say what it is doing."""

from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from plugspace_queue.errors import TaskCancelled, TaskTimeout, WorkerStopping
from plugspace_queue.processing.run import Run, Told


class Context:
    """The argument of every processor.

    `input` is the validated pydantic model of the task type; `results` maps a parent's TYPE
    (or its id, for `depends_on`) to its output as JSON.
    """

    def __init__(self, run: Run, validated: BaseModel) -> None:
        self._run = run
        self.input: Any = validated
        self.results: dict[str, Any] = run.results

    @property
    def task_id(self) -> str:
        return self._run.task_id

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""
        return self._run.number

    @property
    def organization_id(self) -> str:
        return self._run.task.organization_id

    @property
    def project_id(self) -> str:
        return self._run.task.project_id

    @property
    def user_id(self) -> str:
        return self._run.task.user_id

    @property
    def workflow_id(self) -> str | None:
        workflow_id = self._run.task.workflow_id
        return str(workflow_id) if workflow_id else None

    @property
    def feedback(self) -> list[str]:
        """What users said about earlier iterations."""
        return list(self._run.task.context.get("userFeedback") or [])

    @property
    def iteration(self) -> int:
        return int(self._run.task.context.get("iterationCount") or 0)

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this task: give it to services that take one."""
        return f"plugspace:{self.task_id}"

    @property
    def should_stop(self) -> bool:
        """Whether the attempt was told to stop: save what is worth saving and return or raise.

        When its worker ends this is so at once, and what is done within the grace time counts.
        """
        return self._run.told is not None

    def check_cancelled(self) -> None:
        """Raise when the attempt has to stop; call it between pieces of work.

        When its worker ends it raises in the last `HARD_STOP` seconds of the grace time only.
        """
        if self._run.must_stop:
            raise_if_told(self._run.told)

    def report_progress(self, percent: float, stage: str | None = None) -> None:
        """Tell how far the work is, 0 to 100, and what it is at; cheap, call it often."""
        self._run.add_progress(percent, stage)

    def log(self, message: str) -> None:
        """Keep a line with the attempt."""
        self._run.add_log(message)

    def record_usage(self, tokens: int = 0, cost: Decimal | str | int = 0) -> None:
        """Add tokens and money this attempt has spent; counted for failed attempts too."""
        self._run.add_usage(tokens, Decimal(cost))


def raise_if_told(told: Told | None) -> None:
    """The error an attempt ends with for each reason it can be told to stop."""
    if told is Told.CANCEL:
        raise TaskCancelled
    if told is Told.TIMEOUT:
        raise TaskTimeout
    if told is not None:
        raise WorkerStopping
