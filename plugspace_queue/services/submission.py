"""Submits tasks: admit, validate, store in one transaction, publish when that commits.

One task, a bulk and the steps of a workflow take the same way; each ends in `store`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import connections, router, transaction
from django.utils import timezone

from plugspace_queue.conf import get_settings
from plugspace_queue.db.insert import insert_tasks, unsaved
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.ids import new_id
from plugspace_queue.errors import PermissionRefused, QueueError, QuotaExceeded
from plugspace_queue.limits import quota
from plugspace_queue.limits.policies import Plan, Tenant, queue_settings
from plugspace_queue.limits.request_limit import Admission
from plugspace_queue.models import IdempotencyKey, Task, Workflow
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.schemas.requests import LONGEST_KEY, TaskRequest, fingerprint_of, refuse
from plugspace_queue.services import dependencies, idempotency
from plugspace_queue.services.dependencies import NEW_CHAIN, first_context
from plugspace_queue.services.idempotency import SubmitResult

Answer = TypeVar("Answer")

# Room behind the key of a bulk for the place of an item.
LONGEST_BULK_KEY = LONGEST_KEY - 15
# Between the two: a control character, so that it is no key that a caller could give.
PLACE = "\n#"


@dataclass(slots=True)
class Item:
    """One task that is asked for, where it stood in the call, and for whom."""

    index: int
    request: TaskRequest
    admission: Admission
    bulk: str | None = None
    """The fingerprint of the bulk whose key this one's is derived from."""

    @property
    def tenant(self) -> Tenant:
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
    organization_id = _organization_in(asked)
    with Admission(organization_id, limit_requests=limit_requests) as admission:
        request = validated(asked)
    item = Item(0, request, admission)

    def attempt() -> SubmitResult[Task]:
        with _whole(request):
            return _stored_alone(item, now)

    return with_tiers_of([admission], attempt)._replace(window=admission.window)


def submit_tasks(
    asked: Iterable[Mapping[str, Any] | TaskRequest],
    *,
    limit_requests: bool,
    idempotency_key: str | None = None,
) -> list[SubmitResult[Task]]:
    """Submit many tasks, all or none; see `QueueManager.submit_tasks`."""
    now = timezone.now()
    key = _bulk_key(idempotency_key)
    given = list(asked)
    admissions = _admissions(given, limit_requests=limit_requests)
    items = [_item(index, one, admissions) for index, one in enumerate(given)]
    rows: list[IdempotencyKey] = []
    if key is not None:
        rows = _take_under(key, items)

    def attempt() -> list[SubmitResult[Task]]:
        with transaction.atomic(using=alias()):
            return _stored(items, rows, now)

    done = with_tiers_of(list(admissions.values()), attempt)
    return [one._replace(window=admissions[one.subject.organization_id].window) for one in done]


def alias() -> str:
    """The database that tasks are written to."""
    return router.db_for_write(Task)


def with_tiers_of(admissions: Sequence[Admission], attempt: Callable[[], Answer]) -> Answer:
    """Do it, and once more when an organization turns out to have another tier than assumed."""
    try:
        return attempt()
    except quota.TierChanged:
        for admission in admissions:
            admission.renew()
        return attempt()


def validated(asked: Mapping[str, Any] | TaskRequest) -> TaskRequest:
    """The request with its input in stored form; raises ValidationRefused, PayloadTooLarge."""
    request = asked if isinstance(asked, TaskRequest) else TaskRequest.of(asked)
    request.validate_input()
    return request


def granted_priority(asked: int | None, plan: Plan, task_type: str) -> int:
    """The priority fixed at acceptance; PermissionRefused when asked above what the tier gives."""
    highest = plan.priority
    if highest is None:
        highest = queue_settings(task_type).default_priority
    if asked is not None and asked < highest:
        raise PermissionRefused(
            f"priority: {asked} is above what this organization's tier gives; {highest} is its"
            " highest.",
            field="priority",
            highest=highest,
        )
    return highest if asked is None else asked


