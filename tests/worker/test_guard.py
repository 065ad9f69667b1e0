"""The look at the row between a granted lease and the first line of the processor."""

import threading
from datetime import timedelta

import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys, scripts, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.domain.enums import State
from plugspace_queue.limits import policies
from plugspace_queue.maintenance.relay import RowCursor, relay
from plugspace_queue.models import MonthlyUsage, QueueSettings, Task
from plugspace_queue.processing.execution import StopReason
from plugspace_queue.worker import maintenance
from tests.support import wait_until
from tests.worker.conftest import fresh, make_crew, submit

pytestmark = pytest.mark.usefixtures("acme")


def place_of(task):
    (places,) = scripts.run(client(), [task_store.places("architect", [str(task.pk)])])
    return places[0]


def used():
    return MonthlyUsage.objects.get(organization="acme", type="ARCHITECT").used


@pytest.fixture
def ran(processors):
    """Ids of the tasks whose processor ran."""
    seen = []
    processors("ARCHITECT", lambda context: seen.append(context.task_id))
    return seen


def test_a_task_whose_row_is_final_is_dropped_without_running(ran, work):
    task = submit()
    Task.objects.filter(pk=task.pk).update(state=State.COMPLETE, completed_at=timezone.now())

    work("architect")

    assert (ran, place_of(task), fresh(task).state) == ([], "absent", "complete")


def test_a_task_that_is_not_due_goes_back_to_the_delayed_ones(ran, work):
    task = submit()
    Task.objects.filter(pk=task.pk).update(wake_at=timezone.now() + timedelta(hours=1))

    work("architect")

    assert (ran, place_of(task)) == ([], "delayed")


def test_a_fence_that_went_back_rises_above_the_rows_and_the_task_runs(ran, work, redis):
    task = submit()
    ahead = (timezone.now() + timedelta(hours=1)).timestamp() * 1_000_000
    Task.objects.filter(pk=task.pk).update(fence=int(ahead))

    work("architect")

    assert ran == [str(task.pk)]
    assert (fresh(task).state, fresh(task).fence > ahead) == ("complete", True)
    assert len(redis.hget(keys.meta("architect"), "fence")) == 16


def test_a_row_left_processing_by_a_lost_worker_is_recovered_once_and_runs_alone(ran, work):
    task = submit()
    Task.objects.filter(pk=task.pk).update(
        state=State.PROCESSING, fence=7, attempt_count=1, started_at=timezone.now()
    )

    work("architect")

    row = fresh(task)
    assert row.recovery_count == 1
    assert row.attempts.order_by("fence").first().outcome == "lost"


def test_a_task_past_its_deadline_expires_and_is_refunded(ran, work):
    task = submit()
    assert used() == 1
    Task.objects.filter(pk=task.pk).update(deadline=timezone.now() - timedelta(seconds=1))

    work("architect")

    row = fresh(task)
    assert (ran, row.state, row.error["code"]) == ([], "expired", "EXPIRED")
    assert (used(), row.refunded_at is not None) == (0, True)


def test_a_task_asked_to_cancel_while_it_waited_does_not_start(ran, work):
    task = submit()
    Task.objects.filter(pk=task.pk).update(cancel_requested_at=timezone.now())

    work("architect")

    assert (ran, fresh(task).state, used()) == ([], "cancelled", 0)


def test_a_task_that_was_on_too_many_dying_workers_fails_in_the_guard(ran, work):
    task = submit()
    Task.objects.filter(pk=task.pk).update(recovery_count=3)

    work("architect")

    assert (ran, fresh(task).error["code"]) == ([], "WORKER_LOST")
    assert QueueSettings.objects.get(type="ARCHITECT").failed == 1


@pytest.mark.postgres
def test_its_failure_is_counted_when_the_queue_s_row_was_held_meanwhile(ran, crew):
    QueueSettings.objects.get_or_create(type="ARCHITECT")
    task = submit()
    Task.objects.filter(pk=task.pk).update(recovery_count=3)

    with transaction.atomic():
        row = QueueSettings.objects.select_for_update().get(type="ARCHITECT")
        crew("architect")
        wait_until(lambda: fresh(task).state == "failed", 10)

    wait_until(lambda: QueueSettings.objects.get(pk=row.pk).failed == 1, 10)


