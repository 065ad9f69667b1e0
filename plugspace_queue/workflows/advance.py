"""What the end of a task does to those that wait for it: release them, or cancel them."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from django.db import router, transaction
from django.db.models import F

from plugspace_queue import announcing, quotas
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Dependency, Task

CODE = "CANCELLED"
MESSAGE = "A task this one waited for did not complete."


def release_children(ended: Mapping[uuid.UUID, int], now: datetime) -> list[uuid.UUID]:
    """Count completed parents off their children, in the transaction that completed them.

    `ended` tells how many parents of each child completed. Those that wait for nothing more become
    waiting, or scheduled when their time is ahead, with a deadline counted from now. Their ids are
    returned, to be published after the commit.
    """
    if not ended:
        return []
    free: list[Task] = []
    waiting: dict[int, list[uuid.UUID]] = defaultdict(list)
    # Locked: two parents that complete at once must not both read the old count.
    for child in _blocked(ended):
        if child.open_deps <= ended[child.pk]:
            free.append(child)
        else:
            waiting[ended[child.pk]].append(child.pk)
    for count, ids in waiting.items():
        Task.objects.filter(pk__in=ids).update(open_deps=F("open_deps") - count)
    return _release(free, now)


def release(hanging: Sequence[uuid.UUID], now: datetime) -> list[uuid.UUID]:
    """Release blocked tasks whose parents have all completed, in the caller's transaction."""
    return _release(_blocked(hanging), now)


def cascade(
    failed: Sequence[uuid.UUID], now: datetime, *, code: str = CODE, message: str = MESSAGE
) -> list[uuid.UUID]:
    """Cancel and refund everything blocked that hangs on these tasks; the ids.

    In a transaction of its own. Events and snapshots follow its commit.
    """
    if not _children_of(failed):
        return []
    with transaction.atomic(using=router.db_for_write(Task)):
        found = cancel_descendants(failed, now, code=code, message=message)
        quotas.refund(never_started(found), now, "never started")
        announcing.ended(found)
    return [task.pk for task in found]


def cancel_descendants(
    ended: Sequence[uuid.UUID], now: datetime, *, code: str = CODE, message: str = MESSAGE
) -> list[Task]:
    """Cancel the rows of everything blocked that hangs on these; the tasks as they are then.

    In the caller's transaction, who refunds them and tells of them.
    """
    ids = [task.pk for task in _lock_descendants(ended)]
    if not ids:
        return []
    fields = announcing.final_fields(code, message, now)
    Task.objects.filter(pk__in=ids).move_all(State.BLOCKED, State.CANCELLED, **fields)
    return list(Task.objects.filter(pk__in=ids, state=State.CANCELLED).order_by("pk"))


def never_started(tasks: Iterable[Task]) -> list[Task]:
    """Those of these that are given back to their quota."""
    return [task for task in tasks if task.started_at is None]


def _lock_descendants(ended: Sequence[uuid.UUID]) -> list[Task]:
    """Everything blocked below these, in as few statements as may be, each in the order of ids."""
    locked: dict[uuid.UUID, Task] = {}
    # Once more until nothing is new: until it was locked a task may have got another child.
    while below := _descendants_of([*ended, *locked]) - locked.keys():
        found = {task.pk: task for task in _blocked(below)}
        if not found:
            break
        locked |= found
    return list(locked.values())


def _descendants_of(tasks: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    found: set[uuid.UUID] = set()
    level = set(tasks)
    while level := _children_of(list(level)) - found:
        found |= level
    return found


def _children_of(parents: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    links = Dependency.objects.filter(parent__in=parents, task__state=State.BLOCKED)
    return set(links.values_list("task", flat=True))


def _blocked(ids: Iterable[uuid.UUID]) -> list[Task]:
    rows = Task.objects.filter(pk__in=list(ids), state=State.BLOCKED).order_by("pk")
    return list(rows.select_for_update(no_key=True).defer("input", "result", "context"))


def _release(children: Sequence[Task], now: datetime) -> list[uuid.UUID]:
    groups: dict[tuple[State, datetime], list[uuid.UUID]] = defaultdict(list)
    for child in children:
        groups[_opening(child, now)].append(child.pk)
    for (target, deadline), ids in groups.items():
        rows = Task.objects.filter(pk__in=ids)
        rows.move_all(State.BLOCKED, target, open_deps=0, deadline=deadline)
    return [child.pk for child in children]


def _opening(child: Task, now: datetime) -> tuple[State, datetime]:
    """The state a released task goes to, and its deadline."""
    live = timedelta(seconds=child.ttl)
    if child.wake_at and child.wake_at > now:
        return State.SCHEDULED, child.wake_at + live
    return State.WAITING, now + live
