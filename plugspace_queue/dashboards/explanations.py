"""Why a task is where it is, for its page: one sentence, the gates, what went wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import Reason, State
from plugspace_queue.domain.redaction import redacted
from plugspace_queue.domain.spans import span
from plugspace_queue.errors import NotFound, Unavailable
from plugspace_queue.explain.service import explain
from plugspace_queue.models import Task, task_queries
from plugspace_queue.schemas.explanation import Explanation, Gate

OUTAGE = (
    "Redis does not answer, so nobody knows which gate holds it; nothing of it is lost, and it"
    " goes on when Redis is back."
)

GATES = {
    Reason.QUEUE_PAUSED: ("pause of the queue", "when somebody resumes it"),
    Reason.ORGANIZATION_PAUSED: ("pause of its organization", "when somebody resumes it"),
    Reason.QUEUE_CONCURRENCY: ("running in the queue", "when a task ends"),
    Reason.QUEUE_LIMITER: ("starts in the window", "when the window moves"),
    Reason.ORGANIZATION_CONCURRENCY: ("running of its organization", "when one of them ends"),
}
"""What each gate counts, and what opens it when the clock does not."""


MOST_CAUSES = 5

HELPS = {
    "TIMEOUT": "It took longer than its processor may: raise the timeout, or give it less to do.",
    "RATE_LIMITED": "Its provider refused it for too long: retry when the provider's limit opens.",
    "EXTERNAL_SERVICE_ERROR": "A service that it needs did not answer: retry when that is back.",
    "VALIDATION_ERROR": "Its processor does not take such an input: a retry ends the same way.",
    "AUTHENTICATION_ERROR": "Its provider refused the credentials: renew them, then retry.",
    "QUOTA_EXCEEDED": "The month's quota is used up: raise the tier, then retry.",
    "MAX_ITERATIONS": "The workflow was refined as often as it may be.",
    "INVALID_RESULT": "Its processor returned what this type does not allow: mend it, then retry.",
    "WORKER_LOST": (
        "Workers died while they ran it, at last one that ran nothing else: look at the memory it"
        " takes, and at native code."
    ),
    "INTERNAL_ERROR": "Its processor raised what it does not handle: the stack says where.",
}
"""By the code of an error; a processor may have codes of its own."""


@dataclass(frozen=True, kw_only=True)
class FailureExplanation:
    """The error of a row, for people."""

    stack: str
    help: str
    runs: str
    causes: Sequence[Task]
    """Tasks it waited for that did not complete."""


@dataclass(frozen=True, kw_only=True)
class GateRow:
    """A gate as a line of the table."""

    name: str
    verdict: str
    current: int | None
    limit: int | None
    opens: str
    """When it opens; empty while it is open."""


@dataclass(frozen=True, kw_only=True)
class TaskExplanation:
    """The answer of explain in words."""

    sentence: str = ""
    also: Sequence[str] = ()
    outage: str = ""
    """Why there is no answer, when Redis is unavailable."""
    gates: Sequence[GateRow] = ()
    again_in: str = ""
    answer: Explanation | None = None
    failure: FailureExplanation | None = None

    @property
    def is_shown(self) -> bool:
        """Whether there is anything to say: a complete task needs no reason."""
        return self.answer is not None and self.answer.state != State.COMPLETE


def explanation_of(task: Task) -> TaskExplanation | None:
    """Why the task is where it is; None if it was deleted meanwhile."""
    try:
        return _in_words(explain(task), task)
    except Unavailable:
        return TaskExplanation(outage=OUTAGE)
    except NotFound:
        return None


def _in_words(answer: Explanation, task: Task) -> TaskExplanation:
    now = timezone.now()
    waits = answer.state in lifecycle.STARTABLE and answer.reason != Reason.RUNNING
    return TaskExplanation(
        sentence=redacted(answer.sentence),
        also=[reason.replace("_", " ") for reason in answer.also],
        gates=[_row(gate, now) for gate in answer.gates] if waits else (),
        again_in=_until(answer.looked_at_again_at, now),
        answer=answer,
        failure=_failure(task) if answer.state in lifecycle.FINAL else None,
    )


def _row(gate: Gate, now: datetime) -> GateRow:
    name, opener = GATES[Reason(gate.gate)]
    opens = _until(gate.retry_at, now) or opener
    return GateRow(
        name=name,
        verdict=gate.verdict,
        current=gate.current,
        limit=gate.limit,
        opens=opens if gate.verdict == "shut" else "",
    )


def _until(moment: datetime | None, now: datetime) -> str:
    return f"in {span((moment - now).total_seconds())}" if moment else ""


def _failure(task: Task) -> FailureExplanation | None:
    """What went wrong; None when nothing is written down."""
    error = redacted(task.error)
    if not isinstance(error, dict):
        return None
    return FailureExplanation(
        stack=str(error.get("stack", "")),
        help=HELPS.get(str(error.get("code", "")), ""),
        runs=_runs(task),
        causes=_causes(task),
    )


def _runs(task: Task) -> str:
    if not task.attempt_count:
        return "It never started."
    runs = "once" if task.attempt_count == 1 else f"{task.attempt_count} times"
    runs_text = f"It ran {runs} and used {task.retry_count} of {task.max_retries} retries"
    if not task.recovery_count:
        return f"{runs_text}."
    deaths = "a worker" if task.recovery_count == 1 else f"{task.recovery_count} workers"
    return f"{runs_text}; {deaths} died under it."


def _causes(task: Task) -> list[Task]:
    """Only a task that never started was ended by another one."""
    if task.attempt_count or task.state != State.CANCELLED:
        return []
    ended = task_queries.parents_not_complete(task)
    return list(ended.only("id", "type", "state").order_by("pk")[:MOST_CAUSES])
