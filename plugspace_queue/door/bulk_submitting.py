"""Submitting many tasks in one transaction, all or nothing; errors carry the item's index."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from plugspace_queue import quotas
from plugspace_queue.db.insert import insert_tasks
from plugspace_queue.door import dependencies, new_task, replays, submitting, validating
from plugspace_queue.door.admission import Admitted, admit
from plugspace_queue.door.new_task import NewTask
from plugspace_queue.door.replays import Submitted
from plugspace_queue.errors import QueueError, QuotaExceeded
from plugspace_queue.models import IdempotencyKey, Task


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the call and where it stood."""

    index: int
    new: NewTask
    admitted: Admitted


# Room behind the key of a bulk for the place of an item.
LONGEST_BULK_KEY = validating.LONGEST_KEY - 15
# Between the two: a control character, so that it is no key that a caller could give.
PLACE = "\n#"


def add_tasks(
    given: Iterable[Mapping[str, Any]], *, limit_requests: bool, idempotency_key: str | None = None
) -> list[Submitted[Task]]:
    """Take many tasks through the gates; see `QueueManager.submit_tasks`."""
    now = timezone.now()
    key = new_task.checked_key(idempotency_key, LONGEST_BULK_KEY)
    arguments = list(given)
    admitted = _admitted(arguments, limit_requests=limit_requests)
    items = [_checked(index, item, admitted, now) for index, item in enumerate(arguments)]
    rows: list[IdempotencyKey] = []
    if key is not None:
        items, rows = _under(key, items)
    with transaction.atomic(using=submitting.alias()):
        return _stored(items, rows, now)


def _admitted(
    arguments: Sequence[Mapping[str, Any]], *, limit_requests: bool
) -> dict[Any, Admitted]:
    """The organizations of all items; each counts one request."""
    found: dict[Any, Admitted] = {}
    for index, item in enumerate(arguments):
        with _at(index):
            organization_id = new_task.complete(item)["organization_id"]
            if not isinstance(organization_id, str) or organization_id not in found:
                found[organization_id] = admit(organization_id, limit_requests=limit_requests)
    return found


def _checked(
    index: int, item: Mapping[str, Any], admitted: Mapping[Any, Admitted], now: datetime
) -> Item:
    with _at(index):
        new = new_task.checked(item, now)
    return Item(index, new, admitted[new.organization_id])


def _under(key: str, items: Sequence[Item]) -> tuple[list[Item], list[IdempotencyKey]]:
    """Each item with a key of its own below the bulk's, which stands for all items together.

    And the bulk's own, unsaved, for each organization: tasks and workflows cannot take it too.
    """
    bulk = new_task.fingerprint_of("bulk", items=[item.new.fingerprint() for item in items])
    named = []
    for item in items:
        with _at(item.index):
            named.append(replace(item, new=item.new.of_bulk(bulk, f"{key}{PLACE}{item.index}")))
    organizations = dict.fromkeys(item.new.organization_id for item in items)
    return named, [
        IdempotencyKey(organization_id=organization_id, key=key, fingerprint=bulk)
        for organization_id in organizations
    ]


def _stored(
    items: Sequence[Item], rows: Sequence[IdempotencyKey], now: datetime
) -> list[Submitted[Task]]:
    """What is new in bulk, replays one by one; in the order given."""
    done = _store_new(items, replays.new(rows), now)
    for item in items:
        if item.index not in done:
            with _at(item.index):
                done[item.index] = submitting.stored(item.new, item.admitted, now)
    return [done[item.index] for item in items]


def _store_new(
    items: Sequence[Item], rows: Sequence[IdempotencyKey], now: datetime
) -> dict[int, Submitted[Task]]:
    """Store what no key tells to be a replay, by index; `rows` are keys of the whole bulk."""
    keyless = [item for item in items if item.new.idempotency_key is None]
    if len(keyless) == len(items):
        return _store_bulk(items, (), now)
    try:
        with transaction.atomic(using=submitting.alias()):
            return _store_bulk([*keyless, *_first_uses(items)], rows, now)
    except replays.KeyTaken:
        # Somebody used one of the keys meanwhile: all that have one go one by one.
        replays.new(rows)
        return _store_bulk(keyless, (), now)


def _first_uses(items: Sequence[Item]) -> list[Item]:
    """The first item of each key that nobody has used."""
    first: dict[tuple[str, str], Item] = {}
    for item in items:
        if item.new.idempotency_key is not None:
            first.setdefault((item.new.organization_id, item.new.idempotency_key), item)
    used = replays.used(first)
    return [item for key, item in first.items() if key not in used]


def _store_bulk(
    items: Sequence[Item], rows: Sequence[IdempotencyKey], now: datetime
) -> dict[int, Submitted[Task]]:
    items = sorted(items, key=lambda item: item.index)
    asked = [item.new for item in items]
    parents = dependencies.parents_of(asked)
    tasks = [_built(item, parents, now) for item in items]
    _take_keys(items, tasks, rows)
    counters = _reserve(items, now)
    month = quotas.month_of(now)
    for task in tasks:
        task.charged_month = month
    insert_tasks(tasks, using=submitting.alias())
    dependencies.store_links(tasks, asked, parents)
    submitting.keep_promises(tasks, counters)
    return {
        item.index: Submitted(task, is_replay=False)
        for item, task in zip(items, tasks, strict=True)
    }


def _take_keys(
    items: Sequence[Item], tasks: Sequence[Task], rows: Sequence[IdempotencyKey]
) -> None:
    """Before anything is reserved: who races with the same key waits here."""
    pairs = zip(items, tasks, strict=True)
    taken = [submitting.key_of(item.new, task) for item, task in pairs if item.new.idempotency_key]
    for row in rows:
        # The key of a bulk lasts as long as the first task of its organization.
        row.task_id = next(
            (task.pk for task in tasks if task.organization_id == row.organization_id), None
        )
    if taken := [*(row for row in rows if row.task_id), *taken]:
        replays.take(taken)


def _built(item: Item, parents: dependencies.Parents, now: datetime) -> Task:
    with _at(item.index):
        task = submitting.build(item.new, item.admitted, now)
        dependencies.follow(task, item.new, parents)
        return task


def _reserve(items: Sequence[Item], now: datetime) -> list[quotas.Counter]:
    """One reservation per organization, in the order in which usage rows are locked."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.new.organization_id].append(item)
    counters: list[quotas.Counter] = []
    for organization_id, group in sorted(groups.items()):
        units = Counter(item.new.type.value for item in group)
        with _at_first_lacking(group):
            plan = group[0].admitted.plan
            counters += quotas.reserve(organization_id, units, plan.quotas, now).counters
    return counters


@contextmanager
def _at(index: int) -> Iterator[None]:
    try:
        yield
    except QueueError as error:
        error.details.setdefault("index", index)
        raise


@contextmanager
def _at_first_lacking(group: Sequence[Item]) -> Iterator[None]:
    try:
        yield
    except QuotaExceeded as error:
        lacking = (item.index for item in group if item.new.type == error.details["type"])
        error.details["index"] = next(lacking)
        raise
