"""Manual retries: run failed, cancelled and expired tasks again, charged like a new submit."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.catalog import find
from plugspace_queue.domain.enums import State, Status
from plugspace_queue.errors import InvalidState
from plugspace_queue.limits import quota
from plugspace_queue.limits.policies import OrganizationPlan
from plugspace_queue.limits.request_limit import Admission
from plugspace_queue.models import Dependency, Task, Workflow, dependency_queries, task_queries
from plugspace_queue.models.workflow import is_missed
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
    "error_code": "",
    "fingerprint": "",
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
            refuse("reason", _("is needed for a retry that is not charged"))


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
        _require_failed(workflow)
        ended = _to_run_again(steps)
        for step in ended:
            _require_declared(step)
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


def _to_run_again(steps: Sequence[Task]) -> list[Task]:
    """The steps that did not complete, but for those that all after them went on without."""
    ended = [step for step in steps if step.state in RETRYABLE]
    if not any(map(is_missed, ended)):
        return ended
    children: dict[UUID, list[UUID]] = defaultdict(list)
    for child, parent in dependency_queries.links_among([step.pk for step in steps]):
        children[parent].append(child)
    chosen: set[UUID] = set()
    # Backwards, as each step comes after those that it waits for.
    for step in reversed(ended):
        if not is_missed(step) or chosen.intersection(children[step.pk]):
            chosen.add(step.pk)
    return [step for step in ended if step.pk in chosen] or ended


def _open_again(
    tasks: Sequence[Task],
    open_parents: Mapping[UUID, int],
    terms: RetryCharge,
    tenant: OrganizationPlan,
    now: datetime,
) -> None:
    # Task rows before quota counters: the lock order of all code.
    month = quota.month_of(now) if terms.charge else ""
    for task in tasks:
        charged = month if quota.is_charged(task) else ""
        _move(task, open_parents.get(task.pk, 0), charged, now)
    for task in tasks:
        if is_missed(task):
            # What would have gone on without it, and still waits for others, waits for it again.
            waiting = dependency_queries.step_children(task) - {other.pk for other in tasks}
            dependency_queries.increment_open_deps(waiting)
    if terms.charge:
        counters = _charge(tasks, terms, tenant, now)
    else:
        counters = []
        for task in tasks:
            quota.note_free_run(task, now, terms.reason)
    again = list(task_queries.tasks_in_order(task.pk for task in tasks))
    publishing.publish_new_on_commit(again, counters, are_new=False)


def _charge(
    tasks: Sequence[Task], terms: RetryCharge, tenant: OrganizationPlan, now: datetime
) -> list[quota.Counter]:
    return quota.reserve(
        quota.charges_of(tasks, {tenant.organization_id: tenant}, quota.month_of(now)),
        now,
        task_id=tasks[0].pk if len(tasks) == 1 else None,
        note=terms.reason or "retry by hand",
    )


def _move(task: Task, open_deps: int, month: str, now: datetime) -> None:
    target = State.BLOCKED if open_deps else State.WAITING
    moved = task_queries.move_task(
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
        raise InvalidState(
            _("Task %(task)s has changed meanwhile.") % {"task": task.pk}, task_id=str(task.pk)
        )


def _open_parents(
    task_ids: Sequence[UUID] | set[UUID], reopened: set[UUID] | None = None
) -> dict[UUID, int]:
    """How many parents each task waits for; InvalidState when one will never complete."""
    reopened = reopened or set()
    links = dependency_queries.links_to(task_ids)
    parents = _locked({link.parent_id for link in links if not _is_passed(link, link.parent)})
    open_links = [
        link
        for link in links
        if link.parent_id in reopened
        or not _is_passed(link, parents.get(link.parent_id, link.parent))
    ]
    for link in open_links:
        state = parents.get(link.parent_id, link.parent).state
        if state in RETRYABLE and link.parent_id not in reopened:
            raise InvalidState(
                _(
                    "Task %(task_id)s waits for %(parent_id)s, which did not complete; retry"
                    " that one or the workflow first."
                )
                % {"task_id": link.task_id, "parent_id": link.parent_id},
                task_id=str(link.task_id),
                parent_id=str(link.parent_id),
            )
    return Counter(link.task_id for link in open_links)


def _is_passed(link: Dependency, parent: Task) -> bool:
    """Whether a parent, as read just now, does not hold the child any more."""
    is_in_workflow = link.task.workflow_id is not None and (
        link.task.workflow_id == parent.workflow_id
    )
    return parent.state == State.COMPLETE or (is_in_workflow and is_missed(parent))


def _locked(task_ids: set[UUID]) -> dict[UUID, Task]:
    rows = task_queries.tasks_by_id(task_ids).oldest_first()
    found = rows.select_for_update(no_key=True).only("state", "may_fail", "workflow_id")
    return {task.pk: task for task in found}


def _require_retryable(task: Task) -> None:
    if task.state not in RETRYABLE:
        raise InvalidState(
            _("Task %(task)s is %(state)s; only failed, cancelled and expired ones are retried.")
            % {"task": task.pk, "state": task.state},
            task_id=str(task.pk),
            state=str(task.state),
        )
    _require_declared(task)


def _require_declared(task: Task) -> None:
    if find(task.type) is None:
        raise InvalidState(
            _("Task %(task)s cannot run again: its task type %(type)s is not declared any more.")
            % {"task": task.pk, "type": task.type},
            task_id=str(task.pk),
        )


def _require_failed(workflow: Workflow) -> None:
    if workflow.status != Status.FAILED:
        raise InvalidState(
            _("Workflow %(workflow)s is %(status)s; only one that has failed is retried.")
            % {"workflow": workflow.pk, "status": workflow.status},
            status=str(workflow.status),
        )
