"""Queries about tasks, their attempts and workflows."""

import uuid
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from django.db.models import Exists, Max, OuterRef, Q, QuerySet

from plugspace_queue.domain.enums import Outcome, State
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models.querysets import OPEN_VALUES, HolderCount, TaskQuerySet
from plugspace_queue.models.task import Attempt, Dependency, Task
from plugspace_queue.models.workflow import Workflow

Ids = Iterable[uuid.UUID | str]


def tasks_by_id(task_ids: Ids) -> TaskQuerySet:
    """The tasks with these ids that exist."""
    return Task.objects.with_ids(task_ids)


def tasks_in_order(task_ids: Ids) -> TaskQuerySet:
    """The same, in the order of their ids."""
    return tasks_by_id(task_ids).oldest_first()


def task_by_id(task_id: uuid.UUID | str) -> TaskQuerySet:
    """This task, or nothing."""
    return Task.objects.filter(pk=task_id)


def tasks_of_organization(organization_id: str | None) -> TaskQuerySet:
    """Tasks of one organization; all of them for None (staff)."""
    return Task.objects.of_organization(organization_id)


def tasks_matching(**columns: Any) -> TaskQuerySet:
    """Tasks with these values in these columns, as a list's filters name them."""
    return Task.objects.filter(**columns)


def published_of(organization_id: str) -> TaskQuerySet:
    """Tasks of an organization that are, or were, in line; the newest first."""
    return tasks_of_organization(organization_id).once_in_line().newest_first()


def deadlines_of_type(task_type: str) -> TaskQuerySet:
    """Tasks of a type that have to start by some time."""
    return Task.objects.filter(type=task_type, deadline__isnull=False)


def deadlines_of_organization(organization_id: str) -> TaskQuerySet:
    """The same of an organization."""
    return Task.objects.filter(organization=organization_id, deadline__isnull=False)


def ended_by(until: datetime, state: State, task_types: Collection[str]) -> TaskQuerySet:
    """Tasks of one final state and of these types that ended by `until`, the oldest end first."""
    rows = Task.objects.filter(state=state, type__in=task_types, completed_at__lte=until)
    return rows.order_by("completed_at", "pk")


def steps_of(workflow_ids: Iterable[uuid.UUID]) -> TaskQuerySet:
    """The steps of these workflows."""
    return Task.objects.filter(workflow__in=workflow_ids)


def steps_of_one(workflow_id: uuid.UUID) -> TaskQuerySet:
    """The steps of a workflow in their order."""
    return Task.objects.of_workflow(workflow_id).order_by("step", "id")


def step_columns(*further: str) -> TaskQuerySet:
    """What a summary of a workflow needs of its steps, and nothing large: to be prefetched."""
    return Task.objects.only("id", "state", "step", "may_fail", "workflow_id", *further)


def complete_steps(workflow_ids: Ids, task_ids: Iterable[str]) -> TaskQuerySet:
    """Those of these tasks that are complete steps of these workflows, in their order."""
    named = [pk for pk in map(parse_id, task_ids) if pk is not None]
    rows = Task.objects.filter(workflow__in=list(workflow_ids), pk__in=named)
    return rows.filter(state=State.COMPLETE).order_by("step")


def kinds_of(workflow_ids: Ids) -> "QuerySet[Workflow, tuple[uuid.UUID, str]]":
    """Id and kind of each of these workflows."""
    return workflows_by_id(workflow_ids).values_list("pk", "kind")


def workflow_ids_of(task_ids: Collection[uuid.UUID]) -> list[uuid.UUID]:
    """The workflows that these tasks are steps of."""
    rows = tasks_by_id(task_ids).filter(workflow__isnull=False)
    return sorted({pk for pk in rows.values_list("workflow_id", flat=True) if pk is not None})


def is_open(task_id: uuid.UUID) -> bool:
    """Whether this task is there and has not ended."""
    return Task.objects.open().filter(pk=task_id).exists()


def has_open_steps(workflow_id: uuid.UUID) -> bool:
    """Whether a step of this workflow has not ended."""
    return Task.objects.open().of_workflow(workflow_id).exists()


def is_cancel_requested(task_id: uuid.UUID) -> bool:
    """Whether a cancel of this task was requested."""
    return Task.objects.filter(pk=task_id, cancel_requested_at__isnull=False).exists()


def rows_of_state(state: State, *, before: str = "") -> TaskQuerySet:
    """Tasks of one state, of types behind this one, in the order of one index read backwards."""
    rows = Task.objects.filter(state=state).order_by("-type", "pk")
    return rows.filter(type__lt=before) if before else rows


def rows_of_range(state: State, task_type: str, after: uuid.UUID | None) -> TaskQuerySet:
    """Tasks of one state and type behind an id, by id: a range of one index."""
    rows = Task.objects.filter(state=state, type=task_type).oldest_first()
    return rows if after is None else rows.filter(pk__gt=after)


def startable_since(first_id: uuid.UUID) -> TaskQuerySet:
    """Tasks made since this id that a worker may start, the newest first."""
    return Task.objects.filter(pk__gte=first_id).startable().newest_first()


