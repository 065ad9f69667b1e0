"""A task that comes back waits where it should, and everybody who looks sees that."""

import json
import threading

import pytest
from django.test import override_settings
from django.utils import timezone

from plugspace_queue import errors, queue_manager, signals
from plugspace_queue.broker import keys, scripts, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.domain.enums import State
from plugspace_queue.maintenance import queue_config
from plugspace_queue.maintenance.rescue import recover
from plugspace_queue.models import Task
from tests.support import patient, wait_until
from tests.worker.conftest import fresh, make_crew, submit

pytestmark = pytest.mark.usefixtures("acme")


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={"LEASE": 1.0})
def test_the_snapshot_of_a_task_that_was_taken_back_says_that_it_waits(processors, crew, redis):
    gate = threading.Event()
    processors("ARCHITECT", lambda context: {} if gate.wait(10) else None)
    made = crew("architect")
    task = submit()
    wait_until(lambda: state_told(redis, task) == "processing")
    # As if it had been killed; and the task is not to run again at once.
    made.leases._tick = lambda: None
    queue_manager.pause("ARCHITECT")
    try:
        other = make_crew("architect", worker_name="w2", max_idle_time=4)
        other.work()

        assert fresh(task).state == "waiting"
        assert state_told(redis, task) == "waiting"
    finally:
        gate.set()


@override_settings(PLUGSPACE_QUEUE={"BACKOFF_DELAY": 0.1})
def test_retries_of_a_task_wait_in_the_band_that_was_set_while_it_ran(processors, crew, redis):
    gate = threading.Event()

    def architect(context):
        gate.wait(10)
        raise errors.ExternalServiceError("away")

    processors("ARCHITECT", architect)
    crew("architect")
    task = submit(priority=3)
    wait_until(lambda: fresh(task).state == "processing")
    queue_manager.set_priority(task.pk, 0)
    queue_manager.pause("ARCHITECT")
    gate.set()

    lane = keys.lane("architect", 0, "acme")
    wait_until(lambda: redis.lrange(lane, 0, -1) == [str(task.pk).encode()], 10)


def test_leases_lost_while_alone_count_nothing_ten_times_and_then_they_do():
    task = submit()
    counts = []
    for fence in range(1, 14):
        Task.objects.filter(pk=task.pk).update(
            state=State.PROCESSING, fence=fence, attempt_count=fence, started_at=timezone.now()
        )
        # Two that reap it at once: one of them takes it back.
        assert [recover(task.pk, fence, timezone.now()) for _ in range(2)] == [True, False]
        counts.append(fresh(task).recovery_count)

    # The first was a shared process, whose death counts.
    assert counts == [1] * 11 + [2, 3]
    assert fresh(task).attempts.filter(outcome="lost").count() == 13


@pytest.fixture
def lingering():
    """Events of a receiver of `task_attempt_failed`: it was called, and it may return."""
    called, released = threading.Event(), threading.Event()

    def linger(**kwargs):
        called.set()
        released.wait(patient(60))

    signals.task_attempt_failed.connect(linger)
    yield called, released
    signals.task_attempt_failed.disconnect(linger)
    released.set()


@override_settings(PLUGSPACE_QUEUE={"LEASE": 1.0})
@pytest.mark.slow
def test_a_receiver_that_lingers_over_a_lost_attempt_holds_up_no_task(
    processors, crew, until_final, lingering
):
    processors("ARCHITECT", lambda context: {})
    lost = started_by_a_dead_worker()
    crew("architect")
    called, released = lingering
    wait_until(called.is_set, 15)

    assert until_final(submit()).state == "complete"
    # If it was acquired before its row was taken back, the same thread has to resolve its lease.
    released.set()
    row = until_final(lost, 30)
    assert (row.state, row.attempt_count, row.recovery_count) == ("complete", 2, 1)


def started_by_a_dead_worker():
    """A task that runs by its row, and whose lease has run out."""
    task, now = submit(), timezone.now()
    queue_config.repair(now)
    call = task_store.acquire("architect", worker="dead", want=1, lease_ms=1)
    (grant,) = scripts.run(client("architect", purpose="worker"), [call])
    (lease,) = grant.leases
    rows = Task.objects.filter(pk=task.pk)
    rows.update(fence=lease.fence, started_at=now, attempt_count=1, worker_name="dead")
    assert rows.move(task.pk, State.WAITING, State.PROCESSING)
    return task


def state_told(redis, task):
    return json.loads(redis.get(keys.task(str(task.pk))))["state"]
