"""Submits workflows: one input becomes the rows of all steps, in one transaction."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from plugspace_queue.conf import in_force
from plugspace_queue.db.insert import unsaved
from plugspace_queue.domain.catalog import find
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.ids import new_id
from plugspace_queue.domain.kinds import WorkflowKind, kinds
from plugspace_queue.domain.steps import Step, ancestors
from plugspace_queue.errors import InvalidState, NotFound
from plugspace_queue.limits.policies import OrganizationPlan
from plugspace_queue.limits.request_limit import Admission, RequestsLeft
from plugspace_queue.models import IdempotencyKey, Task, Workflow, dependency_queries, task_queries
from plugspace_queue.publishing import projections
from plugspace_queue.schemas.refusals import refuse
from plugspace_queue.schemas.workflow_requests import WorkflowRequest
from plugspace_queue.services import dependencies, idempotency, submission
from plugspace_queue.workflows.definitions import (
    step_inputs,
    steps_for,
    stored_whole,
    with_inherited,
)


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
    kind: WorkflowKind[Any]
    steps: Sequence[Step]
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
    kind = kinds()[request.kind]
    _require_types(kind)
    request.input = stored_whole(kind, request.input, request.chain.size)
    parent = _parent(kind, request)
    if kind.refines and parent is not None:
        request.input = with_inherited(kind, request.input, parent)
    steps = steps_for(kind, request.input)
    return WorkflowPlan(request, kind, steps, step_inputs(kind, steps, request.input), parent)


def _require_types(kind: WorkflowKind[Any]) -> None:
    """A step whose type no worker can serve would wait until it expires."""
    for step in kind.steps:
        found = find(step.type)
        if found is None or found.is_internal:
            refuse(
                "kind",
                _("%(kind)s has a step of the type %(type)s, which is not declared")
                % {"kind": kind.name, "type": step.type},
            )


def _stored(plan: WorkflowPlan, tenant: OrganizationPlan, now: datetime) -> WorkflowHandle:
    request = plan.request
    workflow = Workflow(
        id=new_id(),
        kind=request.kind,
        kind_version=plan.kind.version,
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


def _store(
    workflow: Workflow, plan: WorkflowPlan, tenant: OrganizationPlan, now: datetime
) -> WorkflowHandle:
    tasks = build_steps(workflow, plan, tenant, now)
    submission.store(tasks, {tenant.organization_id: tenant}, now, workflow=workflow)
    dependency_queries.link(_links(plan.steps, tasks))
    projections.write_workflow_on_commit(workflow.pk)
    return WorkflowHandle(workflow_id=workflow.pk, task_ids=[task.pk for task in tasks])


def build_steps(
    workflow: Workflow, plan: WorkflowPlan, tenant: OrganizationPlan, now: datetime
) -> list[Task]:
    """The unsaved rows of all steps; those that wait for no other may run."""
    request = plan.request
    ttls = [request.seconds_to_live(step.type) for step in plan.steps]
    # All steps have the same priority; without a tier it is the default of the first step's queue.
    first = plan.steps[0].type
    priority = submission.granted_priority(request.priority, tenant.plan, first)
    ids = {step.name: new_id() for step in plan.steps}
    contexts = _contexts(plan, ids)
    return [
        unsaved(
            Task,
            id=ids[step.name],
            type=step.type,
            organization_id=workflow.organization_id,
            project_id=workflow.project_id,
            user_id=workflow.user_id,
            priority=priority,
            input=plan.inputs[at],
            context=contexts[at],
            state=State.BLOCKED if step.parents else State.WAITING,
            open_deps=len(step.parents),
            queued_at=now,
            deadline=None if step.parents else now + timedelta(seconds=ttls[at]),
            ttl=ttls[at],
            max_retries=in_force(step.type, "max_retries"),
            workflow_id=workflow.pk,
            step=at,
            step_name=step.name,
            may_fail=step.may_fail,
            has_input_from=step.input_from is not None and bool(step.parents),
        )
        for at, step in enumerate(plan.steps)
    ]


def _links(steps: Sequence[Step], tasks: Sequence[Task]) -> Iterator[tuple[uuid.UUID, uuid.UUID]]:
    """Each step with each one that it waits for."""
    by_name = {step.name: task.pk for step, task in zip(steps, tasks, strict=True)}
    return ((by_name[step.name], by_name[name]) for step in steps for name in step.parents)


def _contexts(plan: WorkflowPlan, ids: Mapping[str, uuid.UUID]) -> list[dict[str, Any]]:
    """The stored contexts of the steps: each follows all steps before it."""
    before = ancestors(plan.steps)
    return [
        dependencies.step_context(
            _context(plan),
            parents=[ids[name] for name in step.parents],
            earlier=[ids[name] for name in before[step.name]],
            children=[ids[one.name] for one in plan.steps if step.name in one.parents],
        )
        for step in plan.steps
    ]


def _context(plan: WorkflowPlan) -> dict[str, Any]:
    chain = plan.request.chain
    if plan.parent is None:
        return dependencies.first_context(chain)
    is_iteration = bool(plan.kind.refines)
    return dependencies.next_context(chain, [plan.parent], is_iteration=is_iteration)


def _replayed(key: IdempotencyKey) -> WorkflowHandle:
    assert key.workflow is not None
    return WorkflowHandle(
        workflow_id=key.workflow.pk, task_ids=key.workflow.task_ids, is_replay=True
    )


def _parent(kind: WorkflowKind[Any], request: WorkflowRequest) -> Task | None:
    """The task that this workflow continues; a refinement needs a complete one."""
    task_id = request.chain.parent_task_id
    if task_id is None:
        if kind.refines:
            refuse("context.parentTaskId", _("is needed to refine"))
        return None
    rows = task_queries.tasks_of_organization(request.organization_id).select_related("workflow")
    found = rows.filter(pk=task_id).first()
    if found is None:
        raise NotFound(
            _("No task %(task_id)s in this organization.") % {"task_id": task_id},
            task_id=str(task_id),
        )
    if kind.refines and found.state != State.COMPLETE:
        raise InvalidState(
            _("Task %(task_id)s is %(state)s; only a complete one can be refined.")
            % {"task_id": task_id, "state": found.state},
            task_id=str(task_id),
            state=str(found.state),
        )
    return found