def store(
    tasks: Sequence[Task],
    tenants: Mapping[str, Tenant],
    now: datetime,
    *,
    workflow: Workflow | None = None,
    is_alone: bool = False,
) -> None:
    """Take their units, store the tasks, publish them on commit; the end of every submit.

    In the caller's transaction. A task that is submitted alone needs none where that is one
    statement (`quotas.is_one_statement`).
    """
    month = quota.month_of(now)
    charges = quota.charges_of(tasks, tenants, month)
    for task in tasks:
        task.charged_month = month
    if is_alone:
        counters = quota.reserve(charges, now, task=tasks[0])
    else:
        note = "" if workflow is None else f"workflow {workflow.pk}"
        counters = quota.reserve(charges, now, note=note)
        if workflow is not None:
            workflow.save(force_insert=True)
        insert_tasks(tasks, using=alias())
    publishing.publish_new_on_commit(tasks, counters)


def _stored_alone(item: Item, now: datetime) -> SubmitResult[Task]:
    """Store one task, or find the one that its idempotency key stands for."""
    request, task = item.request, _build(item, now)
    if request.idempotency_key is None:
        return SubmitResult(_store_alone(item, task, now), is_replay=False)
    row = _key_row(item, task)
    return idempotency.run_once(row, _task_of, lambda: _store_alone(item, task, now))


def _store_alone(item: Item, task: Task, now: datetime) -> Task:
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
    """A transaction, or none where storing this task is one by itself; a savepoint in another's.

    BEGIN and COMMIT are round trips too, and the counter's row is locked until the last one.
    """
    # A submit with a key opens one of its own, in `idempotency.run_once`.
    is_one = request.idempotency_key is not None or quota.is_one_statement()
    if is_one and not request.depends_on and connections[alias()].get_autocommit():
        return nullcontext()
    return transaction.atomic(using=alias())


def _build(item: Item, now: datetime) -> Task:
    """The unsaved row of a new task that follows nothing; PermissionRefused for its priority."""
    request = item.request
    wake_at = request.wake_at(now)
    ttl = request.seconds_to_live
    retries = request.max_retries
    return unsaved(
        Task,
        id=new_id(),
        type=request.type,
        organization_id=item.tenant.organization_id,
        project_id=request.project_id,
        user_id=request.user_id,
        priority=granted_priority(request.priority, item.tenant.plan, request.type),
        input=request.input,
        context=first_context(request.context) if request.context else dict(NEW_CHAIN),
        state=State.SCHEDULED if wake_at else State.WAITING,
        queued_at=now,
        wake_at=wake_at,
        deadline=(wake_at or now) + timedelta(seconds=ttl),
        ttl=ttl,
        max_retries=get_settings().max_retries if retries is None else retries,
    )


def _organization_in(asked: Mapping[str, Any] | TaskRequest) -> object:
    if isinstance(asked, TaskRequest):
        return asked.organization_id
    return asked.get("organization_id")


def _key_row(item: Item, task: Task) -> IdempotencyKey:
    """The unsaved key that stands for a new task."""
    return IdempotencyKey(
        organization_id=task.organization_id,
        key=item.key or "",
        fingerprint=item.fingerprint(),
        task_id=task.pk,
    )


def _task_of(key: IdempotencyKey) -> Task:
    assert key.task is not None
    return key.task


def _bulk_key(key: object) -> str | None:
    """The key of a whole bulk, checked."""
    if key is not None and not (isinstance(key, str) and 1 <= len(key) <= LONGEST_BULK_KEY):
        refuse("idempotency_key", f"must be text of 1 to {LONGEST_BULK_KEY} characters")
    return key if key is None else str(key)


def _admissions(
    asked: Sequence[Mapping[str, Any] | TaskRequest], *, limit_requests: bool
) -> dict[Any, Admission]:
    """The organizations of all items; each counts one request."""
    found: dict[Any, Admission] = {}
    for index, one in enumerate(asked):
        with _at(index):
            organization_id = _organization_of_item(one)
            if not isinstance(organization_id, str) or organization_id not in found:
                with Admission(organization_id, limit_requests=limit_requests) as admission:
                    found[organization_id] = admission
    return found


def _organization_of_item(one: Mapping[str, Any] | TaskRequest) -> object:
    is_named = isinstance(one, TaskRequest) or (
        isinstance(one, Mapping) and "organization_id" in one
    )
    if not is_named:
        # It raises, and says what is missing.
        TaskRequest.of(one)
    return _organization_in(one)


def _item(
    index: int, one: Mapping[str, Any] | TaskRequest, admissions: Mapping[Any, Admission]
) -> Item:
    with _at(index):
        request = validated(one)
    return Item(index, request, admissions[request.organization_id])


