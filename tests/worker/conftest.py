"""A crew in this process: the worker's threads without the process around them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.db.attempts import StartedTask
from plugspace_queue.db.bulk import _of_instance
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.limits import registrations
from plugspace_queue.models import Organization, Task
from plugspace_queue.processing import registry
from plugspace_queue.processing.execution import Execution
from plugspace_queue.worker.executors.forkserver import _forkserver as children_forkserver
from plugspace_queue.worker.fetcher import Limits
from plugspace_queue.worker.runtime import WorkerRuntime
from tests.support import patient, wait_until

Work = Callable[..., int]
Register = Callable[..., None]


@pytest.fixture
def acme(transactional_db: None) -> Organization:
    """An organization without quotas in its way."""
    queue_manager.set_organization("acme", tier="enterprise")
    return Organization.objects.get(pk="acme")


@pytest.fixture
def processors() -> Iterator[Register]:
    """Register processors for one test: `processors("CODE", fn)`; any result is valid."""
    before = {kind: registry.processor_of(kind) for kind in TaskType}
    declared = dict(registrations._declared)

    def register(task_type: str, function: Callable[..., Any], **options: Any) -> None:
        registry.register(task_type, function, replace=True, **({"output": Any} | options))

    yield register
    for kind, entry in before.items():
        registry.unregister(kind)
        if entry is not None:
            registry._processors[kind] = entry
    registrations._declared.clear()
    registrations._declared.update(declared)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Children know the processors of tests/processes/app, or of the settings of the parameter."""
    stop: Callable[[], None] = forkserver._forkserver._stop  # type: ignore[attr-defined]
    stop()
    settings = getattr(request, "param", "tests.processes.settings")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", settings)
    # What one test's forkserver could not load says nothing of the next one.
    monkeypatch.setattr(children_forkserver, "_loads", True)
    monkeypatch.setattr(children_forkserver, "_has_ended", False)
    yield
    stop()


def _no_heartbeat() -> None:
    """RQ does not know this crew."""


def make_crew(
    *names: str,
    worker_name: str = "w1",
    heartbeat: Callable[[], None] = _no_heartbeat,
    **limits: Any,
) -> WorkerRuntime:
    """A crew for these queues; ends by itself as `limits` say."""
    return WorkerRuntime(
        worker_name,
        names or ("architect",),
        limits=Limits(**limits),
        heartbeat=heartbeat,
        is_suspended=lambda: False,
    )


@pytest.fixture
def work(transactional_db: None) -> Work:
    """Run a crew to the end of its burst; how many attempts it settled."""

    def run(*names: str, **limits: Any) -> int:
        return make_crew(*names, **({"burst": True} | limits)).work()

    return run


@pytest.fixture
def crew(transactional_db: None) -> Iterator[Callable[..., WorkerRuntime]]:
    """Start crews that run in threads until the test ends."""
    started: list[tuple[WorkerRuntime, threading.Thread]] = []

    def start(*names: str, **options: Any) -> WorkerRuntime:
        made = make_crew(*names, **options)
        thread = threading.Thread(target=_work, args=(made,), daemon=True)
        thread.start()
        started.append((made, thread))
        return made

    yield start
    for made, thread in started:
        made.stop()
        made.fetcher.is_stopping = True
        made._stop_at = 0.0
        join(made, thread)


def join(made: WorkerRuntime, thread: threading.Thread) -> None:
    """Wait until a crew that was told to stop has ended, with all its threads."""
    thread.join(timeout=patient(10))
    assert not thread.is_alive()
    # It may be in the middle of a chore, which locks rows that the test's end removes.
    made.control.join(timeout=patient(10))
    made.maintenance.join(timeout=patient(10))


@contextmanager
def working(*names: str, **options: Any) -> Iterator[WorkerRuntime]:
    """A crew in a thread; at the end it stops warm, and all it had to tell is told."""
    made = make_crew(*names, **options)
    thread = threading.Thread(target=_work, args=(made,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        join(made, thread)


def _work(made: WorkerRuntime) -> None:
    try:
        made.work()
    finally:
        connections.close_all()


class Silent:
    """Takes progress and keeps none of it."""

    def progress(self, execution: Execution) -> None:
        pass


def row_of(task: Task, *, fence: int) -> StartedTask:
    """What a start with this token would return of the task."""
    row = fresh(task)
    row.fence, row.started_at, row.attempt_count = fence, timezone.now(), row.attempt_count + 1
    return _of_instance(row)


def submit(task_type: str = "ARCHITECT", **arguments: Any) -> Task:
    """One task of acme, with an input that is valid for its type."""
    inputs: dict[str, Any] = {"ARCHITECT": {"prompt": "a site"}}
    given: dict[str, Any] = {
        "project_id": "p1",
        "user_id": "u1",
        "organization_id": "acme",
        "input": inputs.get(task_type, {}),
        "limit_requests": False,
    }
    return queue_manager.add_task(task_type, **(given | arguments))


def fresh(task: Task) -> Task:
    """The task as its row is now."""
    return Task.objects.get(pk=task.pk)


@pytest.fixture
def until_final() -> Callable[[Task], Task]:
    """Wait until a task has ended; its row."""

    def wait(task: Task, timeout: float = 15.0) -> Task:
        wait_until(lambda: fresh(task).is_final, timeout, f"{task} did not end")
        return fresh(task)

    return wait


@pytest.fixture
def until_running() -> Callable[[Task], Task]:
    """Wait until a task is processing; its row."""

    def wait(task: Task) -> Task:
        wait_until(lambda: fresh(task).state == "processing", 10.0, f"{task} did not start")
        return fresh(task)

    return wait


@contextmanager
def meanwhile(function: Callable[[], object]) -> Iterator[threading.Thread]:
    """Run `function` in a thread of its own; it must have ended well soon after the block."""
    troubles: list[Exception] = []

    def run() -> None:
        try:
            function()
        except Exception as error:
            troubles.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield thread
    thread.join(timeout=patient(20))
    assert not thread.is_alive()
    assert troubles == []
