"""Why a task is where it is, for its page: one sentence, the gates, what went wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import Reason, State
from plugspace_queue.domain.redaction import redacted
from plugspace_queue.domain.spans import span
from plugspace_queue.errors import NotFound, Unavailable
from plugspace_queue.explain.service import explain
from plugspace_queue.models import FailureGroup, Task, dependency_queries, failure_queries
from plugspace_queue.schemas.explanation import Explanation, Gate

OUTAGE = gettext_lazy(
    "Redis does not answer, so the gates of this task are unknown. Nothing is lost; the task"
    " continues when Redis is available again."
)

GATES = {
    Reason.QUEUE_PAUSED: (
        gettext_lazy("pause of the queue"),
        gettext_lazy("when the queue is resumed"),
    ),
    Reason.ORGANIZATION_PAUSED: (
        gettext_lazy("pause of its organization"),
        gettext_lazy("when the organization is resumed"),
    ),
    Reason.QUEUE_CONCURRENCY: (
        gettext_lazy("running in the queue"),
        gettext_lazy("when a task ends"),
    ),
    Reason.QUEUE_LIMITER: (
        gettext_lazy("starts in the window"),
        gettext_lazy("when the window moves"),
    ),
    Reason.ORGANIZATION_CONCURRENCY: (
        gettext_lazy("running of its organization"),
        gettext_lazy("when one of its tasks ends"),
    ),
}
"""What each gate counts, and what opens it if time does not."""

MOST_CAUSES = 5

HELPS = {
    "TIMEOUT": gettext_lazy(
        "The attempt took longer than its timeout: raise the timeout, or reduce the work."
    ),
    "RATE_LIMITED": gettext_lazy(
        "The provider refused requests for too long: retry when its limit allows more."
    ),
    "EXTERNAL_SERVICE_ERROR": gettext_lazy(
        "A service that the task needs did not answer: retry when it is available again."
    ),
    "VALIDATION_ERROR": gettext_lazy(
        "The processor does not accept this input: a retry fails in the same way."
    ),
    "AUTHENTICATION_ERROR": gettext_lazy(
        "The provider refused the credentials: renew them, then retry."
    ),
    "QUOTA_EXCEEDED": gettext_lazy("The month's quota is used up: raise the tier, then retry."),
    "MAX_ITERATIONS": gettext_lazy("The workflow has reached its maximum of iterations."),
    "INVALID_RESULT": gettext_lazy(
        "The processor returned a result that this task type does not allow: fix it, then retry."
    ),
    "WORKER_LOST": gettext_lazy(
        "Workers crashed while they ran the task, the last of them while it ran nothing else:"
        " check its memory usage, and native code."
    ),
    "INTERNAL_ERROR": gettext_lazy(
        "The processor raised an exception that it does not handle: see the stack."
    ),
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
    group: FailureGroup | None
    """Where it was counted with others of its cause."""


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
        return TaskExplanation(outage=str(OUTAGE))
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
    opens = _until(gate.retry_at, now) or str(opener)
    return GateRow(
        name=str(name),
        verdict=gate.verdict,
        current=gate.current,
        limit=gate.limit,
        opens=opens if gate.verdict == "shut" else "",
    )


def _until(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return ""
    return _("in %(span)s") % {"span": span((moment - now).total_seconds())}


def _failure(task: Task) -> FailureExplanation | None:
    """What went wrong; None without an error in the row."""
    error = redacted(task.error)
    if not isinstance(error, dict):
        return None
    return FailureExplanation(
        stack=str(error.get("stack", "")),
        help=str(HELPS.get(str(error.get("code", "")), "")),
        runs=_runs(task),
        causes=_causes(task),
        group=failure_queries.group_of(task),
    )


def _runs(task: Task) -> str:
    if not task.attempt_count:
        return _("It never started.")
    runs = ngettext("It ran once", "It ran %(count)d times", task.attempt_count)
    used = _("%(runs)s and used %(used)d of %(most)d retries") % {
        "runs": runs % {"count": task.attempt_count},
        "used": task.retry_count,
        "most": task.max_retries,
    }
    if not task.recovery_count:
        return f"{used}."
    crashes = ngettext(
        "a worker crashed while running it",
        "%(count)d workers crashed while running it",
        task.recovery_count,
    )
    return f"{used}; {crashes % {'count': task.recovery_count}}."


def _causes(task: Task) -> list[Task]:
    """Only a task that never started was ended by another one."""
    if task.attempt_count or task.state != State.CANCELLED:
        return []
    ended = dependency_queries.parents_not_complete(task)
    return list(ended.only("id", "type", "state").order_by("pk")[:MOST_CAUSES])
