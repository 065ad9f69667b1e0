"""Starting a workflow: one input becomes the rows of all steps, in one transaction."""

import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from django.db import transaction
from django.utils import timezone

from plugspace_queue import mirrors, quotas
from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import Kind, State
from plugspace_queue.domain.ids import new_id
from plugspace_queue.door import lineage, new_task, replays, submitting
from plugspace_queue.door.admission import Admitted, admit
from plugspace_queue.door.new_workflow import NewWorkflow, checked
from plugspace_queue.models import Dependency, IdempotencyKey, Task, Workflow


@dataclass(frozen=True, kw_only=True)
class WorkflowHandle:
    """A started workflow; `task_ids` in the order of the steps."""

    workflow_id: uuid.UUID
    task_ids: list[uuid.UUID]
    is_replay: bool = False


def add_workflow(*, limit_requests: bool, **arguments: Any) -> WorkflowHandle:
    """Take a workflow through the gates and store it; see `QueueManager.add_workflow`."""
    now = timezone.now()
    admitted = admit(arguments["organization_id"], limit_requests=limit_requests)
    new = checked(admitted, **arguments)
    with transaction.atomic(using=submitting.alias()):
        return _stored(new, admitted, now)


def _stored(new: NewWorkflow, admitted: Admitted, now: datetime) -> WorkflowHandle:
    workflow = Workflow(
        id=new_id(),
        kind=new.kind.value,
        organization_id=admitted.organization_id,
        project_id=new.project_id,
        user_id=new.user_id,
        input=new.input,
        created_at=now,
    )
    if new.idempotency_key is None:
        return _store(workflow, new, admitted, now)
    key = IdempotencyKey(
        organization_id=admitted.organization_id,
        key=new.idempotency_key,
        fingerprint=new.fingerprint(),
        workflow_id=workflow.pk,
    )
    return replays.once(key, _replayed, lambda: _store(workflow, new, admitted, now)).subject


def _store(
    workflow: Workflow, new: NewWorkflow, admitted: Admitted, now: datetime
) -> WorkflowHandle:
    tasks = build_steps(workflow, new, admitted, now)
    month, counters = quotas.reserve(
        new.organization_id,
        Counter(step.value for step in new.steps),
        admitted.plan.quotas,
        now,
        note=f"workflow {workflow.pk}",
    )
    for task in tasks:
        task.charged_month = month
    workflow.save(force_insert=True)
    Task.objects.bulk_create(tasks)
    Dependency.objects.bulk_create(
        [Dependency(task=after, parent=before) for before, after in pairwise(tasks)]
    )
    submitting.keep_promises(tasks, counters)
    mirrors.promise_workflow(workflow.pk)
    return WorkflowHandle(workflow_id=workflow.pk, task_ids=[task.pk for task in tasks])


def build_steps(
    workflow: Workflow, new: NewWorkflow, admitted: Admitted, now: datetime
) -> list[Task]:
    """The unsaved rows of all steps; the first may run, each other waits for the one before."""
    ids = [new_id() for _ in new.steps]
    contexts = [_context(new) for _ in new.steps]
    lineage.chain(contexts, ids)
    return [
        Task(
            id=ids[at],
            type=step.value,
            organization_id=workflow.organization_id,
            project_id=workflow.project_id,
            user_id=workflow.user_id,
            priority=_priority(new, admitted),
            input=new.inputs[at],
            context=contexts[at],
            state=State.BLOCKED if at else State.WAITING,
            open_deps=1 if at else 0,
            queued_at=now,
            deadline=None if at else now + timedelta(seconds=new.seconds_to_live),
            ttl=new.seconds_to_live,
            max_retries=get_settings().max_retries,
            workflow=workflow,
            step=at,
        )
        for at, step in enumerate(new.steps)
    ]


def _priority(new: NewWorkflow, admitted: Admitted) -> int:
    # Steps inherit: the first step's queue decides where the organization has no tier.
    return new_task.granted_priority(new.priority, admitted.plan, new.steps[0])


def _context(new: NewWorkflow) -> dict[str, Any]:
    if new.parent is None:
        return lineage.first_context(new.context)
    is_iteration = new.kind is Kind.REFINE
    return lineage.next_context(new.context, [new.parent], is_iteration=is_iteration)


def _replayed(key: IdempotencyKey) -> WorkflowHandle:
    assert key.workflow is not None
    return WorkflowHandle(
        workflow_id=key.workflow.pk, task_ids=key.workflow.task_ids, is_replay=True
    )