def _take_under(key: str, items: Sequence[Item]) -> list[IdempotencyKey]:
    """Give each item a key of its own below the bulk's, which stands for all items together.

    The bulk's own keys are returned unsaved, one for each organization: tasks and workflows
    cannot take them too.
    """
    bulk = fingerprint_of("bulk", items=[item.fingerprint() for item in items])
    for item in items:
        with _at(item.index):
            if item.key is not None:
                refuse("idempotency_key", "cannot be given beside one for the whole bulk")
        item.request.idempotency_key = f"{key}{PLACE}{item.index}"
        item.bulk = bulk
    organizations = dict.fromkeys(item.tenant.organization_id for item in items)
    return [
        IdempotencyKey(organization_id=organization_id, key=key, fingerprint=bulk)
        for organization_id in organizations
    ]


def _stored(
    items: Sequence[Item], rows: Sequence[IdempotencyKey], now: datetime
) -> list[SubmitResult[Task]]:
    """What is new in bulk, replays one by one; in the order given."""
    done = _store_new(items, idempotency.unused(rows), now)
    for item in items:
        if item.index not in done:
            with _at(item.index):
                done[item.index] = _stored_alone(item, now)
    return [done[item.index] for item in items]


def _store_new(
    items: Sequence[Item], rows: Sequence[IdempotencyKey], now: datetime
) -> dict[int, SubmitResult[Task]]:
    """Store what no key tells to be a replay, by index; `rows` are keys of the whole bulk."""
    keyless = [item for item in items if item.key is None]
    if len(keyless) == len(items):
        return _store_bulk(items, (), now)
    try:
        with transaction.atomic(using=alias()):
            return _store_bulk([*keyless, *_first_uses(items)], rows, now)
    except idempotency.KeyTaken:
        # Another caller used one of the keys meanwhile: all that have one are stored one by one.
        idempotency.unused(rows)
        return _store_bulk(keyless, (), now)


def _first_uses(items: Sequence[Item]) -> list[Item]:
    """The first item of each key that was not used before."""
    first: dict[tuple[str, str], Item] = {}
    for item in items:
        if item.key is not None:
            first.setdefault((item.tenant.organization_id, item.key), item)
    used = idempotency.used(first)
    return [item for key, item in first.items() if key not in used]


def _store_bulk(
    items: Sequence[Item], rows: Sequence[IdempotencyKey], now: datetime
) -> dict[int, SubmitResult[Task]]:
    if not items:
        return {}
    items = sorted(items, key=lambda item: item.index)
    asked = [item.request for item in items]
    parents = dependencies.parents_of(asked)
    tasks = [_built(item, parents, now) for item in items]
    _take_keys(items, tasks, rows)
    with _at_first_lacking(items):
        store(tasks, {item.tenant.organization_id: item.tenant for item in items}, now)
    dependencies.store_links(tasks, asked, parents)
    return {
        item.index: SubmitResult(task, is_replay=False)
        for item, task in zip(items, tasks, strict=True)
    }


def _take_keys(
    items: Sequence[Item], tasks: Sequence[Task], rows: Sequence[IdempotencyKey]
) -> None:
    """Before anything is reserved: other callers with the same key wait here."""
    pairs = zip(items, tasks, strict=True)
    taken = [_key_row(item, task) for item, task in pairs if item.key]
    for row in rows:
        # The key of a bulk lasts as long as the first task of its organization.
        row.task_id = next(
            (task.pk for task in tasks if task.organization_id == row.organization_id), None
        )
    if taken := [*(row for row in rows if row.task_id), *taken]:
        idempotency.take(taken)


def _built(item: Item, parents: dependencies.Parents, now: datetime) -> Task:
    with _at(item.index):
        task = _build(item, now)
        dependencies.follow(task, item.request, parents)
        return task


@contextmanager
def _at(index: int) -> Iterator[None]:
    try:
        yield
    except QueueError as error:
        error.details.setdefault("index", index)
        raise


@contextmanager
def _at_first_lacking(items: Sequence[Item]) -> Iterator[None]:
    """Say which item is the first of those whose counter has no room."""
    try:
        yield
    except QuotaExceeded as error:
        lacking = error.organization_id, error.details["type"]
        error.details["index"] = next(
            item.index
            for item in items
            if (item.tenant.organization_id, item.request.type) == lacking
        )
        raise
