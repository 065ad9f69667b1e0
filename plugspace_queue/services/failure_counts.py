"""Counts failed tasks by cause: kept in this process, added to the rows about once a second.

However many tasks fail, a process touches the row of their group once a second. A process that is
killed loses the counts of its last second; the rows of the tasks are the truth.
"""

import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from django.db import OperationalError

from plugspace_queue.db import failure_counts as rows
from plugspace_queue.db.failure_counts import FailureSlot, GroupKey, SeenGroup
from plugspace_queue.db.transactions import lock_timeout
from plugspace_queue.domain.redaction import redacted
from plugspace_queue.models import FailureGroup

INTERVAL = 1.0
"""Seconds between two additions of one process."""

MOST_NEW = 200
"""Causes that one process meets for the first time in an hour; further ones are counted together.

Whoever may choose the message of an error could else make a group of each task."""

NEW_EVERY = 3600.0

MOST_SLOTS = 20_000
"""Minutes of groups and organizations that wait to be added while the rows are locked."""

LONGEST_MESSAGE = FailureGroup._meta.get_field("message").max_length or 0
LONGEST_STACK = 4_000
"""Characters of the stack's end."""


class FailedTask(NamedTuple):
    """A task that has failed, or expired, and why; texts are for staff."""

    task_id: uuid.UUID
    type: str
    organization_id: str
    at: datetime
    code: str
    fingerprint: str
    message: str
    class_name: str = ""
    stack: str = ""

    @property
    def key(self) -> GroupKey:
        return GroupKey(self.type, self.code, self.fingerprint)


class Seen:
    """The failures of one group that were not added yet."""

    def __init__(self, first: FailedTask) -> None:
        self.example = first
        self.first = self.last = first.at
        self.total = 0
        self.task_id = first.task_id

    def add(self, failed: FailedTask) -> None:
        self.total += 1
        self.first = min(self.first, failed.at)
        if failed.at >= self.last:
            self.last, self.task_id = failed.at, failed.task_id

    def as_group(self, key: GroupKey) -> SeenGroup:
        """The group with what the example says, without secrets."""
        example = self.example
        return SeenGroup(
            *key,
            first_seen=self.first,
            last_seen=self.last,
            total=self.total,
            class_name=example.class_name,
            message=str(redacted(example.message))[:LONGEST_MESSAGE],
            stack=_end_of(str(redacted(example.stack))),
            task_id=self.task_id,
        )


def _end_of(stack: str) -> str:
    """Where it was raised, in whole lines."""
    if len(stack) <= LONGEST_STACK:
        return stack
    return f"…\n{stack[-LONGEST_STACK:].partition(chr(10))[2]}"


class FailureCounts:
    """The failures of this process that were not added to the rows yet (any thread)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._adding = threading.Lock()
        self._added_at = float("-inf")
        self._known: set[GroupKey] = set()
        self._known_since = time.monotonic()
        self._seen: dict[GroupKey, Seen] = {}
        self._slots: Counter[FailureSlot] = Counter()

    def note(self, failed: Iterable[FailedTask]) -> None:
        """Count these; nothing is written here."""
        with self._lock:
            for one in failed:
                self._note(one)

    def flush_due(self) -> None:
        """Add what was counted, unless that was done within the last second."""
        if self._seen and time.monotonic() - self._added_at >= INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Add what was counted; raises the database's error, and keeps what a lock held up."""
        # One at a time, so that what is kept is not older than what was added.
        with self._adding:
            with self._lock:
                seen, slots = self._take()
                self._added_at = time.monotonic()
            if not seen:
                return
            try:
                with lock_timeout():
                    rows.add([one.as_group(key) for key, one in seen.items()], slots)
            except OperationalError:
                with self._lock:
                    self._put_back(seen, slots)
                raise

    def discard(self) -> None:
        """Forget what was counted; after a fork the parent process adds it."""
        self.__init__()  # type: ignore[misc]

    def _note(self, failed: FailedTask) -> None:
        key = self._admitted(failed.key)
        slot = FailureSlot(key, failed.at.replace(second=0, microsecond=0), failed.organization_id)
        if slot not in self._slots and len(self._slots) >= MOST_SLOTS:
            return
        self._slots[slot] += 1
        if key not in self._seen:
            self._seen[key] = Seen(failed)
        self._seen[key].add(failed)

    def _admitted(self, key: GroupKey) -> GroupKey:
        """The key, or that of all causes that are too many to be kept apart."""
        now = time.monotonic()
        if now - self._known_since >= NEW_EVERY:
            self._known, self._known_since = set(), now
        if key in self._known or len(self._known) < MOST_NEW:
            self._known.add(key)
            return key
        return key._replace(fingerprint="")

    def _take(self) -> tuple[dict[GroupKey, Seen], Counter[FailureSlot]]:
        taken = self._seen, self._slots
        self._seen, self._slots = {}, Counter()
        return taken

    def _put_back(self, seen: dict[GroupKey, Seen], slots: Counter[FailureSlot]) -> None:
        for key, older in seen.items():
            newer = self._seen.get(key)
            if newer is not None:
                older.total += newer.total
                older.first, older.last = min(older.first, newer.first), max(older.last, newer.last)
                older.task_id = newer.task_id
            self._seen[key] = older
        self._slots.update(slots)


_counts = FailureCounts()
"""Those of this process, shared by all its threads."""

note = _counts.note
flush_due = _counts.flush_due
flush = _counts.flush
discard = _counts.discard

os.register_at_fork(after_in_child=discard)
