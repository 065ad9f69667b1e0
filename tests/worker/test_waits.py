"""Waiting for the end of a task: an event wakes, the row decides, and nobody is left behind."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction
from django.utils import timezone
from redis import Redis

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker.connection import cut_off
from plugspace_queue.domain.enums import State
from plugspace_queue.events.publish import broadcast
from plugspace_queue.models import Task, task_queries
from plugspace_queue.schemas.architecture import ArchitectureOutput
from plugspace_queue.schemas.delivery import DeployOutput
from plugspace_queue.services import waits
from tests.agents.making import make_plan
from tests.factories import make_task
from tests.support import patient, wait_until, wake_readers
from tests.worker.conftest import Register, submit

pytestmark = pytest.mark.django_db(transaction=True)

Crew = Callable[..., Any]
SITE = {
    "summary": "A site",
    "url": "/sites/p1/",
    "target": "preview",
    "path": "p1",
    "files": 3,
    "bytes": 4096,
    "version": "v1",
}


@pytest.fixture(autouse=True)
def nobody_is_left(db: None, redis: Redis) -> Any:
    yield
    connections.close_all()
    wake_readers(redis)
    wait_until(lambda: not readers(), 5, "a reader goes on without waiters")


@pytest.fixture
def only_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but an event ends a wait in time."""
    monkeypatch.setattr(waits, "RECHECK", 600.0)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if type(thread).__name__ == "EndReader"]


def end(task: Task, state: State = State.COMPLETE, **fields: Any) -> None:
    """End a row without any event, as when Redis was away."""
    source = State(task.state)
    assert task_queries.move_task(task.pk, source, State.PROCESSING)
    assert task_queries.move_task(
        task.pk, State.PROCESSING, state, completed_at=timezone.now(), **fields
    )


def test_a_wait_gives_the_result_as_the_output_model_of_the_type(
    acme: Any, processors: Register, crew: Crew, only_events: None
):
    processors("DEPLOY", lambda context: SITE, output=None)
    task = submit("DEPLOY")
    crew("deploy")

    result = queue_manager.wait(task.pk, timeout=patient(20))

    assert isinstance(result, DeployOutput)
    assert result.version == "v1"
    assert queue_manager.wait(str(task.pk), timeout=0) == result


def test_an_awaited_result_is_the_same_and_holds_no_thread(
    acme: Any, processors: Register, crew: Crew, only_events: None
):
    processors("DEPLOY", lambda context: SITE, output=None)
    task = submit("DEPLOY")
    crew("deploy")

    result = async_to_sync(queue_manager.await_result)(task.pk, timeout=patient(20))

    assert isinstance(result, DeployOutput)


def test_a_failed_task_raises_its_code_and_its_row(
    acme: Any, processors: Register, crew: Crew, only_events: None
):
    def refuse(context: Any) -> None:
        raise errors.AuthenticationFailed("the provider knows no such key")

    processors("ARCHITECT", refuse)
    task = submit()
    crew("architect")

    with pytest.raises(errors.TaskFailed, match="knows no such key") as raised:
        queue_manager.wait(task.pk, timeout=patient(20))

    assert raised.value.code == "AUTHENTICATION_ERROR"
    assert (raised.value.task.pk, raised.value.task.state) == (task.pk, "failed")


def test_a_cancel_ends_the_wait_of_everybody(acme: Any, only_events: None):
    task = submit()

    def code(_: int) -> str:
        try:
            queue_manager.wait(task.pk, timeout=patient(20))
        except errors.TaskFailed as failed:
            return failed.code
        finally:
            connections.close_all()
        return "complete"

    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(code, number) for number in range(5)]
        wait_until(readers, 10, "nobody reads")
        assert len(readers()) == 1
        queue_manager.cancel(task.pk)

        assert [future.result(patient(20)) for future in waiting] == ["CANCELLED"] * 5


def test_an_expired_task_raises_too(acme: Any):
    task = make_task(state=State.EXPIRED, error={"code": "EXPIRED", "message": "too late"})

    with pytest.raises(errors.TaskFailed) as raised:
        queue_manager.wait(task.pk, timeout=0)

    assert raised.value.code == "EXPIRED"


def test_a_task_that_does_not_end_in_time_raises_and_goes_on(acme: Any):
    task = submit()

    with pytest.raises(errors.WaitTimeout, match=str(task.pk)) as raised:
        queue_manager.wait(task.pk, timeout=0.05)
    with pytest.raises(TimeoutError):
        async_to_sync(queue_manager.await_result)(task.pk, timeout=0.05)

    assert raised.value.code == "WAIT_TIMEOUT"
    task.refresh_from_db()
    assert task.state == "waiting"


