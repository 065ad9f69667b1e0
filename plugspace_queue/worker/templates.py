"""The JSON sent to Redis for an attempt: events, the copy of its task, and its settlement.

Rendered by templates for speed, as each task needs several. The output equals, byte for byte, what
`events.publish.payload`, `schemas.task.copy_of` and `publishing.settlement_of` make of a row.
"""

import functools
import json
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from plugspace_queue.broker.task_store import Note, Settlement
from plugspace_queue.broker.types import Outcome as SettleOutcome
from plugspace_queue.conf import AppSettings, get_settings
from plugspace_queue.db.attempts import StartedTask
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import EventName, Outcome, State
from plugspace_queue.domain.json_text import bytes_of, encode
from plugspace_queue.processing.execution import NOTHING, Execution
from plugspace_queue.schemas.task import (
    ALWAYS,
    UNCOUNTED,
    Copy,
    Values,
    step_member,
    without_internals,
)
from plugspace_queue.worker.completion import Completion

SETTLED: dict[Outcome, SettleOutcome] = {
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

SHORT = 512
"""Longest JSON in characters whose compact form is cached, as most tasks' contexts are equal."""


class Now(NamedTuple):
    """The values of a task that change, at the moment its copy is made."""

    state: State
    error: dict[str, Any] | None
    progress: dict[str, Any] | None
    completed_at: datetime | None
    duration: int | None
    tokens_used: int
    cost: Decimal
    retry_count: int
    deferral_count: int
    recovery_count: int
    wake_at: datetime | None


def event(
    name: EventName, row: StartedTask, state: State, at: str, data: str = "", number: int = 0
) -> str:
    """JSON of an event; `data` are further members, each with a comma before it."""
    task_id = row.task_id
    workflow = "null" if row.workflow_id is None else f'"{row.workflow_id}"'
    queued = round(row.queued_at.timestamp() * 1_000_000) + number
    return (
        f'{{"name":"{name._value_}","type":"{row.type}","jobId":"{task_id}",'
        f'"organizationId":{_quoted(row.organization_id)},"projectId":{_quoted(row.project_id)},'
        f'"workflowId":{workflow},"state":"{state._value_}","at":"{at}",'
        f'"key":"{task_id}:{row.fence}:{name._value_}:{queued}"{data}}}'
    )


def copy(row: StartedTask, now: Now, result: str = "") -> Copy:
    """What `plugspace:task:{id}` holds; `result` is a member of it that is not large."""
    conf = get_settings()
    head = _head(row, now, conf)
    known = (_compact(row.input_text), _compact(row.context_text))
    members = _members(*known, conf.snapshot_limit) + result
    if bytes_of(members) <= UNCOUNTED:
        return Copy(f"{head}{members}}}")
    lean = _members(*known, min(conf.snapshot_limit, ALWAYS)) + result
    return Copy(f"{head}}}", Values(members, lean))


def _head(row: StartedTask, now: Now, conf: AppSettings) -> str:
    """Everything but input, context and result; absent instead of null."""
    state = now.state
    return (
        f'{{"id":"{row.task_id}","type":"{row.type}","projectId":{_quoted(row.project_id)},'
        f'"organizationId":{_quoted(row.organization_id)},"userId":{_quoted(row.user_id)},'
        f'"priority":{row.priority},"status":"{_STATUS[state]}","state":"{state._value_}",'
        f'"metrics":{{"tokensUsed":{now.tokens_used},"cost":{_money(now.cost)},'
        f'"currency":{_quoted(conf.currency)},"queuedAt":"{_utc(row.queued_at)}",'
        f'"startedAt":"{_started_utc(row.started_at)}"{_ended(now)}}},'
        f'"retryCount":{now.retry_count},"maxRetries":{row.max_retries},"ttl":{row.ttl},'
        f'"attempt":{row.attempt_count},"recoveryCount":{now.recovery_count},'
        f'"deferralCount":{now.deferral_count}{_optional(row, now)}'
    )


def _ended(now: Now) -> str:
    completed = (
        "" if now.completed_at is None else f',"completedAt":"{_ended_utc(now.completed_at)}"'
    )
    return completed if now.duration is None else f'{completed},"duration":{now.duration}'


def _optional(row: StartedTask, now: Now) -> str:
    text = ""
    if row.workflow_id is not None:
        step = "null" if row.step is None else row.step
        named = step_member(row.step_name, row.type)
        text = f',"workflowId":"{row.workflow_id}","step":{step}{named}'
    if now.error is not None:
        text += f',"error":{encode(without_internals(now.error))}'
    if now.progress is not None:
        text += f',"progress":{encode(now.progress)}'
    return text if now.wake_at is None else f'{text},"runAt":{encode(now.wake_at)}'


def _members(input_text: str, context_text: str, limit: int) -> str:
    return _member("input", input_text, limit) + _member("context", context_text, limit)


def _member(name: str, text: str, limit: int) -> str:
    # A character has at most four bytes, so short texts need not be measured.
    if len(text) * 4 > limit and bytes_of(text) > limit:
        return f',"{name}":null,"{name}Omitted":true'
    return f',"{name}":{text}'


def started_event(execution: Execution) -> str:
    row = execution.row
    return event(EventName.STARTED, row, State.PROCESSING, row.started_at.isoformat())


def started_note(execution: Execution) -> Note:
    """The message to Redis when an attempt has started."""
    row, text = execution.row, started_event(execution)
    if execution.is_recorded:
        # The attempt has ended, so its settle will write the copy. Until that is committed, Redis
        # shows the task as waiting.
        return Note(row.task_id, event=text)
    # A report may have come since the commit, and its message before this one.
    now = _at_start(row)._replace(progress=execution.progress)
    return _running_note(row, now, text)


def progress_note(execution: Execution, at: str) -> Note:
    """The message to Redis for a progress report; ignored once the attempt does not run."""
    row, progress = execution.row, execution.progress
    data = f',"progress":{encode(progress)}'
    text = event(EventName.PROGRESS, row, State.PROCESSING, at, data, execution.reports)
    note = _running_note(row, _at_start(row)._replace(progress=progress), text)
    return note._replace(is_bound=True)


def _running_note(row: StartedTask, now: Now, text: str) -> Note:
    snapshot, values = copy(row, now)
    return Note(row.task_id, snapshot, event=text, fence=row.fence, values=values)


def _at_start(row: StartedTask) -> Now:
    return Now(
        State.PROCESSING,
        None if row.error_text is None else json.loads(row.error_text),
        None,
        None,
        row.duration,
        row.tokens_used,
        row.cost,
        row.retry_count,
        row.deferral_count,
        row.recovery_count,
        None,
    )


def event_texts(one: Completion, at: str) -> list[tuple[EventName, str]]:
    """The events of an ending, complete."""
    data = _event_data(one, get_settings().snapshot_limit)
    row, state = one.execution.row, one.update.state
    names = EVENTS[one.update.outcome]
    return [(name, event(name, row, state, at, data)) for name in names]


def _event_data(one: Completion, limit: int) -> str:
    data, text = "", one.update.result_text
    if text is not None:
        is_large = bytes_of(text) > limit
        data = ',"result":null,"resultOmitted":true' if is_large else f',"result":{text}'
    if one.update.error is not None:
        data += f',"error":{encode(without_internals(one.update.error))}'
    return data


def settlement(one: Completion, at: str) -> tuple[list[Note], Settlement]:
    """The settlement that closes the lease, and notes for all events but the last."""
    conf, update, row = get_settings(), one.update, one.execution.row
    text = update.result_text or ""
    size = bytes_of(text)
    is_large = size > conf.snapshot_limit
    # A small result is always part of the copy. A larger one is sent apart, or the copy's values
    # would count twice in the budget.
    is_apart = size > ALWAYS
    kept = "" if is_apart or text in ("", "null") else _member("result", text, conf.snapshot_limit)
    snapshot, values = copy(row, Now(update.state, *update[5:15]), kept)
    data = "" if is_apart else _event_data(one, conf.snapshot_limit)
    names = EVENTS[update.outcome]
    texts = [event(name, row, update.state, at, data) for name in names]
    failure = one.result.failure
    is_heavy = values is not None or size > UNCOUNTED
    settled = Settlement(
        task_id=row.task_id,
        fence=update.fence,
        outcome=SETTLED[update.outcome],
        snapshot=snapshot,
        values=values,
        snapshot_ttl=_ttl(update.state, conf, is_heavy=is_heavy),
        result=None if is_large else text or None,
        is_large=is_large,
        tells_result=is_apart,
        due_ms=round(update.wake_at.timestamp() * 1000) if update.wake_at else 0,
        error=failure.message if failure else "",
        event=texts[-1] if texts else None,
        task_type=row.type,
    )
    return [Note(row.task_id, event=text) for text in texts[:-1]], settled


def _ttl(state: State, conf: AppSettings, *, is_heavy: bool) -> int:
    """Seconds until the copy expires; 0 while the task has not ended.

    A copy with values that count in the budget expires no later than their accounting does.
    """
    if state not in lifecycle.FINAL:
        return 0
    kept = conf.retention.get(state, 0)
    counted = max(conf.result_ttl, 1)
    return min(kept or counted, counted) if is_heavy else kept


_STATUS = {state: lifecycle.status_of(state).value for state in State}


@functools.lru_cache(1024)
def _quoted(text: str) -> str:
    return encode(text)


def _compact(text: str) -> str:
    """Compact JSON; PostgreSQL puts blanks after commas and colons."""
    return _compact_short(text) if len(text) <= SHORT else encode(json.loads(text))


@functools.lru_cache(256)
def _compact_short(text: str) -> str:
    return encode(json.loads(text))


def _money(cost: Decimal) -> str:
    return encode(float(cost)) if cost != NOTHING else "0.0"


class _Repeated:
    """`_utc` with a cache of one entry, as all tasks of a commit have the same time."""

    def __init__(self) -> None:
        self._kept: tuple[datetime | None, str] = (None, "")

    def __call__(self, moment: datetime) -> str:
        kept = self._kept
        if kept[0] is not moment:
            kept = self._kept = (moment, _utc(moment))
        return kept[1]


_started_utc, _ended_utc = _Repeated(), _Repeated()


def _utc(moment: datetime) -> str:
    text = moment.isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else encode(moment)[1:-1]
