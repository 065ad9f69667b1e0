"""Submits workflows: one input becomes the rows of all steps, in one transaction."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from plugspace_queue.conf import in_force
from plugspace_queue.db.insert import unsaved
from plugspace_queue.domain.enums import Kind, State
from plugspace_queue.domain.ids import new_id
from plugspace_queue.domain.kinds import PURPOSES, steps_of
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import InvalidState, NotFound
from plugspace_queue.limits.policies import Tenant
from plugspace_queue.limits.request_limit import Admission, RequestsLeft
from plugspace_queue.models import IdempotencyKey, Task, Workflow, task_queries
from plugspace_queue.publishing import projections
from plugspace_queue.schemas.refusals import refuse
from plugspace_queue.schemas.requests import WorkflowRequest, stored_input
from plugspace_queue.services import dependencies, idempotency, submission
from plugspace_queue.workflows.definitions import INPUT, step_inputs


@dataclass(frozen=True, kw_only=True)
class WorkflowHandle:
    """A started workflow; `task_ids` in the order of the steps."""

    workflow_id: uuid.UUID
    task_ids: list[uuid.UUID]
    is_replay: bool = False
    window: RequestsLeft | None = None
    """What the organization has left of its request window; None when that was not counted."""


@dataclass(slots=True)
class WorkflowPlan:
    """A request with its steps and their inputs."""

    request: WorkflowRequest
    steps: Sequence[TaskType]
    inputs: list[dict[str, Any]]
    parent: Task | None


def submit_workflow(
    asked: Mapping[str, Any] | WorkflowRequest, *, limit_requests: bool
) -> WorkflowHandle:
    """Submit all steps of a workflow, all or none; see `QueueManager.add_workflow`."""
    now = timezone.now()
    if isinstance(asked, WorkflowRequest):
        organization_id: object = asked.organization_id
    else:
        organization_id = asked.get("organization_id")
    with Admission(organization_id, limit_requests=limit_requests) as admission:
        plan = _planned(asked)

    def attempt() -> WorkflowHandle:
        with transaction.atomic(using=submission.alias()):
            return _stored(plan, admission.tenant, now)

    done = submission.with_tiers_of([admission], attempt)
    if done.is_replay:
        admission.confirm()
    return replace(done, window=admission.window)


def _planned(asked: Mapping[str, Any] | WorkflowRequest) -> WorkflowPlan:
    """Plan the steps; raises ValidationRefused, NotFound, InvalidState."""
    request = asked if isinstance(asked, WorkflowRequest) else WorkflowRequest.of(asked)
    request.input = stored_input(INPUT, request.input, request.chain.size)
    parent = _parent(request)
    request.input = _inherited(request, parent)
    steps = _steps(request.kind, request.input.get("options", {}))
    return WorkflowPlan(request, steps, step_inputs(steps, request.input), parent)


def _stored(plan: WorkflowPlan, tenant: Tenant, now: datetime) -> WorkflowHandle:
    request = plan.request
    workflow = Workflow(
        id=new_id(),
        kind=request.kind.value,
        organization_id=tenant.organization_id,
        project_id=request.project_id,
        user_id=request.user_id,
        input=request.input,
        created_at=now,
    )
    if request.idempotency_key is None:
        return _store(workflow, plan, tenant, now)
    row = IdempotencyKey(
        organization_id=tenant.organization_id,
        key=request.idempotency_key,
        fingerprint=request.fingerprint(),
        workflow_id=workflow.pk,
    )
    store = lambda: _store(workflow, plan, tenant, now)  # noqa: E731
    return idempotency.run_once(row, _replayed, store).subject


def _store(workflow: Workflow, plan: WorkflowPlan, tenant: Tenant, now: datetime) -> WorkflowHandle:
    tasks = build_steps(workflow, plan, tenant, now)
    submission.store(tasks, {tenant.organization_id: tenant}, now, workflow=workflow)
    task_queries.link_in_a_chain(tasks)
    projections.write_workflow_on_commit(workflow.pk)
    return WorkflowHandle(workflow_id=workflow.pk, task_ids=[task.pk for task in tasks])


def build_steps(
    workflow: Workflow, plan: WorkflowPlan, tenant: Tenant, now: datetime
) -> list[Task]:
    """The unsaved rows of all steps; the first may run, each other waits for the one before."""
    request = plan.request
    ttls = [request.seconds_to_live(step) for step in plan.steps]
    # All steps have the same priority; without a tier it is the default of the first step's queue.
    priority = submission.granted_priority(request.priority, tenant.plan, plan.steps[0])
    ids = [new_id() for _ in plan.steps]
    contexts = [_context(plan) for _ in plan.steps]
    dependencies.chain(contexts, ids)
    return [
        unsaved(
            Task,
            id=ids[at],
            type=str(step),
            organization_id=workflow.organization_id,
            project_id=workflow.project_id,
            user_id=workflow.user_id,
            priority=priority,
            input=plan.inputs[at],
            context=contexts[at],
            state=State.BLOCKED if at else State.WAITING,
            open_deps=1 if at else 0,
            queued_at=now,
            deadline=None if at else now + timedelta(seconds=ttls[at]),
            ttl=ttls[at],
            max_retries=in_force(step, "max_retries"),
            workflow_id=workflow.pk,
            step=at,
        )
        for at, step in enumerate(plan.steps)
    ]


def _context(plan: WorkflowPlan) -> dict[str, Any]:
    chain = plan.request.chain
    if plan.parent is None:
        return dependencies.first_context(chain)
    is_iteration = plan.request.kind is Kind.REFINE
    return dependencies.next_context(chain, [plan.parent], is_iteration=is_iteration)


def _replayed(key: IdempotencyKey) -> WorkflowHandle:
    assert key.workflow is not None
    return WorkflowHandle(
        workflow_id=key.workflow.pk, task_ids=key.workflow.task_ids, is_replay=True
    )


def _steps(kind: Kind, options: dict[str, Any]) -> Sequence[TaskType]:
    steps = steps_of(
        kind,
        skip_design=options.get("skipDesign", False),
        skip_code=options.get("skipCode", False),
    )
    if not steps:
        refuse("input.options", f"leave no step of {kind}")
    purpose = PURPOSES.get(kind)
    if purpose is not None and purpose not in steps:
        skip = f"skip{purpose.capitalize()}"
        refuse(f"input.options.{skip}", f"leaves out the step that {kind} is for")
    return steps


def _parent(request: WorkflowRequest) -> Task | None:
    """The task that this workflow continues; a refinement needs a complete one."""
    kind, task_id = request.kind, request.chain.parent_task_id
    if task_id is None:
        if kind is Kind.REFINE:
            refuse("context.parentTaskId", "is needed to refine")
        return None
    rows = task_queries.tasks_of_organization(request.organization_id).select_related("workflow")
    found = rows.filter(pk=task_id).first()
    if found is None:
        raise NotFound(f"No task {task_id} in this organization.", task_id=str(task_id))
    if kind is Kind.REFINE and found.state != State.COMPLETE:
        raise InvalidState(
            f"Task {task_id} is {found.state}; only a complete one can be refined.",
            task_id=str(task_id),
            state=str(found.state),
        )
    return found


def _inherited(request: WorkflowRequest, parent: Task | None) -> dict[str, Any]:
    """The input of a refinement, with prompt and context of the refined task where omitted."""
    if request.kind is not Kind.REFINE or parent is None:
        return request.input
    earlier = parent.workflow.input if parent.workflow else parent.input
    return {
        field: earlier[field] for field in ("prompt", "context") if field in earlier
    } | request.input
