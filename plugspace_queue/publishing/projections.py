"""Copies of rows in Redis: tiers of organizations, gates of queues, workflows.

Written after the commit that changed the row. Gates that an outage lost are written again by
`maintenance.queue_config`, the other copies by `maintenance.reconcile`.
"""

import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import router, transaction
from django.db.models.signals import post_save
from django.dispatch import receiver

from plugspace_queue.broker import keys, routing, task_store
from plugspace_queue.broker.scripts import Call
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import clock
from plugspace_queue.domain.catalog import find, queue_names
from plugspace_queue.domain.enums import Policy
from plugspace_queue.domain.lifecycle import FINAL, status_of
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.limits import overrides, policies
from plugspace_queue.models import (
    Organization,
    Override,
    QueueSettings,
    Task,
    TierPolicy,
    Workflow,
    task_queries,
    tenancy_queries,
)
from plugspace_queue.models.workflow import status_of_steps


@receiver(
    post_save,
    sender=Organization,
    dispatch_uid="plugspace_queue.projections.organization",
)
def organization_saved(instance: Organization, **kwargs: Any) -> None:
    """Write the tier of a saved organization to Redis on commit; clear this process's cache."""
    policies.clear_cache()
    write_tiers_on_commit([instance])


@receiver(post_save, sender=QueueSettings, dispatch_uid="plugspace_queue.projections.queue")
def queue_saved(instance: QueueSettings, **kwargs: Any) -> None:
    """Write the gates of a saved queue to Redis on commit."""
    kind = find(instance.type)
    if kind is not None:
        write_queue_on_commit(kind)


@receiver(post_save, sender=TierPolicy, dispatch_uid="plugspace_queue.projections.tier")
def tier_saved(**kwargs: Any) -> None:
    """This process reads tiers again at once; others within a second."""
    policies.clear_cache()


def write_tiers_on_commit(organizations: Iterable[Organization]) -> None:
    """Write `plugspace:org:{id}:tier` of these when the transaction commits."""
    tiers = {organization.pk: organization.tier_id for organization in organizations}
    _on_commit(Organization, lambda: _write_tiers(tiers))


def write_queue_on_commit(kind: TaskType) -> None:
    """Write the gates of a queue when the transaction commits."""
    _on_commit(QueueSettings, lambda: write_queue(kind))


def write_workflow_on_commit(workflow_id: uuid.UUID) -> None:
    """Write `plugspace:workflow:{id}` when the transaction commits."""
    _on_commit(Workflow, lambda: write_workflows([workflow_id]))


def write_queue(kind: TaskType) -> bool:
    """Write a queue's gates from its current row; False when Redis is unavailable."""
    policies.clear_cache()
    return routing.send([gates_of(kind)], kind.queue_name)


def write_pause(organization_id: str, paused: bool) -> None:
    """Pause or resume an organization's lanes in all queues; does nothing without Redis."""
    pause = task_store.pause_organization
    routing.ask_each({queue: pause(queue, organization_id, paused) for queue in queue_names()})


def pauses_in(kind: TaskType, paused: Mapping[str, bool]) -> list[Call[None]]:
    """The calls that pause or resume organizations' lanes in one queue."""
    return [
        task_store.pause_organization(kind.queue_name, organization_id, is_held)
        for organization_id, is_held in sorted(paused.items())
    ]


def write_workflows(workflow_ids: Sequence[uuid.UUID]) -> bool:
    """Write the copies of workflows from their current rows; False when Redis is unavailable."""
    if not workflow_ids:
        return True
    rows = task_queries.workflows_by_id(workflow_ids)
    steps: dict[uuid.UUID, list[Task]] = {workflow_id: [] for workflow_id in workflow_ids}
    tasks = task_queries.steps_of(workflow_ids).order_by("step")
    for task in tasks.only("id", "workflow_id", "type", "state", "step", "may_fail"):
        steps[task.workflow_id or uuid.UUID(int=0)].append(task)
    return routing.send(_workflow_call(row, steps[row.pk]) for row in rows)


def workflow_wire(workflow: Workflow, steps: Sequence[Task]) -> dict[str, Any]:
    """The wire form of a workflow: its fields, its status, and each step's id, type and state."""
    return {
        "id": str(workflow.pk),
        "kind": workflow.kind,
        "organizationId": workflow.organization_id,
        "projectId": workflow.project_id,
        "userId": workflow.user_id,
        "status": status_of_steps(steps).value,
        "createdAt": workflow.created_at.isoformat().replace("+00:00", "Z"),
        "steps": [
            {
                "id": str(step.pk),
                "type": step.type,
                "step": step.step,
                "state": str(step.state),
                "status": status_of(step.state).value,
            }
            for step in steps
        ],
    }


def _workflow_call(workflow: Workflow, steps: Sequence[Task]) -> Any:
    text = json.dumps(workflow_wire(workflow, steps), separators=(",", ":"))
    is_final = all(step.state in FINAL for step in steps)
    ttl = max(get_settings().retention.values(), default=0) if is_final else 0
    return routing.put(keys.workflow(str(workflow.pk)), text, ttl)


def _write_tiers(tiers: dict[str, str | None]) -> None:
    # What was read since the row was saved may be of before the commit.
    policies.clear_cache()
    routing.send(
        routing.put(keys.organization_tier(organization_id), slug or "")
        for organization_id, slug in tiers.items()
    )


def gates_of(kind: TaskType, now: datetime | None = None) -> Call[None]:
    """The call that writes a queue's gates; reads the rows itself, as a cache may be outdated."""
    return all_gates([kind], now)[kind]


def all_gates(
    kinds: Collection[TaskType], now: datetime | None = None
) -> dict[TaskType, Call[None]]:
    """The same for many queues, in three queries."""
    moment, rows = now or clock.now(), tenancy_queries.queue_rows(kinds)
    held = overrides.read_each(kinds, moment)
    return {
        kind: _gates(kind, rows.get(kind) or QueueSettings(type=kind), *held[kind])
        for kind in kinds
    }


def _gates(
    kind: TaskType,
    row: QueueSettings,
    held: Sequence[Override],
    changed_at: datetime | None,
) -> Call[None]:
    """A limit changes without its row when an override begins or ends.

    That moment is a version too, so that a process that read the rows before it cannot undo the
    change.
    """
    policy = policies.in_force(row, held)
    return task_store.configure(
        kind.queue_name,
        paused=policy.is_paused,
        concurrency=policy.global_concurrency or 0,
        limiter_max=policy.limiter_max or 0,
        limiter_ms=int(policy.limiter_duration * 1000),
        organization_cap=policy.organization_concurrency or 0,
        weighted=policy.policy is Policy.WEIGHTED,
        version=max(row.version, int(changed_at.timestamp() * 1000) if changed_at else 0),
        overridden=overrides.gates(held),
    )


def _on_commit(model: type[Any], write: Any) -> None:
    transaction.on_commit(write, using=router.db_for_write(model), robust=True)
