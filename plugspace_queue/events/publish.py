"""Events of tasks: sent as Django signals at once, and appended to the stream in Redis.

The stream delivers at least once; a client that needs every completion has to page the rows.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from django.dispatch import Signal
from django.utils import timezone

from plugspace_queue import metrics
from plugspace_queue.broker import routing, task_store
from plugspace_queue.broker.connection import home_queue, is_cut_off
from plugspace_queue.broker.scripts import Call
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import json_text
from plugspace_queue.domain.enums import EventName
from plugspace_queue.models import Task
from plugspace_queue.schemas.task import text_of
from plugspace_queue.signals import SIGNALS, task_attempt_failed
from plugspace_queue.task_log import EndedAttempt

logger = logging.getLogger("plugspace_queue.events")

RESULT = ("result", "resultOmitted")

Payload = dict[str, Any]


def payload(name: EventName, task: Task, *, number: int = 0, **data: Any) -> Payload:
    """The event's payload; `key` is the same when it is delivered again.

    The last part of the key starts from the time the task was queued: a task that is cancelled
    before it starts, and again after a manual retry, has the same fence both times.

    `data` holds result, error or progress. A result above SNAPSHOT_LIMIT is left out.
    """
    task_id = str(task.pk)
    body: Payload = {
        "name": name.value,
        "type": task.type,
        "jobId": task_id,
        "organizationId": task.organization_id,
        "projectId": task.project_id,
        "workflowId": str(task.workflow_id) if task.workflow_id else None,
        "state": task.state,
        "at": timezone.now().isoformat(),
        "key": f"{task_id}:{task.fence}:{name.value}:{_queued(task) + number}",
        **data,
    }
    if "result" in body and _size(body["result"], task) > get_settings().snapshot_limit:
        body |= {"result": None, "resultOmitted": True}
    return body


def _size(result: Any, task: Task) -> int:
    is_its_own = result is task.result
    return json_text.bytes_of(text_of(task, "result")) if is_its_own else json_text.size(result)


def _queued(task: Task) -> int:
    """When the task was queued, by its submit or the last retry by hand; microseconds."""
    return round(task.queued_at.timestamp() * 1_000_000)


def send_signal(name: EventName, task: Task, body: Payload) -> None:
    """Send the Django signal; a receiver that raises is logged."""
    _send(SIGNALS[name], name, log_extra(body), task=task, payload=body)


def send_attempt_failed(ended: EndedAttempt) -> None:
    """Send `task_attempt_failed`; a receiver that raises is logged."""
    _send(
        task_attempt_failed,
        "task_attempt_failed",
        {"task_id": ended.task_id, "organization_id": ended.organization_id},
        task_id=ended.task_id,
        type=ended.type,
        organization_id=ended.organization_id,
        attempt=ended.attempt,
        exception=ended.exception,
        will_retry=ended.will_retry,
    )


def _send(signal: Signal, name: str, extra: dict[str, Any], **arguments: Any) -> None:
    try:
        answers = signal.send_robust(sender=Task, **arguments)
    except SystemExit as exit_of_receiver:
        # `send_robust` passes it on; it would end the thread that does the steps after commits.
        metrics.count(metrics.LISTENER_ERRORS)
        logger.exception("a receiver of %s tried to exit: %s", name, exit_of_receiver, extra=extra)
        return
    for receiver, answer in answers:
        if isinstance(answer, Exception):
            metrics.count(metrics.LISTENER_ERRORS)
            logger.error("receiver %r of %s failed", receiver, name, exc_info=answer, extra=extra)


def broadcast(bodies: Iterable[Payload]) -> None:
    """Append to the stream; without Redis, listeners miss the events, which is logged."""
    append(_notes(bodies))


def _notes(bodies: Iterable[Payload]) -> list[task_store.Note]:
    return [task_store.Note(body["jobId"], event=json_text.encode(body)) for body in bodies]


def text_for(settlement: task_store.Settlement, body: Payload) -> str:
    """JSON of a settlement's event, without the result if the script adds it."""
    if settlement.tells_result:
        body = {name: body[name] for name in body if name not in RESULT}
    return json_text.encode(body)


def append(notes: Sequence[task_store.Note]) -> None:
    """The same for events that are rendered already."""
    if notes and not routing.send(_announcements(notes)) and not is_cut_off():
        logger.warning("%d events were not broadcast: Redis is away", len(notes))


def _announcements(notes: Sequence[task_store.Note]) -> list[Call[bool]]:
    starts = range(0, len(notes), task_store.MOST_ENTRIES)
    return [
        task_store.announce(home_queue(), notes[start : start + task_store.MOST_ENTRIES])
        for start in starts
    ]


def emit(name: EventName, task: Task, **data: Any) -> None:
    """Signal and broadcast one event."""
    emit_all([(name, task, data)])


def emit_all(events: Iterable[tuple[EventName, Task, dict[str, Any]]]) -> None:
    """Signal and broadcast several events in one round trip."""
    bodies = []
    for name, task, data in events:
        body = payload(name, task, **data)
        send_signal(name, task, body)
        bodies.append(body)
    broadcast(bodies)


def log_extra(body: Payload) -> dict[str, Any]:
    """The fields of a log record about an event."""
    return {"task_id": body["jobId"], "organization_id": body["organizationId"]}