def test_the_late_word_of_a_stopped_worker_is_refused_by_the_row_and_by_redis(
    processors, crew, until_final, redis
):
    first, second = threading.Event(), threading.Event()

    def architect(context):
        if context.attempt == 1:
            first.wait(20)
            return "late"
        second.wait(20)
        return "in time"

    processors("ARCHITECT", architect)
    task = submit()
    slow = crew("architect", worker_name="slow")
    wait_until(lambda: slow.table.executions(), 10)
    # The lease runs out as if the process had been stopped, and another worker takes over.
    with slow.table._lock:
        held = slow.table._held.pop(str(task.pk))
    assert held.execution is not None
    stale = Task.objects.get(pk=task.pk)
    Task.objects.filter(pk=task.pk).update(state=State.WAITING, fence=stale.fence)
    redis.delete(keys.own("architect"), keys.lease("architect"), keys.active("architect"))
    relay(timezone.now(), RowCursor())
    wait_until(lambda: fresh(task).attempt_count == 2, 15)
    first.set()
    second.set()

    assert until_final(task).result == "in time"
    assert fresh(task).attempts.count() == 1


def test_what_a_flush_took_from_redis_is_published_again(ran, redis, work):
    tasks = [submit() for _ in range(5)]
    redis.flushall()

    assert relay(timezone.now(), RowCursor()) == 5
    work("architect")

    assert {fresh(task).state for task in tasks} == {"complete"}


@override_settings(PLUGSPACE_QUEUE={"RELAY_INTERVAL": 0.2})
def test_a_worker_publishes_by_itself_what_was_left_unpublished(ran, crew, redis, until_final):
    task = submit()
    redis.flushall()

    crew("architect")

    assert until_final(task).state == "complete"


def test_a_task_taken_while_the_queue_is_paused_waits_until_it_is_resumed(ran, work, crew):
    queue_manager.pause("ARCHITECT")
    task = submit()

    work("architect")
    assert (ran, fresh(task).state) == ([], "waiting")

    queue_manager.resume("ARCHITECT")
    work("architect")
    assert ran == [str(task.pk)]


def test_a_worker_takes_nothing_while_it_is_suspended(ran):
    task = submit()
    crew = make_crew("architect", max_idle_time=0.5)
    crew._is_suspended = lambda: True

    crew.work()

    assert (ran, fresh(task).state) == ([], "waiting")


@pytest.fixture
def three_waiting_at_one_slot(processors, crew, redis):
    """A worker whose queue has one slot, which stays taken until the test ends; its crew."""
    done = threading.Event()
    processors("ARCHITECT", lambda context: done.wait(30))
    QueueSettings.objects.filter(type="ARCHITECT").update(concurrency=1)
    policies.clear_cache()
    for _ in range(3):
        submit()
    made = crew("architect")
    wait_until(lambda: redis.llen(keys.active("architect")) == 1, 5)
    yield made
    done.set()


def test_a_change_of_slots_is_in_force_without_a_restart(three_waiting_at_one_slot, redis):
    QueueSettings.objects.filter(type="ARCHITECT").update(concurrency=3)

    wait_until(lambda: redis.llen(keys.active("architect")) == 3, 3)


@pytest.mark.slow
def test_a_change_of_slots_and_a_cancel_do_not_wait_for_a_chore_that_takes_long(
    three_waiting_at_one_slot, redis, monkeypatch
):
    relaying, done = threading.Event(), threading.Event()

    def relay_for_long(*args, **options):
        relaying.set()
        done.wait(30)
        return 0

    monkeypatch.setattr(maintenance, "relay", relay_for_long)
    three_waiting_at_one_slot.maintenance.repair_soon()
    wait_until(relaying.is_set)
    try:
        QueueSettings.objects.filter(type="ARCHITECT").update(concurrency=3)
        wait_until(lambda: len(three_waiting_at_one_slot.table.executions()) == 3, 3)
        assert redis.llen(keys.active("architect")) == 3
        Task.objects.filter(state=State.PROCESSING).update(cancel_requested_at=timezone.now())
        runs = [run for _, run in three_waiting_at_one_slot.table.executions()]
        wait_until(lambda: all(run.stop_reason is StopReason.CANCEL for run in runs), 3)
    finally:
        done.set()