def running_by_holder() -> list[HolderCount]:
    """How many tasks run, by type, tier and organization."""
    return Task.objects.in_state(State.PROCESSING).by_holder()


def waiting_by_holder(most: int) -> list[HolderCount]:
    """The same of the `most` oldest tasks that a worker may start."""
    oldest = Task.objects.startable().oldest_first().values("pk")[:most]
    return Task.objects.filter(pk__in=oldest).by_holder()


def startable_of(task_types: Collection[TaskType], paused_types: QuerySet[Any]) -> TaskQuerySet:
    """Startable tasks of these types that neither their queue nor their organization holds."""
    rows = Task.objects.filter(type__in=task_types).startable()
    return rows.filter(organization__is_paused=False).exclude(type__in=paused_types)


def expired(now: datetime, paused_types: QuerySet[Any]) -> TaskQuerySet:
    """Tasks past their deadline that are not paused, the most overdue first."""
    return Task.objects.expired(now, paused_types)


def cancel_requested() -> TaskQuerySet:
    """Tasks whose cancel was asked for, the oldest request first."""
    return Task.objects.cancel_requested()


def refund_owed(since: datetime, codes: Collection[str]) -> TaskQuerySet:
    """Tasks that failed by no fault of the tenant since then and were not refunded."""
    return Task.objects.refund_owed(since, codes)


def ended_within(state: State, start: datetime, end: datetime) -> TaskQuerySet:
    """Final tasks of one state that ended from `start` on and before `end`, the newest first."""
    return Task.objects.ended_within(state, start, end)


def waits_of(task_ids: Collection[uuid.UUID]) -> "QuerySet[Task, tuple[Any, ...]]":
    """Type, start, and what the start may have waited for, of those that needed one attempt."""
    rows = Task.objects.filter(pk__in=task_ids, attempt_count=1, started_at__isnull=False)
    return rows.order_by().values_list(
        "type", "started_at", "queued_at", "wake_at", Max("parents__completed_at")
    )


def processing_rows() -> "QuerySet[Task, tuple[Any, ...]]":
    """Type, id, fence and start of the tasks whose rows say that they run, in order of an index."""
    rows = Task.objects.filter(state=State.PROCESSING).order_by("-type", "pk")
    return rows.values_list("type", "pk", "fence", "started_at")


def processing_attempt(task_id: uuid.UUID, fence: int) -> Task | None:
    """The task, if this attempt is its newest one and runs."""
    return Task.objects.filter(pk=task_id, fence=fence, state=State.PROCESSING).first()


def with_fence(fence: int) -> TaskQuerySet:
    """Tasks with this fence, for a compare-and-set."""
    return Task.objects.filter(fence=fence)


def move_task(task_id: uuid.UUID, source: State, target: State, **fields: Any) -> bool:
    """Compare-and-set one task's state; False when another process was first."""
    return Task.objects.move(task_id, source, target, **fields)


def prunable_tasks(state: State, cutoff: datetime) -> TaskQuerySet:
    """Final tasks outside workflows that no open child needs the result of, the oldest first."""
    children = Dependency.objects.filter(parent=OuterRef("pk"), task__state__in=OPEN_VALUES)
    rows = Task.objects.ended_before(state, cutoff).filter(~Exists(children), workflow=None)
    return rows.order_by("completed_at")


def prunable_workflows(
    cutoffs: Iterable[tuple[State, datetime]], born_before: uuid.UUID
) -> QuerySet[Workflow]:
    """Workflows with steps, all of which ended before the moment of their state."""
    old = Q(pk__in=[])
    for state, cutoff in cutoffs:
        old |= Q(state=state, completed_at__lt=cutoff)
    steps = Task.objects.filter(workflow=OuterRef("pk"))
    return Workflow.objects.filter(
        Exists(steps), ~Exists(steps.exclude(old)), pk__lt=born_before
    ).order_by("pk")


def workflows_by_id(workflow_ids: Ids) -> QuerySet[Workflow]:
    """The workflows with these ids that exist."""
    return Workflow.objects.filter(pk__in=list(workflow_ids))


def workflow_with_steps(workflow_id: uuid.UUID) -> QuerySet[Workflow]:
    """This workflow, or nothing; its steps are read with it."""
    return Workflow.objects.prefetch_related("tasks").filter(pk=workflow_id)


def workflows_matching(**columns: Any) -> QuerySet[Workflow]:
    """Workflows with these values in these columns, as a list's filters name them."""
    return Workflow.objects.filter(**columns)


def newest_attempts(task: Task) -> QuerySet[Attempt]:
    """The attempts of a task without their logs, the newest first."""
    return Attempt.objects.filter(task=task).defer("log").order_by("-number", "-fence")


def lost_attempts(task: Task) -> int:
    """How many attempts of a task were lost with their workers."""
    return Attempt.objects.filter(task=task, outcome=Outcome.LOST).count()


def keep_attempt(attempt: Attempt) -> None:
    """Store an attempt, unless another process has stored it already."""
    Attempt.objects.bulk_create([attempt], ignore_conflicts=True)
