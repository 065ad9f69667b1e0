"""What happened to tasks: told to Django signals here and now, and to listeners in any process.

The stream in Redis carries at-least-once broadcasts; who needs every completion pages the rows.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db import close_old_connections, connections
from django.dispatch import Signal
from django.utils import timezone

from plugspace_queue import metrics
from plugspace_queue.broker import routing, stream, task_store
from plugspace_queue.broker.connection import client, is_cut_off
from plugspace_queue.broker.routing import ANY_QUEUE
from plugspace_queue.broker.scripts import Call
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import json_text
from plugspace_queue.domain.enums import EventName
from plugspace_queue.errors import Unavailable
from plugspace_queue.models import Task
from plugspace_queue.schemas.task import text_of
from plugspace_queue.signals import SIGNALS, task_attempt_failed
from plugspace_queue.task_log import EndedAttempt

logger = logging.getLogger("plugspace_queue.events")

RESULT = ("result", "resultOmitted")

CURSOR = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")

Payload = dict[str, Any]
Listener = Callable[[Payload], object]


def payload(name: EventName, task: Task, *, number: int = 0, **data: Any) -> Payload:
    """The event as it goes out; `key` is the same when it is delivered again.

    Its last part counts on from when the task was queued: one that is cancelled before it starts,
    and again after a retry by hand, has the same token both times.

    `data` holds result, error or progress. A result above SNAPSHOT_LIMIT is left out.
    """
    task_id = str(task.pk)
    told: Payload = {
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
    if "result" in told and _size(told["result"], task) > get_settings().snapshot_limit:
        told |= {"result": None, "resultOmitted": True}
    return told


def _size(result: Any, task: Task) -> int:
    is_its_own = result is task.result
    return json_text.bytes_of(text_of(task, "result")) if is_its_own else json_text.size(result)


def _queued(task: Task) -> int:
    """When the task was queued, by its submit or the last retry by hand; microseconds."""
    return round(task.queued_at.timestamp() * 1_000_000)


def tell(name: EventName, task: Task, body: Payload) -> None:
    """Send the Django signal; a receiver that raises is logged."""
    _send(SIGNALS[name], name, _extra(body), task=task, payload=body)


def tell_failed_attempt(ended: EndedAttempt) -> None:
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


def _send(signal: Signal, name: str, extra: dict[str, Any], **told: Any) -> None:
    for receiver, answer in signal.send_robust(sender=Task, **told):
        if isinstance(answer, Exception):
            metrics.count(metrics.LISTENER_ERRORS)
            logger.error("receiver %r of %s failed", receiver, name, exc_info=answer, extra=extra)


def broadcasts(bodies: Sequence[Payload]) -> list[Call[None]]:
    """The calls that append these to the stream, to go out with others in one round trip."""
    return _announcements(_notes(bodies))


def broadcast(bodies: Iterable[Payload]) -> None:
    """Append to the stream; without Redis they are lost to listeners, and that is logged."""
    append(_notes(bodies))


def _notes(bodies: Iterable[Payload]) -> list[task_store.Note]:
    return [task_store.Note(body["jobId"], event=json_text.encode(body)) for body in bodies]


def text_for(told: task_store.Settlement, body: Payload) -> str:
    """JSON of an event that goes with a settlement, without a result that its script adds."""
    if told.tells_result:
        body = {name: body[name] for name in body if name not in RESULT}
    return json_text.encode(body)


def append(notes: Sequence[task_store.Note]) -> None:
    """The same for events that are text already."""
    if notes and not routing.tell(_announcements(notes)) and not is_cut_off():
        logger.warning("%d events were not broadcast: Redis is away", len(notes))


def _announcements(notes: Sequence[task_store.Note]) -> list[Call[None]]:
    starts = range(0, len(notes), task_store.MOST_ENTRIES)
    return [
        task_store.announce(ANY_QUEUE, notes[start : start + task_store.MOST_ENTRIES])
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
        tell(name, task, body)
        bodies.append(body)
    broadcast(bodies)


def _extra(body: Payload) -> dict[str, Any]:
    return {"task_id": body["jobId"], "organization_id": body["organizationId"]}


class Reader(threading.Thread):
    """Reads the stream from a cursor on and calls listeners by event name."""

    BLOCK_MS = 1000

    def __init__(self, cursor: str | None = None) -> None:
        super().__init__(name="plugspace-events", daemon=True)
        self.errors = 0
        self.is_shared = cursor is None
        self._cursor = cursor
        self._listeners: list[tuple[str, Listener]] = []
        self._stopping = threading.Event()
        self._ready = threading.Event()

    def add(self, name: str, listener: Listener) -> None:
        self._listeners.append((name, listener))

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._read_or_wait()
        finally:
            connections.close_all()

    def wait_until_ready(self, timeout: float = 5.0) -> bool:
        """Whether the place to read from is fixed: later events will not be missed."""
        return self._ready.wait(timeout)

    def stop(self) -> None:
        self._stopping.set()

    def _read_or_wait(self) -> None:
        try:
            self._read_once()
        except Exception as error:
            # A reader that ends leaves its listeners deaf for good, and nobody notices.
            if not isinstance(error, Unavailable):
                logger.exception("events could not be read; it is tried again")
            self._ready.set()
            self._stopping.wait(1.0)

    def _read_once(self) -> None:
        source = client(purpose="block")
        if self._cursor is None:
            self._cursor = stream.last_cursor(source)
        self._ready.set()
        for cursor, body in stream.read(source, self._cursor, self.BLOCK_MS, 100):
            if body:
                self._deliver({**body, "id": cursor})
            self._cursor = cursor

    def _deliver(self, body: Payload) -> None:
        # A listener's connection may have been cut since the last event.
        close_old_connections()
        for name, listener in list(self._listeners):
            if name in (body.get("name"), "*"):
                self._call(listener, body)

    def _call(self, listener: Listener, body: Payload) -> None:
        try:
            listener(body)
        except Exception:
            self.errors += 1
            metrics.count(metrics.LISTENER_ERRORS)
            logger.exception("listener %r failed", listener, extra=_extra(body))


_readers: list[Reader] = []
_lock = threading.Lock()


def on(name: EventName | str, listener: Listener, *, since: str | None = None) -> Reader:
    """Call `listener(payload)` for each event of this name ("*": all), in a thread of this process.

    From now on, or after the cursor `since` (an event's `id`). Raises ValueError for a name
    nobody sends and for what is no cursor. Returns the reader; `close()` stops them all.
    """
    wanted = name if name == "*" else EventName(name).value
    if since is not None and not CURSOR.fullmatch(since):
        raise ValueError(f"{since!r} is not the cursor of an event.")
    with _lock:
        reader = _shared_reader() if since is None else None
        if reader is None:
            reader = Reader(since)
            _readers.append(reader)
        reader.add(wanted, listener)
        if not reader.is_alive():
            reader.start()
    reader.wait_until_ready()
    return reader


def _shared_reader() -> Reader | None:
    return next((r for r in _readers if r.is_shared and r.is_alive()), None)


def close() -> None:
    """Stop all listeners of this process and wait for them."""
    with _lock:
        readers, _readers[:] = list(_readers), []
    for reader in readers:
        reader.stop()
    for reader in readers:
        if reader.is_alive():
            reader.join(timeout=Reader.BLOCK_MS / 1000 + 2)
