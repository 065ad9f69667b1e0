"""From the ending of an attempt to what the rows, Redis and listeners are told."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from plugspace_queue import publishing
from plugspace_queue.broker.task_store import Settlement
from plugspace_queue.db.bulk import FINISH_COLUMNS, Finish
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import EventName, Outcome, State
from plugspace_queue.events import publish
from plugspace_queue.models import Task
from plugspace_queue.processing.outcome import Ending, Failure, public
from plugspace_queue.processing.run import Run
from plugspace_queue.schemas.task import without_internals

Settled = Literal["ok", "fail", "retry", "back", "stopped", "drop"]

SETTLED: dict[Outcome, Settled] = {
    Outcome.COMPLETE: "ok",
    Outcome.FAILED: "fail",
    Outcome.RETRY: "retry",
    Outcome.DEFERRED: "retry",
    Outcome.CANCELLED: "stopped",
    Outcome.HANDED_BACK: "back",
    Outcome.LOST: "back",
}

EVENTS: dict[Outcome, tuple[EventName, ...]] = {
    Outcome.COMPLETE: (EventName.COMPLETED,),
    Outcome.FAILED: (EventName.FAILED,),
    Outcome.RETRY: (EventName.RETRYING,),
    Outcome.DEFERRED: (EventName.RETRYING,),
    Outcome.CANCELLED: (EventName.FAILED, EventName.CANCELLED),
    Outcome.HANDED_BACK: (),
    Outcome.LOST: (),
}


@dataclass(frozen=True, slots=True)
class Closing:
    """Everything one ended attempt writes."""

    run: Run
    ending: Ending
    finish: Finish


def closing_of(run: Run, ending: Ending, now: datetime) -> Closing:
    """The rows to write for an ending; nothing is written here."""
    return Closing(run, ending, _finish(run, ending, now))


def _finish(run: Run, ending: Ending, now: datetime) -> Finish:
    task = run.task
    return Finish(
        id=task.pk,
        fence=run.fence,
        state=ending.state,
        result=ending.result,
        error=ending.failure.as_json() if ending.failure else None,
        # One that runs again begins at nothing; what it had reached says nothing of the next.
        progress=progress_of(run) if ending.state in lifecycle.FINAL else None,
        completed_at=now if ending.state in lifecycle.FINAL else None,
        duration=milliseconds(run, now),
        tokens_used=task.tokens_used + run.tokens,
        cost=task.cost + run.cost,
        retry_count=task.retry_count + ending.burns_retry,
        deferral_count=task.deferral_count + (ending.outcome is Outcome.DEFERRED),
        recovery_count=task.recovery_count + ending.counts_recovery,
        wake_at=ending.wake_at,
        outcome=ending.outcome,
        attempt_tokens=run.tokens,
        attempt_cost=run.cost,
        log=list(run.log),
    )


def invalid(closing: Closing, reason: str, now: datetime) -> Closing:
    """The same attempt, failed because the database refused what it returned."""
    message = public(reason)
    detail = reason if reason != message else ""
    failure = Failure(code="INVALID_RESULT", message=message, detail=detail, retryable=False)
    run = closing.run
    run.log.clear()
    run.percent = run.stage = None
    run.tokens, run.cost = 0, Decimal(0)
    return closing_of(run, Ending(outcome=Outcome.FAILED, state=State.FAILED, failure=failure), now)


def milliseconds(run: Run, now: datetime) -> int:
    """How long the processor ran; nothing when its process never came."""
    if run.began_at is None:
        return 0
    return max(round((now - run.began_at).total_seconds() * 1000), 0)


def progress_of(run: Run) -> dict[str, Any] | None:
    """The progress as the row and the wire have it; None while nothing was reported."""
    if run.percent is None:
        return None
    return {"percent": run.percent, "stage": run.stage}


def settlement_of(closing: Closing) -> Settlement:
    """What Redis is told, after `apply`, but for the event that goes with it."""
    failure = closing.ending.failure
    return publishing.settlement_of(
        closing.run.task,
        fence=closing.run.fence,
        outcome=SETTLED[closing.ending.outcome],
        due_ms=_ms(closing.ending.wake_at),
        error=failure.message if failure else "",
    )


def apply(closing: Closing) -> Task:
    """The task in memory as its row is now."""
    task = closing.run.task
    for name in FINISH_COLUMNS:
        setattr(task, name, getattr(closing.finish, name))
    return task


def event_bodies(closing: Closing) -> list[tuple[EventName, publish.Payload]]:
    """The events of an ending, after `apply`."""
    data: dict[str, Any] = {}
    if closing.ending.outcome is Outcome.COMPLETE:
        data["result"] = closing.ending.result
    if closing.ending.failure is not None:
        data["error"] = without_internals(closing.ending.failure.as_json())
    task = closing.run.task
    return [(name, publish.payload(name, task, **data)) for name in EVENTS[closing.ending.outcome]]


def _ms(moment: datetime | None) -> int:
    return round(moment.timestamp() * 1000) if moment else 0
