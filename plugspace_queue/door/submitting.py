"""Submitting a task: through the gates into a row, and into the line when the commit is done."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

from django.db import connections, router, transaction
from django.utils import timezone

from plugspace_queue import announcing, publishing, quotas
from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.ids import new_id
from plugspace_queue.door import dependencies, lineage, new_task, replays
from plugspace_queue.door.admission import Admitted, admit
from plugspace_queue.door.new_task import NewTask
from plugspace_queue.door.replays import Submitted
from plugspace_queue.models import IdempotencyKey, Task
from plugspace_queue.quotas import Counter


def add_task(arguments: Mapping[str, Any], *, limit_requests: bool) -> Submitted[Task]:
    """Take one task through the gates and store it; see `QueueManager.add_task`."""
    now = timezone.now()
    admitted = admit(arguments.get("organization_id"), limit_requests=limit_requests)
    new = new_task.checked(arguments, now)
    with _whole(new):
        return stored(new, admitted, now)


def alias() -> str:
    """The database that tasks are written to."""
    return router.db_for_write(Task)


def build(new: NewTask, admitted: Admitted, now: datetime) -> Task:
    """The unsaved row of a new task that follows nothing; PermissionRefused for its priority."""
    wake_at = new.wake_at(now)
    return Task(
        id=new_id(),
        type=new.type.value,
        organization_id=admitted.organization_id,
        project_id=new.project_id,
        user_id=new.user_id,
        priority=new_task.granted_priority(new.priority, admitted.plan, new.type),
        input=new.input,
        context=lineage.first_context(new.context),
        state=State.SCHEDULED if wake_at else State.WAITING,
        queued_at=now,
        wake_at=wake_at,
        deadline=new.deadline(now),
        ttl=new.seconds_to_live,
        max_retries=get_settings().max_retries if new.max_retries is None else new.max_retries,
    )


def stored(new: NewTask, admitted: Admitted, now: datetime) -> Submitted[Task]:
    """Store one task, or find the one that its idempotency key stands for."""
    task = build(new, admitted, now)
    if new.idempotency_key is None:
        return Submitted(_store(task, new, admitted, now), is_replay=False)
    key = key_of(new, task)
    return replays.once(key, _task_of, lambda: _store(task, new, admitted, now))


def key_of(new: NewTask, task: Task) -> IdempotencyKey:
    """The unsaved key that stands for a new task."""
    return IdempotencyKey(
        organization_id=new.organization_id,
        key=new.idempotency_key or "",
        fingerprint=new.fingerprint(),
        task_id=task.pk,
    )


def keep_promises(tasks: Sequence[Task], counters: Sequence[Counter] = ()) -> None:
    """After the commit: `taskAdded`, then the line, so that no start is told before it."""
    told = announcing.added(tasks)
    publishing.promise(tasks, [*told, *quotas.mirrored(counters)])


def _whole(new: NewTask) -> AbstractContextManager[object]:
    """A transaction, or none where storing this task is one by itself; a savepoint in another's.

    BEGIN and COMMIT are round trips too, and the counter's row is locked until the last one.
    """
    # Who has a key opens one of its own, in `replays.once`.
    is_one = new.idempotency_key is not None or quotas.is_one_statement()
    if is_one and not new.depends_on and connections[alias()].get_autocommit():
        return nullcontext()
    return transaction.atomic(using=alias())


def _store(task: Task, new: NewTask, admitted: Admitted, now: datetime) -> Task:
    parents = dependencies.parents_of([new])
    dependencies.follow(task, new, parents)
    counters = quotas.charge(task, admitted.plan.quota(new.type), now)
    dependencies.store_links([task], [new], parents)
    keep_promises([task], counters)
    return task


def _task_of(key: IdempotencyKey) -> Task:
    assert key.task is not None
    return key.task
