"""Events on their way to clients: whose they are, and what is sent of them, made once for all."""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from plugspace_queue.broker.stream import body_of

PORTION = 64 * 1024
"""Bytes of events that go out together; one larger event still fits."""


class Subject(NamedTuple):
    """Whose events: the field of an event that names it, and its value."""

    field: str
    id: str


SUBJECT_FIELDS = ("jobId", "workflowId", "organizationId")

Place = tuple[int, int]


def place_of(cursor: str) -> Place:
    """A cursor as something that can be compared.

    >>> place_of("17-2") < place_of("17-10") < place_of("18")
    True
    """
    milliseconds, _, number = cursor.partition("-")
    return int(milliseconds), int(number or 0)


class Entry:
    """One event of the stream; what is sent of it is made once for all clients."""

    def __init__(self, cursor: str, source: bytes) -> None:
        self.cursor = cursor
        self.place = place_of(cursor)
        self.size = len(source)
        self.body = {**body_of(source), "id": cursor}

    @cached_property
    def told(self) -> dict[str, Any]:
        """The event for customers: stacks show our code and our paths."""
        error = self.body.get("error")
        if not isinstance(error, dict):
            return self.body
        return self.body | {"error": {k: v for k, v in error.items() if k != "stack"}}

    @cached_property
    def frame(self) -> bytes:
        """The customers' event on the wire; its `id` is the cursor to resume from."""
        return self._on_the_wire(self.told)

    @cached_property
    def staff_frame(self) -> bytes:
        """The whole event on the wire."""
        return self._on_the_wire(self.body)

    def _on_the_wire(self, told: dict[str, Any]) -> bytes:
        name = self.body.get("name", "message")
        return f"id: {self.cursor}\nevent: {name}\ndata: {json.dumps(told)}\n\n".encode()

    def is_of(self, subject: Subject) -> bool:
        """Whether the event is the subject's."""
        return bool(self.body.get(subject.field) == subject.id)


class Portion:
    """Events of one subject, one or more, that go out together: one text for all clients."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.size = sum(entry.size for entry in entries)

    @property
    def last(self) -> Entry:
        """The newest event."""
        return self.entries[-1]

    @cached_property
    def frames(self) -> bytes:
        """All of it for customers, on the wire."""
        return b"".join(entry.frame for entry in self.entries)

    @cached_property
    def staff_frames(self) -> bytes:
        """All of it for staff, on the wire."""
        return b"".join(entry.staff_frame for entry in self.entries)

    def behind(self, place: Place, *, is_staff: bool) -> bytes:
        """The events behind a place on the wire; none is b""."""
        if self.entries[0].place > place:
            return self.staff_frames if is_staff else self.frames
        rest = [entry for entry in self.entries if entry.place > place]
        return b"".join(entry.staff_frame if is_staff else entry.frame for entry in rest)


def portions(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """The events in groups of about PORTION bytes."""
    group: list[Entry] = []
    size = 0
    for entry in entries:
        if group and size + entry.size > PORTION:
            yield group
            group, size = [], 0
        group.append(entry)
        size += entry.size
    if group:
        yield group
