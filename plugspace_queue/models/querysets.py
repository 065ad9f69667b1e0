"""Querysets of tasks: each condition, and each change of many rows, has a name here.

`task_queries` and `tenancy_queries` have the queries that start from a whole table.
"""

import uuid
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from django.db import models

from plugspace_queue import task_log
from plugspace_queue.domain import catalog, lifecycle
from plugspace_queue.domain.enums import State, Status

if TYPE_CHECKING:
    from plugspace_queue.models.task import Task  # noqa: F401 -- named in a base class

FINAL_VALUES = sorted(state.value for state in lifecycle.FINAL)
OPEN_VALUES = sorted(state.value for state in State if state not in lifecycle.FINAL)
WAITING_VALUES = sorted(set(OPEN_VALUES) - {State.PROCESSING.value})
STARTABLE_VALUES = sorted(state.value for state in lifecycle.STARTABLE)


class HolderCount(NamedTuple):
    """How many tasks of one type an organization has, of those accepted in one tier."""

    type: str
    tier: str
    """Empty for none."""
    organization_id: str
    number: int


class TaskQuerySet(models.QuerySet["Task"]):
    def of_organization(self, organization_id: str | None) -> Self:
        """Tasks of one organization; all of them for None (staff)."""
        return self if organization_id is None else self.filter(organization_id=organization_id)

    def of_workflow(self, workflow_id: uuid.UUID) -> Self:
        """The steps of one workflow."""
        return self.filter(workflow_id=workflow_id)

    def with_ids(self, task_ids: Iterable[uuid.UUID | str]) -> Self:
        """The tasks with these ids that exist."""
        return self.filter(pk__in=list(task_ids))

    def with_status(self, status: Status | str) -> Self:
        """Tasks that show as this public status."""
        return self.filter(state__in=sorted(lifecycle.states_of(status)))

    def in_state(self, *states: State) -> Self:
        """Tasks in one of these states."""
        return self.filter(state=states[0]) if len(states) == 1 else self.filter(state__in=states)

    def by_holder(self) -> list[HolderCount]:
        """How many there are by type, tier and organization."""
        names = ("type", "tier", "organization_id")
        counted = self.order_by().values_list(*names).annotate(number=models.Count("pk"))
        return [HolderCount(*row) for row in counted]

    def open(self) -> Self:
        """Tasks that have not ended."""
        return self.filter(state__in=OPEN_VALUES)

    def final(self) -> Self:
        """Tasks that have ended."""
        return self.filter(state__in=FINAL_VALUES)

    def startable(self) -> Self:
        """Tasks that a worker may start when their time has come."""
        return self.filter(state__in=STARTABLE_VALUES)

    def once_in_line(self) -> Self:
        """Tasks that are, or were, in line: not those that still wait for others."""
        return self.exclude(state=State.BLOCKED)

    def not_complete(self) -> Self:
        """Tasks that have not completed, or never will."""
        return self.exclude(state=State.COMPLETE)

    def ended_before(self, state: State, moment: datetime) -> Self:
        """Final tasks of one state that ended before `moment`."""
        return self.filter(state=state, completed_at__lt=moment)

    def ended_within(self, state: State, start: datetime, end: datetime) -> Self:
        """Tasks of one state that ended from `start` on and before `end`, the newest first."""
        rows = self.filter(state=state, completed_at__gte=start, completed_at__lt=end)
        return rows.order_by("-completed_at")

    def public(self) -> Self:
        """Without internal types, which no tenant sees."""
        internal = catalog.internal_types()
        return self.exclude(type__in=internal) if internal else self

    def expired(self, now: datetime, paused_types: Collection[str] | models.QuerySet[Any]) -> Self:
        """Tasks past their deadline that are not paused, the most overdue first."""
        due = self.filter(deadline__lte=now, organization__is_paused=False)
        return due.exclude(type__in=paused_types).order_by("deadline")

    def cancel_requested(self) -> Self:
        """Tasks whose cancel was asked for, the oldest request first."""
        return self.filter(cancel_requested_at__isnull=False).order_by("cancel_requested_at")

    def refund_owed(self, since: datetime, codes: Collection[str]) -> Self:
        """Tasks that failed by no fault of the tenant since then and were not refunded."""
        failed = self.filter(
            state=State.FAILED,
            completed_at__gte=since,
            refunded_at__isnull=True,
        )
        of_system = models.Q(error__code__in=codes) | models.Q(error__refunds=True)
        return failed.filter(of_system).exclude(charged_month="")

    def oldest_first(self) -> Self:
        """Ids begin with the time, so they order the rows."""
        return self.order_by("pk")

    def newest_first(self) -> Self:
        """The opposite."""
        return self.order_by("-pk")

    def move(self, task_id: uuid.UUID, source: State, target: State, **fields: Any) -> bool:
        """Compare-and-set one task's state; False when another process was first."""
        if self.filter(pk=task_id)._change(source, target, fields) != 1:
            return False
        task_log.change_on_commit([task_id], target, source, using=self.db)
        return True

    def move_all(self, source: State, target: State, **fields: Any) -> int:
        """Compare-and-set the state of all these tasks; how many moved."""
        # The callers have locked these rows, so the update changes exactly the rows found here.
        found = self.filter(state=source).values_list("pk", flat=True)
        moved = list(found) if task_log.wants_changes() else []
        count = self._change(source, target, fields)
        task_log.change_on_commit(moved, target, source, using=self.db)
        return count

    def _change(self, source: State, target: State, fields: Mapping[str, Any]) -> int:
        lifecycle.require(source, target)
        return self.filter(state=source).update(state=target, **fields)
