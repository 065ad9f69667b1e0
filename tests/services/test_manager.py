"""The rest of the queue manager: looking up, statistics, priority, twins for async code."""

import inspect
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.db.utils import OperationalError

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys, routing, task_store
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import QueueSettings, Task
from plugspace_queue.publishing import projections
from plugspace_queue.services import queue_stats
from tests.factories import arguments, make_organization, make_task
from tests.support import patient

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_organizations_tasks_are_paged_and_filtered():
    tasks = [make_task(type=kind) for kind in ("CODE", "DESIGN", "CODE")]
    make_task(organization=make_organization("other"))
    make_task(type="CODE", state=State.CANCELLED)

    page = queue_manager.get_organization_tasks("acme", status="pending")
    assert [task.pk for task in page] == [task.pk for task in reversed(tasks)]
    assert len(queue_manager.get_organization_tasks("acme", type="CODE")) == 3
    (failed,) = queue_manager.get_organization_tasks("acme", status="failed", type="CODE")
    assert failed.state == State.CANCELLED
    (second,) = queue_manager.get_organization_tasks("acme", "pending", limit=1, offset=1)
    assert second.pk == tasks[1].pk


def test_the_options_of_a_page_may_stand_in_one_mapping():
    tasks = [make_task(type="CODE", state=State.PROCESSING) for _ in range(3)]
    make_task(type="DESIGN", state=State.PROCESSING)
    asked = {"status": "processing", "type": "CODE", "limit": 20, "offset": 0}

    page = queue_manager.get_organization_tasks("acme", asked)

    assert [task.pk for task in page] == [task.pk for task in reversed(tasks)]
    (second,) = queue_manager.get_organization_tasks("acme", {"type": "CODE"} | {"limit": 1})
    assert second.pk == tasks[-1].pk
    assert len(queue_manager.get_organization_tasks("acme", {})) == 4
    assert len(queue_manager.get_organization_tasks("acme", {"type": "CODE"}, limit=2)) == 2


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({"colour": "red"}, {}),
        ({"status": "gone"}, {}),
        ({"limit": 0}, {}),
        ({"limit": "20"}, {}),
        ({"type": "CODE"}, {"type": "DESIGN"}),
        ({"limit": 5}, {"limit": 6}),
    ],
)
def test_a_mapping_of_options_that_cannot_be_is_refused(options, more):
    with pytest.raises(errors.ValidationRefused):
        queue_manager.get_organization_tasks("acme", options, **more)


@pytest.mark.parametrize(
    "bad", [{"status": "gone"}, {"type": "X"}, {"limit": 0}, {"limit": 1001}, {"offset": 10_001}]
)
def test_a_page_that_cannot_be_is_refused(bad):
    with pytest.raises(errors.ValidationRefused):
        queue_manager.get_organization_tasks("acme", **bad)


def test_statistics_count_what_waits_runs_and_ended():
    make_organization()
    queue_manager.add_tasks([arguments(), arguments()])
    projections.write_queue(TaskType.ARCHITECT)
    routing.ask(task_store.acquire("architect", worker="w", want=1, lease_ms=10_000), "architect")
    make_task(state=State.RETRYING)
    make_task(state=State.BLOCKED)
    make_task(state=State.SCHEDULED)
    QueueSettings.objects.filter(type="ARCHITECT").update(completed=100, failed=3)

    row = queue_manager.get_queue_stats("ARCHITECT")

    assert (row.type, row.waiting, row.active, row.delayed) == (TaskType.ARCHITECT, 2, 1, 2)
    assert (row.completed, row.failed) == (100, 3)
    assert [row.type for row in queue_manager.get_queue_stats()] == list(TaskType)
    assert queue_manager.get_queue_stats()[0] == row


def test_statistics_that_may_be_a_moment_old_are_counted_once_for_all():
    make_organization()
    queue_manager.add_task(**arguments())

    def waiting(max_age: float) -> int:
        return queue_manager.get_queue_stats("ARCHITECT", max_age=max_age).waiting

    assert waiting(60.0) == 1
    queue_manager.add_task(**arguments())
    assert (waiting(60.0), waiting(0.0)) == (1, 2)
    queue_stats.clear_cache()
    assert waiting(60.0) == 2


def test_threads_that_ask_at_once_count_once(monkeypatch):
    counted = []
    count, together = queue_stats._held, Barrier(4)

    def held(kinds):
        counted.append(kinds)
        return count(kinds)

    def ask():
        together.wait(timeout=patient(5))
        try:
            return queue_manager.get_queue_stats(max_age=60.0)
        finally:
            connection.close()

    monkeypatch.setattr(queue_stats, "_held", held)
    with ThreadPoolExecutor(4) as pool:
        told = [asked.result() for asked in [pool.submit(ask) for _ in range(4)]]

    assert len(counted) == 1
    assert all(rows == told[0] for rows in told)


def test_live_statistics_need_redis(redis_away):
    redis_away()

    with pytest.raises(errors.Unavailable):
        queue_manager.get_queue_stats()


def test_staff_moves_a_waiting_task_to_another_band(redis):
    make_organization(tier="free")
    task = queue_manager.add_task(**arguments())

    queue_manager.set_priority(task.pk, 0)

    assert Task.objects.get(pk=task.pk).priority == 0
    assert redis.lrange(keys.lane("architect", 0, "acme"), 0, -1) == [str(task.pk).encode()]
    assert redis.llen(keys.lane("architect", 3, "acme")) == 0
    assert redis.llen(keys.wait("architect")) == 1


def test_only_open_tasks_have_a_priority_to_change():
    for state in (State.COMPLETE, State.CANCELLED):
        with pytest.raises(errors.InvalidState):
            queue_manager.set_priority(make_task(state=state).pk, 0)
    with pytest.raises(errors.ValidationRefused):
        queue_manager.set_priority(make_task().pk, 4)


def test_async_code_has_a_twin_of_every_verb():
    verbs = {
        name
        for name, member in inspect.getmembers(queue_manager, inspect.ismethod)
        if not name.startswith("_") and not inspect.iscoroutinefunction(member)
    }
    # `await` is a word of the language: the twin of `wait` is `await_result`.
    told = verbs - {"on", "register_worker", "submit_task", "submit_tasks", "wait"}

    assert all(inspect.iscoroutinefunction(getattr(queue_manager, f"a{name}")) for name in told)
    assert inspect.iscoroutinefunction(queue_manager.await_result)
    assert queue_manager.aadd_task.__name__ == "aadd_task"


def test_a_twin_does_the_same():
    make_organization()

    async def story() -> State:
        task = await queue_manager.aadd_task(**arguments())
        assert (await queue_manager.aget_task(task.pk)).pk == task.pk
        return await queue_manager.acancel(task.pk)

    assert async_to_sync(story)() == State.CANCELLED


def test_a_database_that_does_not_answer_is_unavailable():
    def refuse(execute, sql, params, many, context):
        raise OperationalError("database is locked")

    with connection.execute_wrapper(refuse), pytest.raises(errors.Unavailable):
        queue_manager.get_task("018f0000-0000-7000-8000-000000000000")
