"""`run_pending`: what a worker would do with the waiting tasks, in the calling thread."""

import logging
import uuid
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Literal

from plugspace_queue.domain.enums import TaskType
from plugspace_queue.models import Task
from plugspace_queue.processing.registry import processor_of
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.testing import commits
from plugspace_queue.testing.attempts import Bench
from plugspace_queue.testing.pending import Clock, Scope

logger = logging.getLogger("plugspace_queue.testing")

MOST_ATTEMPTS = 10_000
"""A run with more than these is taken for one that never ends."""


def run_pending(
    *types: TaskType | str,
    until: Literal["final", "once"] = "final",
    now: datetime | None = None,
    advance: bool = False,
) -> list[Task]:
    """Run waiting tasks (of these types) one by one; each that had a turn, as its row is now.

    "final" goes on with what they release or submit, until nothing is due; "once" gives each
    task that is due at the beginning one attempt. `now` is the time to go by (`run_at`, ttl,
    backoff); `advance` puts the clock forward to the next retry instead of leaving it waiting.
    What is paused stays. Raises LookupError for a named type without a processor, RuntimeError
    when there is no end.
    """
    if until not in ("final", "once"):
        raise ValueError(f'until is "final" or "once", not {until!r}.')
    scope = Scope(_kinds(types))
    return _run(scope, Clock(now), once=until == "once", advance=advance)


def run_these(ids: Collection[uuid.UUID]) -> list[Task]:
    """Run these tasks to their ends, as far as their types have processors."""
    return _run(Scope(_kinds(()), ids), Clock(), once=False, advance=True)


def _run(scope: Scope, clock: Clock, *, once: bool, advance: bool) -> list[Task]:
    bench = Bench(clock)
    turn = _each_once(scope, clock) if once else _until_none(scope, clock, advance=advance)
    had_a_turn: dict[uuid.UUID, None] = {}
    for attempts, task in enumerate(turn):
        if attempts == MOST_ATTEMPTS:
            raise RuntimeError(f"No end after {MOST_ATTEMPTS} attempts; the last task: {task}.")
        if bench.attempt(task):
            had_a_turn[task.pk] = None
        else:
            scope.passed_over.add(task.pk)
    return _told_to_redis(had_a_turn)


def _each_once(scope: Scope, clock: Clock) -> Iterable[Task]:
    yield from list(scope.due(clock.now()))


def _until_none(scope: Scope, clock: Clock, *, advance: bool) -> Iterable[Task]:
    while task := scope.due(clock.now()).first() or _advanced(scope, clock, advance=advance):
        yield task


def _advanced(scope: Scope, clock: Clock, *, advance: bool) -> Task | None:
    moment = scope.next_retry() if advance else None
    if moment is None:
        return None
    clock.put_forward(moment)
    return scope.due(clock.now()).first()


def _kinds(types: Iterable[TaskType | str]) -> list[TaskType]:
    named = [TaskType(kind) for kind in types]
    lacking = [kind for kind in named or TaskType if processor_of(kind) is None]
    if named and lacking:
        raise LookupError(f"No processor for {lacking[0]}; give one with testing.processors.")
    for kind in lacking:
        logger.info("no processor for %s: its tasks wait", kind)
    return [kind for kind in named or TaskType if kind not in lacking]


def _told_to_redis(ids: Iterable[uuid.UUID]) -> list[Task]:
    """The rows in the order of `ids`; what is committed goes (back) in line, or says its end."""
    rows = Task.objects.in_bulk(list(ids))
    tasks = [rows[task_id] for task_id in ids]
    if not commits.is_uncommitted():
        publishing.publish_on_commit([task for task in tasks if not task.is_final])
        publishing.refresh_snapshots([task for task in tasks if task.is_final])
    return tasks
