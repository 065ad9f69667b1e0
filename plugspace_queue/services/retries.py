"""Manual retries: run failed, cancelled and expired tasks again, charged like a new submit."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.catalog import find
from plugspace_queue.domain.enums import State
from plugspace_queue.errors import InvalidState
from plugspace_queue.limits import quota
from plugspace_queue.limits.policies import Tenant
from plugspace_queue.limits.request_limit import Admission
from plugspace_queue.models import Dependency, Task, Workflow
from plugspace_queue.publishing import projections
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.schemas.refusals import refuse
from plugspace_queue.services import lookup
from plugspace_queue.services.submission import alias, with_tiers_of

RETRYABLE = lifecycle.FINAL - {State.COMPLETE}

# Tokens, cost and the number of attempts are kept; everything else is reset.
_FRESH: dict[str, Any] = {
    "result": None,
    "error": None,
    "progress": None,
    "started_at": None,
    "completed_at": None,
    "duration": None,
    "retry_count": 0,
    "recovery_count": 0,
    "deferral_count": 0,
    "worker_name": "",
    "wake_at": None,
    "cancel_requested_at": None,
    "refunded_at": None,
}


@dataclass(frozen=True, kw_only=True)
class RetryCharge:
    """How a retry is paid: charged like a submit, or free with a reason."""

    charge: bool
    reason: str
    limit_requests: bool

    def __post_init__(self) -> None:
        if not self.charge and not self.reason.strip():
            refuse("reason", "is needed for a retry that is not charged")


def retry(task_id: object, terms: RetryCharge, organization_id: str | None = None) -> Task:
    """Run a task again: it becomes waiting, or blocked while a parent has not ended.

    Raises NotFound, InvalidState, and the errors of a submit's limits.
    """
    task = lookup.task_of(task_id, organization_id)
    with Admission(task.organization_id, limit_requests=terms.limit_requests) as admission:
        _require_retryable(task)
    now = timezone.now()

    def attempt() -> None:
        with transaction.atomic(using=alias()):
            _open_again([task], _open_parents([task.pk]), terms, admission.tenant, now)
            if task.workflow_id is not None:
                projections.write_workflow_on_commit(task.workflow_id)

    if not terms.charge:
        admission.confirm()
    with_tiers_of([admission], attempt)
    return lookup.task_of(task.pk)


def retry_workflow(
    workflow_id: object, terms: RetryCharge, organization_id: str | None = None
) -> Workflow:
    """Continue from the step that did not complete; later steps are blocked again.

    Raises NotFound, InvalidState while a step is open or when all are complete, and the errors of
    a submit's limits.
    """
    workflow = lookup.workflow_of(workflow_id, organization_id)
    with Admission(workflow.organization_id, limit_requests=terms.limit_requests) as admission:
        steps = sorted(workflow.tasks.all(), key=lambda step: step.step or 0)
        _require_ended(workflow, steps)
    ended = [step for step in steps if step.state in RETRYABLE]
    now = timezone.now()

    def attempt() -> None:
        with transaction.atomic(using=alias()):
            # Steps that run again count as open parents of later steps.
            reopened = {step.pk for step in ended}
            _open_again(ended, _open_parents(reopened, reopened), terms, admission.tenant, now)
            projections.write_workflow_on_commit(workflow.pk)

    if not terms.charge:
        admission.confirm()
    with_tiers_of([admission], attempt)
    return lookup.workflow_of(workflow.pk)


def _open_again(
    tasks: Sequence[Task],
    open_parents: Mapping[UUID, int],
    terms: RetryCharge,
    tenant: Tenant,
    now: datetime,
) -> None:
    # Task rows before quota counters: the lock order of all code.
    month = quota.month_of(now) if terms.charge else ""
    for task in tasks:
        charged = month if quota.is_charged(task) else ""
        _move(task, open_parents.get(task.pk, 0), charged, now)
    if terms.charge:
        counters = _charge(tasks, terms, tenant, now)
    else:
        counters = []
        for task in tasks:
            quota.note_free_run(task, now, terms.reason)
    again = Task.objects.filter(pk__in=[task.pk for task in tasks])
    publishing.publish_new_on_commit(list(again.order_by("pk")), counters, are_new=False)


def _charge(
    tasks: Sequence[Task], terms: RetryCharge, tenant: Tenant, now: datetime
) -> list[quota.Counter]:
    return quota.reserve(
        quota.charges_of(tasks, {tenant.organization_id: tenant}, quota.month_of(now)),
        now,
        task_id=tasks[0].pk if len(tasks) == 1 else None,
        note=terms.reason or "retry by hand",
    )


def _move(task: Task, open_deps: int, month: str, now: datetime) -> None:
    target = State.BLOCKED if open_deps else State.WAITING
    moved = Task.objects.move(
        task.pk,
        State(task.state),
        target,
        **_FRESH,
        open_deps=open_deps,
        queued_at=now,
        deadline=None if open_deps else now + timedelta(seconds=task.ttl),
        charged_month=month,
    )
    if not moved:
        raise InvalidState(f"Task {task.pk} has changed meanwhile.", task_id=str(task.pk))


def _open_parents(
    task_ids: Sequence[UUID] | set[UUID], reopened: set[UUID] | None = None
) -> dict[UUID, int]:
    """How many parents each task waits for; InvalidState when one will never complete."""
    links = Dependency.objects.filter(task__in=task_ids).exclude(parent__state=State.COMPLETE)
    parents = {link.parent_id for link in links}
    states = _locked_states(parents)
    open_links = [link for link in links if states[link.parent_id] != State.COMPLETE]
    for link in open_links:
        if states[link.parent_id] in RETRYABLE and link.parent_id not in (reopened or ()):
            raise InvalidState(
                f"Task {link.task_id} waits for {link.parent_id}, which did not complete; retry"
                " that one or the workflow first.",
                task_id=str(link.task_id),
                parent_id=str(link.parent_id),
            )
    return Counter(link.task_id for link in open_links)


def _locked_states(task_ids: set[UUID]) -> dict[UUID, State]:
    rows = Task.objects.filter(pk__in=task_ids).order_by("pk").select_for_update(no_key=True)
    return {pk: State(state) for pk, state in rows.values_list("pk", "state")}


def _require_retryable(task: Task) -> None:
    if task.state not in RETRYABLE:
        raise InvalidState(
            f"Task {task.pk} is {task.state}; only failed, cancelled and expired ones are retried.",
            task_id=str(task.pk),
            state=str(task.state),
        )
    _require_declared(task)


def _require_declared(task: Task) -> None:
    if find(task.type) is None:
        raise InvalidState(
            f"Task {task.pk} cannot run again: its task type {task.type} is not declared any more.",
            task_id=str(task.pk),
        )


def _require_ended(workflow: Workflow, steps: Sequence[Task]) -> None:
    if not all(step.is_final for step in steps) or not any(s.state in RETRYABLE for s in steps):
        raise InvalidState(
            f"Workflow {workflow.pk} is {workflow.status}; only one that has failed is retried.",
            status=str(workflow.status),
        )
    for step in steps:
        if step.state in RETRYABLE:
            _require_declared(step)