def test_inside_a_transaction_a_wait_is_refused_unless_the_task_has_ended(acme: Any):
    ended = make_task(type="DEPLOY", state=State.COMPLETE, result=SITE)
    with transaction.atomic():
        task = submit()
        with pytest.raises(errors.InvalidState, match="after the commit"):
            queue_manager.wait(task.pk)
        with pytest.raises(errors.InvalidState):
            async_to_sync(queue_manager.await_result)(task.pk)

        assert queue_manager.wait(ended.pk).version == "v1"


@pytest.mark.parametrize("way", ["thread", "coroutine"])
def test_an_end_that_no_event_tells_is_found_by_reading_the_row(
    acme: Any, monkeypatch: pytest.MonkeyPatch, way: str
):
    monkeypatch.setattr(waits, "RECHECK", 0.05)
    task = submit("DEPLOY")

    def later() -> None:
        end(task, result=SITE)
        connections.close_all()

    threading.Timer(0.3, later).start()
    if way == "thread":
        with cut_off():
            result = queue_manager.wait(task.pk, timeout=patient(20))
    else:
        result = async_to_sync(queue_manager.await_result)(task.pk, timeout=patient(20))

    assert result.version == "v1"


def test_an_event_alone_ends_no_wait(acme: Any, redis: Any, only_events: None):
    task = submit()
    queue_manager.on("taskFailed", print)
    asked = threading.Event()
    found: list[object] = []

    def wait() -> None:
        asked.set()
        try:
            queue_manager.wait(task.pk, timeout=0.5)
        except errors.WaitTimeout as error:
            found.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=wait)
    thread.start()
    asked.wait()
    wait_until(readers, 10)
    broadcast([{"name": "taskFailed", "jobId": str(task.pk), "state": "failed"}])
    thread.join(patient(20))
    queue_manager.close()

    assert len(found) == 1


def test_a_coroutine_that_is_cancelled_while_it_waits_leaves_nothing(acme: Any):
    task = submit()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await queue_manager.await_result(task.pk, timeout=600)

    async_to_sync(main)()


def test_a_workflow_gives_the_result_of_each_step(
    acme: Any, processors: Register, crew: Crew, only_events: None
):
    processors("ARCHITECT", lambda context: make_plan().to_wire(), output=None)
    processors("DESIGN", lambda context: {"mood": "calm"})
    handle = queue_manager.add_workflow("p1", "u1", "acme", {"prompt": "x"}, kind="design-only")
    crew("architect", "design")

    results = queue_manager.wait_workflow(handle.workflow_id, timeout=patient(30))

    assert isinstance(results["ARCHITECT"], ArchitectureOutput)
    assert results["DESIGN"] == {"mood": "calm"}
    awaited = async_to_sync(queue_manager.await_workflow)(handle.workflow_id)
    assert awaited == results


def test_a_workflow_that_failed_names_the_step_that_failed(
    acme: Any, processors: Register, crew: Crew
):
    def fail(context: Any) -> None:
        raise errors.ValidationFailed("no such site")

    processors("ARCHITECT", fail)
    handle = queue_manager.add_workflow("p1", "u1", "acme", {"prompt": "x"}, kind="design-only")
    crew("architect", "design")

    with pytest.raises(errors.TaskFailed, match="no such site") as raised:
        queue_manager.wait_workflow(handle.workflow_id, timeout=patient(30))

    assert (raised.value.code, raised.value.task.type) == ("VALIDATION_ERROR", "ARCHITECT")


def test_a_result_of_an_earlier_model_is_told_as_such(acme: Any):
    task = make_task(type="DEPLOY", state=State.COMPLETE, result={"archive": "e1"})

    with pytest.raises(errors.TaskFailed, match="as it is now") as raised:
        queue_manager.wait(task.pk, timeout=0)

    assert raised.value.code == "INVALID_RESULT"


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "30", None, True, 86_401])
def test_a_timeout_that_is_none_is_refused(acme: Any, timeout: object):
    task = submit()

    with pytest.raises(errors.ValidationRefused, match="timeout"):
        queue_manager.wait(task.pk, timeout=timeout)  # type: ignore[arg-type]


def test_another_organizations_task_is_not_found(acme: Any):
    task = submit()

    for wait in (queue_manager.wait, queue_manager.wait_workflow):
        with pytest.raises(errors.NotFound):
            wait(task.pk, timeout=0, organization_id="globex")
