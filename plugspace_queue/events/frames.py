"""Events on their way to HTTP clients: selected by topic, rendered once for all clients."""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from plugspace_queue.broker.stream import body_of
from plugspace_queue.domain import catalog

BATCH_BYTES = 64 * 1024
"""Bytes of events that are sent together; one larger event still fits."""


class Topic(NamedTuple):
    """Selects events: the name of a field of the event, and its value."""

    field: str
    id: str


TOPIC_FIELDS = ("jobId", "workflowId", "organizationId")

Position = tuple[int, int]


def position_of(cursor: str) -> Position:
    """A cursor in a form that can be compared.

    >>> position_of("17-2") < position_of("17-10") < position_of("18")
    True
    """
    milliseconds, _, number = cursor.partition("-")
    return int(milliseconds), int(number or 0)


class StreamEntry:
    """One event of the Redis stream; its frames are rendered once for all clients."""

    def __init__(self, cursor: str, source: bytes) -> None:
        self.cursor = cursor
        self.position = position_of(cursor)
        self.size = len(source)
        self.body = {**body_of(source), "id": cursor}

    @cached_property
    def public_body(self) -> dict[str, Any]:
        """The event for customers: without stacks, which show our code and our paths."""
        error = self.body.get("error")
        if not isinstance(error, dict):
            return self.body
        return self.body | {"error": {k: v for k, v in error.items() if k != "stack"}}

    @cached_property
    def public_frame(self) -> bytes:
        """The event for customers as a server-sent event; its `id` is the cursor to resume from."""
        return self._frame(self.public_body)

    @cached_property
    def staff_frame(self) -> bytes:
        """The whole event as a server-sent event."""
        return self._frame(self.body)

    def frame(self, *, is_staff: bool) -> bytes:
        """The event as a server-sent event."""
        return self.staff_frame if is_staff else self.public_frame

    def _frame(self, body: dict[str, Any]) -> bytes:
        name = self.body.get("name", "message")
        return f"id: {self.cursor}\nevent: {name}\ndata: {json.dumps(body)}\n\n".encode()

    @property
    def is_public(self) -> bool:
        """Whether it is of a type that tenants see."""
        return not catalog.is_internal(self.body.get("type", ""))

    def belongs_to(self, topic: Topic) -> bool:
        """Whether the topic selects this event."""
        return bool(self.body.get(topic.field) == topic.id) and self.is_public


class EventBatch:
    """One or more events of a topic that are sent together: one text for all clients."""

    def __init__(self, entries: Sequence[StreamEntry]) -> None:
        self.entries = entries
        self.size = sum(entry.size for entry in entries)

    @property
    def last(self) -> StreamEntry:
        """The newest event."""
        return self.entries[-1]

    @cached_property
    def _public_frames(self) -> bytes:
        return b"".join(entry.public_frame for entry in self.entries)

    @cached_property
    def _staff_frames(self) -> bytes:
        return b"".join(entry.staff_frame for entry in self.entries)

    def frames_after(self, position: Position, *, is_staff: bool) -> bytes:
        """The events after a position as server-sent events; b"" when there is none."""
        if self.entries[0].position > position:
            return self._staff_frames if is_staff else self._public_frames
        rest = [entry for entry in self.entries if entry.position > position]
        return b"".join(entry.frame(is_staff=is_staff) for entry in rest)


def batches(entries: Sequence[StreamEntry]) -> Iterator[list[StreamEntry]]:
    """The events in groups of about BATCH_BYTES."""
    group: list[StreamEntry] = []
    size = 0
    for entry in entries:
        if group and size + entry.size > BATCH_BYTES:
            yield group
            group, size = [], 0
        group.append(entry)
        size += entry.size
    if group:
        yield group
