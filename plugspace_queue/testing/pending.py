"""Which tasks a worker would start now, by the rows alone, and when the next one is due."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import QuerySet
from django.utils import timezone

from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import Task, task_queries, tenancy_queries


class RunClock:
    """The clock of a run: it starts at `now`, and may be advanced."""

    def __init__(self, now: datetime | None = None) -> None:
        self.shift = now - timezone.now() if now else timedelta()

    def now(self) -> datetime:
        return timezone.now() + self.shift

    def put_forward(self, moment: datetime) -> None:
        self.shift = max(self.shift, moment - timezone.now())


@dataclass
class RunScope:
    """The tasks a run is about: of these types, and only these ids unless None."""

    kinds: Collection[TaskType]
    ids: Collection[uuid.UUID] | None = None
    passed_over: set[uuid.UUID] = field(default_factory=set)

    def due(self, now: datetime) -> "QuerySet[Task]":
        """Startable tasks whose time has come, in order: by band, then as they came."""
        rows = self._open().exclude(wake_at__gt=now).exclude(pk__in=self.passed_over)
        return rows.order_by("priority", "queued_at", "pk")

    def next_retry(self) -> datetime | None:
        """When the first backoff ends."""
        waiting = self._open().filter(state=State.RETRYING, wake_at__isnull=False)
        return waiting.order_by("wake_at").values_list("wake_at", flat=True).first()

    def _open(self) -> "QuerySet[Task]":
        rows = task_queries.startable_of(self.kinds, tenancy_queries.paused_types())
        return rows if self.ids is None else rows.filter(pk__in=self.ids)
