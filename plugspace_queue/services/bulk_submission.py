"""Submits many tasks in one transaction, all or none; errors carry the item's index."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from plugspace_queue.errors import QueueError, QuotaExceeded
from plugspace_queue.limits.request_limit import Admission
from plugspace_queue.models import IdempotencyKey, Task
from plugspace_queue.schemas.refusals import refuse
from plugspace_queue.schemas.requests import LONGEST_KEY, TaskRequest, fingerprint_of
from plugspace_queue.services import arguments, dependencies, idempotency
from plugspace_queue.services.idempotency import SubmitResult
from plugspace_queue.services.submission import (
    TaskItem,
    alias,
    build,
    key_row,
    organization_in,
    store,
    stored_alone,
    validated,
    with_tiers_of,
)

# Leaves room after the bulk's key for the index of an item.
LONGEST_BULK_KEY = LONGEST_KEY - 15
# Separates the two; a control character, so that no caller's key can equal an item's key.
PLACE = "\n#"


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


def _bulk_key(key: object) -> str | None:
    """The key of a whole bulk, checked."""
    return None if key is None else arguments.name("idempotency_key", key, LONGEST_BULK_KEY)


def _admissions(
    asked: Sequence[Mapping[str, Any] | TaskRequest], *, limit_requests: bool
) -> dict[Any, Admission]:
    """The organizations of all items; each counts one request."""
    found: dict[Any, Admission] = {}
    for index, one in enumerate(asked):
        with _At(index):
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
        # Raises the validation error for the missing field.
        TaskRequest.of(one)
    return organization_in(one)


def _item(
    index: int, one: Mapping[str, Any] | TaskRequest, admissions: Mapping[Any, Admission]
) -> TaskItem:
    with _At(index):
        request = validated(one)
    return TaskItem(index, request, admissions[request.organization_id])


def _take_under(key: str, items: Sequence[TaskItem]) -> list[IdempotencyKey]:
    """Derive a key for each item from the bulk's key.

    The bulk's own key is returned as unsaved rows, one for each organization, so that no task or
    workflow can use the same key.
    """
    bulk = fingerprint_of("bulk", items=[item.fingerprint() for item in items])
    for item in items:
        with _At(item.index):
            if item.key is not None:
                refuse("idempotency_key", _("cannot be given beside one for the whole bulk"))
        # A copy: the caller may submit the same request again.
        own = {"idempotency_key": f"{key}{PLACE}{item.index}"}
        item.request = item.request.model_copy(update=own)
        item.bulk = bulk
    organizations = dict.fromkeys(item.tenant.organization_id for item in items)
    return [
        IdempotencyKey(organization_id=organization_id, key=key, fingerprint=bulk)
        for organization_id in organizations
    ]


def _stored(
    items: Sequence[TaskItem], rows: Sequence[IdempotencyKey], now: datetime
) -> list[SubmitResult[Task]]:
    """Store new items in bulk and look up replays one by one; results in the order given."""
    done = _store_new(items, idempotency.unused(rows), now)
    for item in items:
        if item.index not in done:
            with _At(item.index):
                done[item.index] = stored_alone(item, now)
                if done[item.index].is_replay:
                    item.admission.confirm()
    return [done[item.index] for item in items]


def _store_new(
    items: Sequence[TaskItem], rows: Sequence[IdempotencyKey], now: datetime
) -> dict[int, SubmitResult[Task]]:
    """Store the items that are not replays, by index; `rows` are keys of the whole bulk."""
    keyless = [item for item in items if item.key is None]
    if len(keyless) == len(items):
        return _store_bulk(items, (), now)
    try:
        with transaction.atomic(using=alias()):
            return _store_bulk([*keyless, *_first_uses(items)], rows, now)
    except idempotency.KeyTaken:
        # Another caller used one of the keys meanwhile; the caller stores items with a key singly.
        idempotency.unused(rows)
        return _store_bulk(keyless, (), now)


def _first_uses(items: Sequence[TaskItem]) -> list[TaskItem]:
    """The first item of each key that was not used before."""
    first: dict[tuple[str, str], TaskItem] = {}
    for item in items:
        if item.key is not None:
            first.setdefault((item.tenant.organization_id, item.key), item)
    used = idempotency.used(first)
    return [item for key, item in first.items() if key not in used]


def _store_bulk(
    items: Sequence[TaskItem], rows: Sequence[IdempotencyKey], now: datetime
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
    items: Sequence[TaskItem], tasks: Sequence[Task], rows: Sequence[IdempotencyKey]
) -> None:
    """Insert the keys before anything is reserved; other callers with the same key wait here."""
    pairs = zip(items, tasks, strict=True)
    taken = [key_row(item, task) for item, task in pairs if item.key]
    for row in rows:
        # The bulk's key is deleted together with the first task of its organization.
        row.task_id = next(
            (task.pk for task in tasks if task.organization_id == row.organization_id), None
        )
    if taken := [*(row for row in rows if row.task_id), *taken]:
        idempotency.take(taken)


def _built(item: TaskItem, parents: dependencies.Parents, now: datetime) -> Task:
    with _At(item.index):
        task = build(item, now)
        dependencies.follow(task, item.request, parents)
        return task


class _At:
    """Adds the item's index to errors; a class, as it is entered three times per item."""

    __slots__ = ("_index",)

    def __init__(self, index: int) -> None:
        self._index = index

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, QueueError):
            error.details.setdefault("index", self._index)


@contextmanager
def _at_first_lacking(items: Sequence[TaskItem]) -> Iterator[None]:
    """Add the index of the first item of the counter that is exhausted to QuotaExceeded."""
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
