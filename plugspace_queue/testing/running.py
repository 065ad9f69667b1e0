"""`run_pending`: what a worker would do with the waiting tasks, in the calling thread.

`processors` has other functions do the work for a test.
"""

import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal

from plugspace_queue.domain import catalog, kinds
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import Task, task_queries
from plugspace_queue.processing import registry
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.testing import commits
from plugspace_queue.testing.attempts import Bench
from plugspace_queue.testing.pending import RunClock, RunScope

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
    scope = RunScope(_kinds(types))
    return _run(scope, RunClock(now), once=until == "once", advance=advance)


@contextmanager
def processors(
    functions: Mapping[TaskType | str, Callable[..., Any]], *, output: Any = Any, **options: Any
) -> Iterator[None]:
    """Have these functions do the types meanwhile: `with processors({"CODE": fake}):`, or @.

    Any JSON is a valid result unless `output` says otherwise (None: the type's own schema);
    `options` are the decorator's (`retry_on`, …).
    """
    registry.load_processors()
    before = {TaskType(kind): registry.processor_of(kind) for kind in functions}
    try:
        for kind, function in functions.items():
            registry.register(kind, function, output=output, replace=True, **options)
        yield
    finally:
        for kind, entry in before.items():
            registry.put_back(kind, entry)


@contextmanager
def declarations() -> Iterator[None]:
    """Allow `task_type` and `workflow_kind` meanwhile: `with declarations():`, or @.

    What they declare is forgotten at the end. Other processes, workers too, do not know it; a type
    runs here, by `run_pending`, and needs an entry in RQ_QUEUES to be submitted.
    """
    with catalog.open_for_declarations(), kinds.open_for_declarations():
        yield


def run_these(ids: Collection[uuid.UUID]) -> list[Task]:
    """Run these tasks to their ends, as far as their types have processors."""
    return _run(RunScope(_kinds(()), ids), RunClock(), once=False, advance=True)


def _run(scope: RunScope, clock: RunClock, *, once: bool, advance: bool) -> list[Task]:
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


def _each_once(scope: RunScope, clock: RunClock) -> Iterable[Task]:
    yield from list(scope.due(clock.now()))


def _until_none(scope: RunScope, clock: RunClock, *, advance: bool) -> Iterable[Task]:
    while task := scope.due(clock.now()).first() or _advanced(scope, clock, advance=advance):
        yield task


def _advanced(scope: RunScope, clock: RunClock, *, advance: bool) -> Task | None:
    moment = scope.next_retry() if advance else None
    if moment is None:
        return None
    clock.put_forward(moment)
    return scope.due(clock.now()).first()


def _kinds(types: Iterable[TaskType | str]) -> list[TaskType]:
    registry.load_processors()
    named = [TaskType(kind) for kind in types]
    lacking = [kind for kind in named or TaskType if registry.processor_of(kind) is None]
    if named and lacking:
        raise LookupError(f"No processor for {lacking[0]}; give one with testing.processors.")
    for kind in lacking:
        logger.info("no processor for %s: its tasks wait", kind)
    return [kind for kind in named or TaskType if kind not in lacking]


def _told_to_redis(ids: Iterable[uuid.UUID]) -> list[Task]:
    """The rows in the order of `ids`; committed ones are published to Redis, open or ended."""
    rows = task_queries.tasks_by_id(ids).in_bulk()
    tasks = [rows[task_id] for task_id in ids]
    if not commits.is_uncommitted():
        publishing.publish_on_commit([task for task in tasks if not task.is_final])
        publishing.refresh_snapshots([task for task in tasks if task.is_final])
    return tasks
