"""Why a task is where it is, as its page tells it: one sentence, the gates, what went wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from plugspace_queue.dashboards.failures import FailureExplanation, failure_of
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import Reason, State
from plugspace_queue.domain.redaction import redacted
from plugspace_queue.domain.spans import span
from plugspace_queue.errors import NotFound, Unavailable
from plugspace_queue.explain.service import explain
from plugspace_queue.models import Task
from plugspace_queue.schemas.explanation import Explanation, Gate

AWAY = (
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


@dataclass(frozen=True, kw_only=True)
class Row:
    """A gate as a line of the table."""

    name: str
    verdict: str
    current: int | None
    limit: int | None
    opens: str
    """When it opens; empty while it is open."""


@dataclass(frozen=True, kw_only=True)
class Why:
    """The answer of explain in words."""

    sentence: str
    also: Sequence[str] = ()
    is_away: bool = False
    """Redis did not answer."""
    gates: Sequence[Row] = ()
    again_in: str = ""
    told: Explanation | None = None
    failure: FailureExplanation | None = None

    @property
    def is_shown(self) -> bool:
        """Whether there is anything to say: a complete task needs no reason."""
        return self.told is None or self.told.state != State.COMPLETE


def why(task: Task) -> Why | None:
    """Why the task is where it is; None when it is gone meanwhile."""
    try:
        return _in_words(explain(task), task)
    except Unavailable:
        return Why(sentence=AWAY, is_away=True)
    except NotFound:
        return None


def _in_words(told: Explanation, task: Task) -> Why:
    now = timezone.now()
    waits = told.state in lifecycle.STARTABLE and told.reason != Reason.RUNNING
    return Why(
        sentence=redacted(told.sentence),
        also=[reason.replace("_", " ") for reason in told.also],
        gates=[_row(gate, now) for gate in told.gates] if waits else (),
        again_in=_until(told.looked_at_again_at, now),
        told=told,
        failure=failure_of(task) if told.state in lifecycle.FINAL else None,
    )


def _row(gate: Gate, now: datetime) -> Row:
    name, opener = GATES[Reason(gate.gate)]
    opens = _until(gate.retry_at, now) or opener
    return Row(
        name=name,
        verdict=gate.verdict,
        current=gate.current,
        limit=gate.limit,
        opens=opens if gate.verdict == "shut" else "",
    )


def _until(moment: datetime | None, now: datetime) -> str:
    return f"in {span((moment - now).total_seconds())}" if moment else ""
