"""Submits a task: admit, validate, store in one transaction, publish when that commits.

A bulk (`bulk_submission`) and the steps of a workflow (`workflows.submission`) take the same path;
each ends in `store`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import connections, router, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from plugspace_queue.db.insert import insert_tasks, unsaved
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.ids import new_id
from plugspace_queue.errors import PermissionRefused
from plugspace_queue.limits import quota
from plugspace_queue.limits.policies import (
    OrganizationPlan,
    Plan,
    default_priority,
    read_tenant,
)
from plugspace_queue.limits.request_limit import Admission
from plugspace_queue.models import IdempotencyKey, Task, Workflow
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.schemas.requests import TaskRequest, fingerprint_of
from plugspace_queue.services import dependencies, idempotency
from plugspace_queue.services.dependencies import NEW_CHAIN, first_context
from plugspace_queue.services.idempotency import SubmitResult

Answer = TypeVar("Answer")


@dataclass(slots=True)
class TaskItem:
    """One requested task, its index in the call, and its organization's admission."""

    index: int
    request: TaskRequest
    admission: Admission
    bulk: str | None = None
    """The fingerprint of the bulk from whose key this item's key is derived."""

    @property
    def tenant(self) -> OrganizationPlan:
        return self.admission.tenant

    @property
    def key(self) -> str | None:
        return self.request.idempotency_key

    def fingerprint(self) -> str:
        alone = self.request.fingerprint()
        return alone if self.bulk is None else fingerprint_of("item", task=alone, bulk=self.bulk)


def submit_task(
    asked: Mapping[str, Any] | TaskRequest, *, limit_requests: bool
) -> SubmitResult[Task]:
    """Submit one task; see `QueueManager.add_task`."""
    now = timezone.now()
    organization_id = organization_in(asked)
    with Admission(organization_id, limit_requests=limit_requests) as admission:
        request = validated(asked)
    item = TaskItem(0, request, admission)

    def attempt() -> SubmitResult[Task]:
        with _whole(request):
            return stored_alone(item, now)

    done = with_tiers_of([admission], attempt)
    if done.is_replay:
        admission.confirm()
    return done._replace(window=admission.window)


def alias() -> str:
    """The database that tasks are written to."""
    return router.db_for_write(Task)


def with_tiers_of(admissions: Sequence[Admission], attempt: Callable[[], Answer]) -> Answer:
    """Call `attempt`, and once more if an organization's tier differs from the cached one."""
    try:
        return attempt()
    except quota.TierChanged:
        for admission in admissions:
            admission.renew()
    except PermissionRefused:
        # The priority is judged before anything is reserved, by a tier that may be remembered.
        changed = [admission for admission in admissions if admission.has_changed()]
        if not changed:
            raise
    return attempt()


def validated(asked: Mapping[str, Any] | TaskRequest) -> TaskRequest:
    """The request with its input in stored form; raises ValidationRefused, PayloadTooLarge."""
    request = asked if isinstance(asked, TaskRequest) else TaskRequest.of(asked)
    request.validate_input()
    return request


def granted_priority(asked: int | None, plan: Plan, task_type: str) -> int:
    """The task's priority; raises PermissionRefused when it is above the tier's."""
    highest = plan.priority
    if highest is None:
        highest = default_priority(task_type)
    if asked is not None and asked < highest:
        raise PermissionRefused(
            _(
                "priority: %(asked)s is above what this organization's tier gives;"
                " %(highest)s is its highest."
            )
            % {"asked": asked, "highest": highest},
            field="priority",
            highest=highest,
        )
    return highest if asked is None else asked


