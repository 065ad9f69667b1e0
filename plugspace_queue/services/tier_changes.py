"""Another tier for an organization; on request its waiting tasks get the priority of that tier.

Tasks keep the priority that they were accepted with, so those that wait are moved as a change of
their own, in batches.
"""

from collections import defaultdict
from collections.abc import Sequence

from django.db import transaction
from django.db.models import Q

from plugspace_queue.broker import routing, task_store
from plugspace_queue.broker.scripts import Call
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import TaskType, queue_of
from plugspace_queue.errors import Unavailable
from plugspace_queue.limits import policies
from plugspace_queue.limits.policies import Plan
from plugspace_queue.models import Organization, Task, task_queries
from plugspace_queue.models.querysets import WAITING_VALUES, TaskQuerySet
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.services.lookup import organization_of
from plugspace_queue.services.organizations import change_organization
from plugspace_queue.services.submission import alias

BATCH = 500

MOST_MOVED = 10_000
"""Tasks of one change: its request must end while the operator waits for it."""


def change_tier(organization_id: object, tier: str | None, *, move_waiting: bool) -> int:
    """Change the tier (None: none) and move waiting tasks; how many were moved.

    Raises OrganizationUnknown, ValidationRefused.
    """
    before = policies.tier_of(organization_of(organization_id))
    row = change_organization(organization_id, {"tier": tier})
    return _move(row, before) if move_waiting else 0


def waiting_of_other_priority(row: Organization, before: Plan, after: Plan) -> TaskQuerySet:
    """Waiting tasks whose priority came with the tier before and is another one now.

    Also those that are above what the new tier gives. Tasks that a caller had lowered stay.
    """
    found = Q(pk__in=())
    for (old, new), kinds in _changes(before, after).items():
        found |= Q(type__in=kinds) & (Q(priority=old) | Q(priority__lt=new))
    return task_queries.tasks_of_organization(row.pk).filter(found, state__in=WAITING_VALUES)


def _changes(before: Plan, after: Plan) -> dict[tuple[int, int], list[str]]:
    """Old and new priority, and the types for which it changes."""
    found: dict[tuple[int, int], list[str]] = defaultdict(list)
    for kind in TaskType:
        pair = (_priority(before, kind), _priority(after, kind))
        if pair[0] != pair[1]:
            found[pair].append(kind.value)
    return found


def _priority(plan: Plan, task_type: str) -> int:
    return policies.default_priority(task_type) if plan.priority is None else plan.priority


def _move(row: Organization, before: Plan) -> int:
    after, moved = policies.tier_of(row), 0
    rows = waiting_of_other_priority(row, before, after)
    while moved < MOST_MOVED:
        with transaction.atomic(using=alias()):
            # A row that is locked now is about to start; in the order in which all code locks.
            batch = rows.order_by("pk").select_for_update(no_key=True, skip_locked=True)[:BATCH]
            tasks = list(batch.only("pk", "type", "state"))
            for kind in {task.type for task in tasks}:
                ids = [task.pk for task in tasks if task.type == kind]
                task_queries.tasks_by_id(ids).update(priority=_priority(after, kind))
            _move_in_line_on_commit(tasks, after)
        moved += len(tasks)
        if len(tasks) < BATCH:
            break
    return moved


def _move_in_line_on_commit(tasks: Sequence[Task], after: Plan) -> None:
    in_line = [task for task in tasks if task.state != State.BLOCKED]
    if in_line:
        transaction.on_commit(lambda: _move_in_line(in_line, after), using=alias(), robust=True)


def _move_in_line(tasks: Sequence[Task], after: Plan) -> None:
    """To the end of the lanes of their new band, in their order."""
    calls: dict[str, list[Call[object]]] = defaultdict(list)
    startable: dict[str, list[str]] = defaultdict(list)
    for task in tasks:
        queue, band = queue_of(task.type), _priority(after, task.type)
        calls[queue].append(task_store.set_band(queue, str(task.pk), band))
        if task.state in lifecycle.STARTABLE:
            startable[queue].append(str(task.pk))
    for queue, ids in startable.items():
        calls[queue].append(task_store.withdraw(queue, ids))
    try:
        routing.ask_everywhere(calls)
    except Unavailable:
        # The tasks stay in their old bands; only their order is wrong.
        return
    publishing.publish_ids([task.pk for task in tasks])
