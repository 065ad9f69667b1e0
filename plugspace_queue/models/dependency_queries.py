"""Queries about dependencies: which tasks wait for which, and what releases or cancels them."""

import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.models.querysets import TaskQuerySet
from plugspace_queue.models.task import Dependency, Task
from plugspace_queue.models.task_queries import tasks_by_id

FAILED_VALUES = sorted(lifecycle.FINAL - {State.COMPLETE})

MISSED_STEP = Q(
    parent__may_fail=True,
    parent__state__in=sorted(lifecycle.MISSED),
    parent__workflow=F("task__workflow"),
)
"""Of a dependency: its parent ended without an output that the task may go on without."""

PASSED = Q(parent__state=State.COMPLETE) | MISSED_STEP
"""Of a dependency: its parent does not hold the task any more."""


def link(pairs: Iterable[tuple[uuid.UUID, uuid.UUID]]) -> None:
    """Make the first one of each pair of tasks wait for the second one."""
    links = [Dependency(task_id=after, parent_id=before) for after, before in pairs]
    Dependency.objects.bulk_create(links)


def links_with_names() -> QuerySet[Dependency]:
    """Links with what names both their tasks: to be prefetched."""
    return Dependency.objects.select_related("parent", "task").only(
        "task_id", "parent_id", "parent__type", "parent__state", "task__type", "task__state"
    )


def links_in_workflow(workflow_id: uuid.UUID) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Child and parent of each link between the steps of a workflow."""
    links = Dependency.objects.filter(task__workflow=workflow_id)
    return list(links.values_list("task_id", "parent_id"))


def links_among(task_ids: Collection[uuid.UUID]) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Child and parent of each link between two of these tasks."""
    links = Dependency.objects.filter(task__in=task_ids, parent__in=task_ids)
    return list(links.values_list("task_id", "parent_id"))


def links_to(task_ids: Collection[uuid.UUID]) -> list[Dependency]:
    """The links from these tasks to those that they wait for, with the states of both."""
    links = Dependency.objects.filter(task__in=task_ids).select_related("parent", "task")
    return list(
        links.only(
            "task__workflow_id",
            "parent__state",
            "parent__may_fail",
            "parent__workflow_id",
        )
    )


def step_children(task: Task) -> set[uuid.UUID]:
    """The steps of its workflow that wait for this one."""
    links = Dependency.objects.filter(parent=task, task__workflow=task.workflow_id)
    return set(links.values_list("task_id", flat=True)) if task.workflow_id else set()


def results_of_parents(
    task_ids: Collection[uuid.UUID],
) -> "QuerySet[Dependency, tuple[Any, ...]]":
    """Child, parent, and the complete parent's type and result, by the parent's id."""
    links = Dependency.objects.filter(task__in=task_ids, parent__state=State.COMPLETE)
    return links.order_by("parent_id").values_list(
        "task_id", "parent_id", "parent__type", "parent__result"
    )


def parents_not_complete(task: Task) -> TaskQuerySet:
    """The parents of a task that have not completed, open or failed; no missed steps."""
    links = Dependency.objects.filter(task=task).exclude(PASSED)
    return Task.objects.filter(pk__in=links.values("parent"))


def blocked_children(parent_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """The blocked tasks that wait for these, but for those that go on without a missed step."""
    links = Dependency.objects.filter(parent__in=parent_ids, task__state=State.BLOCKED)
    return set(links.exclude(MISSED_STEP).values_list("task", flat=True))


def children_of_missed(parent_ids: Collection[uuid.UUID]) -> list[uuid.UUID]:
    """The blocked tasks that go on without these steps, once for each of them."""
    links = Dependency.objects.filter(MISSED_STEP, parent__in=parent_ids)
    return list(links.filter(task__state=State.BLOCKED).values_list("task", flat=True))


def lock_blocked(task_ids: Iterable[uuid.UUID]) -> list[Task]:
    """The blocked ones of these tasks, locked in the order of ids, without large columns."""
    rows = tasks_by_id(task_ids).in_state(State.BLOCKED).oldest_first()
    return list(rows.select_for_update(no_key=True).defer("input", "result", "context"))


def blocked_with_complete_parents(task_ids: Sequence[uuid.UUID]) -> QuerySet[Task, uuid.UUID]:
    """Ids of those of these that are blocked although no parent holds them any more."""
    # One index lookup per task: PostgreSQL plans `NOT IN` as a scan for each of them.
    open_links = Dependency.objects.filter(task=OuterRef("pk")).exclude(PASSED)
    blocked = tasks_by_id(task_ids).in_state(State.BLOCKED)
    return blocked.filter(~Exists(open_links)).values_list("pk", flat=True)


def blocked_with_failed_parents(task_ids: Sequence[uuid.UUID]) -> QuerySet[Task, uuid.UUID]:
    """Ids of those of these that are blocked although a parent will not complete."""
    links = Dependency.objects.filter(task=OuterRef("pk"), parent__state__in=FAILED_VALUES)
    links = links.exclude(MISSED_STEP)
    blocked = tasks_by_id(task_ids).in_state(State.BLOCKED)
    return blocked.filter(Exists(links)).values_list("pk", flat=True)


def failed_parents_of(task_ids: Sequence[uuid.UUID]) -> QuerySet[Dependency, uuid.UUID]:
    """The parents of these that will not complete."""
    links = Dependency.objects.filter(task__in=task_ids, parent__state__in=FAILED_VALUES)
    links = links.exclude(MISSED_STEP)
    return links.values_list("parent_id", flat=True).distinct()


def decrement_open_deps(task_ids: Collection[uuid.UUID], count: int) -> None:
    """Subtract `count` from the open parents of these tasks."""
    tasks_by_id(task_ids).update(open_deps=F("open_deps") - count)


def increment_open_deps(task_ids: Collection[uuid.UUID]) -> None:
    """Add one to the open parents of those of these tasks that are blocked."""
    tasks_by_id(task_ids).in_state(State.BLOCKED).update(open_deps=F("open_deps") + 1)