def store(
    tasks: Sequence[Task],
    tenants: Mapping[str, OrganizationPlan],
    now: datetime,
    *,
    workflow: Workflow | None = None,
    is_alone: bool = False,
) -> None:
    """Reserve quota, store the tasks, publish them on commit; the last step of every submit.

    Runs in the caller's transaction. A single task needs none where storing it is one statement
    (`quota.is_one_statement`).
    """
    month = quota.month_of(now)
    charges = quota.charges_of(tasks, tenants, month)
    for task in tasks:
        task.charged_month = month if quota.is_charged(task) else ""
        task.tier = tenants[task.organization_id].tier
    if not charges:
        _require_active(tenants)
    if is_alone and charges:
        counters = quota.reserve(charges, now, task=tasks[0])
    else:
        note = "" if workflow is None else f"workflow {workflow.pk}"
        counters = quota.reserve(charges, now, note=note)
        if workflow is not None:
            workflow.save(force_insert=True)
        insert_tasks(tasks, using=alias())
    publishing.publish_new_on_commit(tasks, counters)


def _require_active(tenants: Mapping[str, OrganizationPlan]) -> None:
    """What `quota.reserve` finds out. Raises OrganizationSuspended, OrganizationUnknown."""
    for organization_id in tenants:
        read_tenant(organization_id)


def stored_alone(item: TaskItem, now: datetime) -> SubmitResult[Task]:
    """Store one task, or find the one stored earlier with its idempotency key."""
    request, task = item.request, build(item, now)
    if request.idempotency_key is None:
        return SubmitResult(_store_alone(item, task, now), is_replay=False)
    row = key_row(item, task)
    return idempotency.run_once(row, _task_of, lambda: _store_alone(item, task, now))


def _store_alone(item: TaskItem, task: Task, now: datetime) -> Task:
    request, tenants = item.request, {task.organization_id: item.tenant}
    if not request.follows:
        store([task], tenants, now, is_alone=True)
        return task
    parents = dependencies.parents_of([request])
    dependencies.follow(task, request, parents)
    store([task], tenants, now, is_alone=True)
    dependencies.store_links([task], [request], parents)
    return task


def _whole(request: TaskRequest) -> AbstractContextManager[object]:
    """`atomic()`, unless the insert is a single statement in autocommit mode.

    BEGIN and COMMIT would be two more round trips, during which the counter's row stays locked.
    """
    # A submit with a key opens its own transaction in `idempotency.run_once`.
    is_one = request.idempotency_key is not None or quota.is_one_statement()
    if is_one and not request.depends_on and connections[alias()].get_autocommit():
        return nullcontext()
    return transaction.atomic(using=alias())


def build(item: TaskItem, now: datetime) -> Task:
    """The unsaved row of a new task without parents; raises PermissionRefused for its priority."""
    request = item.request
    wake_at = request.wake_at(now)
    ttl = request.seconds_to_live(request.type)
    return unsaved(
        Task,
        id=new_id(),
        type=request.type,
        organization_id=item.tenant.organization_id,
        project_id=request.project_id,
        user_id=request.user_id,
        priority=granted_priority(request.priority, item.tenant.plan, request.type),
        input=request.input,
        context=first_context(request.context)
        if request.context
        else {**NEW_CHAIN, "previousTasks": []},
        state=State.SCHEDULED if wake_at else State.WAITING,
        queued_at=now,
        wake_at=wake_at,
        deadline=(wake_at or now) + timedelta(seconds=ttl),
        ttl=ttl,
        max_retries=request.retries,
    )


def organization_in(asked: Mapping[str, Any] | TaskRequest) -> object:
    """The organization id in the request, unchecked."""
    if isinstance(asked, TaskRequest):
        return asked.organization_id
    return asked.get("organization_id")


def key_row(item: TaskItem, task: Task) -> IdempotencyKey:
    """The unsaved idempotency key of a new task."""
    return IdempotencyKey(
        organization_id=task.organization_id,
        key=item.key or "",
        fingerprint=item.fingerprint(),
        task_id=task.pk,
    )


def _task_of(key: IdempotencyKey) -> Task:
    assert key.task is not None
    return key.task
