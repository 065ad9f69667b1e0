"""Leases that outlive, or are outlived by, the attempt they were granted for."""

import json
import threading
import time

import pytest
from django.test import override_settings
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys, scripts, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.domain.enums import State
from plugspace_queue.maintenance import queue_config
from plugspace_queue.models import Task
from plugspace_queue.worker.control import Heartbeat
from tests.support import patient, wait_until
from tests.worker.conftest import fresh, make_crew, submit

pytestmark = pytest.mark.usefixtures("acme")

LEASE = 3.0


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={"LEASE": LEASE})
def test_a_heartbeat_that_hangs_lets_no_lease_run_out(processors, crew, until_final, monkeypatch):
    gate, hanging, released = threading.Event(), threading.Event(), threading.Event()

    def hang():
        hanging.set()
        released.wait(60)

    def architect(context):
        gate.wait(40)
        return context.should_stop

    processors("ARCHITECT", architect)
    monkeypatch.setattr(Heartbeat, "INTERVAL", 0.1)
    made = crew("architect", heartbeat=hang)
    try:
        task = submit()
        wait_until(lambda: fresh(task).state == "processing")
        crew("architect", worker_name="w2")
        wait_until(hanging.is_set)
        began = time.monotonic()
        wait_until(lambda: made.leases.ticked_at > began + 1.5 * LEASE, 10)
        gate.set()

        row = until_final(task)
        assert (row.attempt_count, row.recovery_count, row.result) == (1, 0, False)
    finally:
        released.set()


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={"LEASE": LEASE})
def test_a_lease_renewer_that_hangs_costs_its_attempts_before_another_worker_starts_them(
    processors, crew, until_final
):
    spans, released = [], threading.Event()

    def architect(context):
        began = time.monotonic()
        try:
            while context.attempt == 1:
                released.wait(0.01)
        finally:
            spans.append((context.attempt, began, time.monotonic()))
        return context.attempt

    processors("ARCHITECT", architect)
    made = crew("architect")
    task = submit()
    wait_until(lambda: fresh(task).state == "processing")
    made.leases._tick = lambda: released.wait(60)
    try:
        crew("architect", worker_name="w2")

        row = until_final(task, 30)
    finally:
        released.set()

    (_, _, ended), (_, began, _) = sorted(spans)
    assert ended <= began
    assert (row.result, row.worker_name) == (2, "w2")


def test_an_answer_about_an_older_lease_of_a_task_is_no_news_to_its_newer_run(
    processors, crew, until_final
):
    gate, asked = threading.Event(), threading.Event()

    def architect(context):
        gate.wait(20)
        return context.should_stop

    processors("ARCHITECT", architect)
    made = crew("architect")
    fences = made.table.fences

    def older(queue):
        """What a tick collected just before the task came back to this worker."""
        found = {task_id: fence - 1 for task_id, fence in fences(queue).items()}
        if found:
            asked.set()
        return found

    task = submit()
    wait_until(lambda: fresh(task).state == "processing")
    made.table.fences = older
    wait_until(asked.is_set)
    ticked_at = made.leases.ticked_at
    wait_until(lambda: made.leases.ticked_at > ticked_at)
    made.table.fences = fences
    gate.set()

    row = until_final(task)
    assert (row.attempt_count, row.result) == (1, False)


@override_settings(PLUGSPACE_QUEUE={"LEASE": 1.0, "HARD_STOP": 0.3})
def test_the_older_run_is_told_when_its_own_worker_is_granted_the_task_again(
    processors, crew, until_final
):
    contexts, ended = [], threading.Event()

    def architect(context):
        contexts.append(context)
        if context.attempt == 1:
            wait_until(lambda: context.should_stop, 20)
            ended.set()
        return context.attempt

    processors("ARCHITECT", architect)
    made = crew("architect")
    # This worker's tick pauses for longer than a lease, and another one takes the task back.
    tick, made.leases._tick = made.leases._tick, lambda: None
    task = submit()
    wait_until(lambda: contexts)

    Task.objects.filter(pk=task.pk).update(state=State.WAITING)
    wait_until(lambda: reap_as("w2"))
    wait_until(lambda: len(contexts) == 2)
    made.leases._tick = tick

    assert until_final(task).result == 2
    wait_until(ended.is_set)
    assert fresh(task).attempts.count() == 1


def test_an_ending_is_written_before_the_next_lease_of_its_task_is_judged(processors, redis):
    processors("ARCHITECT", lambda context: context.attempt)
    task, made = submit(), make_crew("architect")
    queue_config.repair(timezone.now())
    loop, follow_up = made.loop, made.completer.follow_up
    follow_up.start()
    loop.turn([])
    ended = made.inbox.get(timeout=patient(20))
    # Another worker takes the lease of the attempt that has just ended, and the task is in line.
    redis.zadd(keys.lease("architect"), {str(task.pk): 1}, xx=True)
    assert reap_as("w2")
    made.fetcher.queues["architect"].is_ready = True
    record = loop._record

    def record_later():
        """The thread that judges leases without a start comes before the next commit."""
        wait_until(lambda: follow_up.is_idle)
        record()

    loop._record = record_later
    loop.turn([ended])
    follow_up.stop()

    row = fresh(task)
    assert (row.state, row.recovery_count, row.attempt_count) == ("complete", 0, 1)


def reap_as(worker):
    """What another worker's tick takes from those whose leases ran out."""
    call = task_store.tick("architect", worker=worker, held={}, lease_ms=1000, reap=True)
    (answer,) = scripts.run(client("architect", purpose="worker"), [call])
    return answer.reaped


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={"LEASE": 10.0})
def test_a_server_that_is_slow_now_and_then_keeps_no_task_of_a_dead_worker(
    processors, crew, until_final, redis, caplog
):
    task = held_by_a_dead_worker(lease_ms=2500)
    past_its_first_lease(crew, processors)

    def tick_has_failed():
        redis.client_pause(1500)
        return "no tick for" in caplog.text

    wait_until(tick_has_failed, 15)

    # One lease later would be 10 s.
    assert until_final(task, timeout=7).state == "complete"


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={"LEASE": 3.0})
def test_nobody_reaps_for_one_lease_after_the_server_was_silent_for_long(
    processors, crew, until_final, redis
):
    task = held_by_a_dead_worker(lease_ms=2500)
    made = past_its_first_lease(crew, processors)
    redis.client_pause(4000)
    paused_at = time.monotonic()
    wait_until(lambda: made.leases.ticked_at > paused_at + 3, 15)
    heard_at = made.leases.ticked_at

    until_final(task)
    assert time.monotonic() - heard_at > 2.9


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={"LEASE": 4.0})
def test_a_worker_that_ticks_late_on_a_busy_machine_reaps_nevertheless(
    processors, crew, until_final, caplog
):
    task = held_by_a_dead_worker(lease_ms=100)
    made = past_its_first_lease(crew, processors)
    made.leases._reap_from = time.monotonic() + 1
    beat, ended = made.leases._beat, threading.Event()

    def beat_late():
        ended.wait(2.3)
        beat()

    made.leases._beat = beat_late
    try:
        assert until_final(task).state == "complete"
        # And not by the patrol, which finds it too, but later.
        assert "took 1 tasks from workers that died" in caplog.text
    finally:
        ended.set()


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={"LEASE": 10.0})
def test_a_new_worker_reaps_soon_at_a_server_that_has_been_up_for_long(
    processors, crew, until_final, redis
):
    task = held_by_a_dead_worker(lease_ms=1)
    wait_until(lambda: redis.info("server")["uptime_in_seconds"] > 10, 15)
    processors("ARCHITECT", lambda context: context.attempt)
    crew("architect")

    # One lease later would be 10 s.
    assert until_final(task, timeout=8).state == "complete"


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={"LEASE": 6.0})
def test_a_new_worker_waits_one_lease_when_the_server_did_not_answer_it_at_first(
    processors, redis, caplog
):
    held_by_a_dead_worker(lease_ms=1)
    wait_until(lambda: redis.info("server")["uptime_in_seconds"] > 6, 10)
    processors("ARCHITECT", lambda context: context.attempt)
    made = make_crew("architect")
    made.loop_is_alive = lambda: True
    renewer = made.leases
    began = time.monotonic()

    redis.client_pause(1500)
    renewer._tick()
    assert "no tick for" in caplog.text

    wait_until(lambda: renewer._tick() or not redis.exists(keys.lease("architect")), 15)
    assert time.monotonic() - began > 6


def past_its_first_lease(crew, processors):
    """A crew that has ticked and reaps from now on."""
    processors("ARCHITECT", lambda context: context.attempt)
    made = crew("architect")
    began = time.monotonic()
    wait_until(lambda: made.leases.ticked_at > began)
    made.leases._reap_from = 0.0
    return made


def held_by_a_dead_worker(lease_ms):
    """A task that a worker took and has not begun."""
    task = submit()
    queue_config.repair(timezone.now())
    call = task_store.acquire("architect", worker="dead", want=1, lease_ms=lease_ms)
    scripts.run(client("architect", purpose="worker"), [call])
    return task


@override_settings(PLUGSPACE_QUEUE={"LEASE": 1.0})
@pytest.mark.parametrize(
    ("state", "error", "event"),
    [
        (State.COMPLETE, None, "taskCompleted"),
        (State.FAILED, {"code": "X", "message": "no", "stack": "secret"}, "taskFailed"),
    ],
)
@pytest.mark.slow
def test_the_event_of_an_ending_comes_though_its_worker_died_before_it_told_redis(
    processors, crew, redis, state, error, event
):
    ran = []
    processors("ARCHITECT", ran.append)
    task = submit()
    end_without_telling(task, state=state, error=error)

    crew("architect")

    told = wait_until(lambda: [e for e in events(redis) if e["name"] == event], 10)
    assert (len(told), ran) == (1, [])
    assert "secret" not in json.dumps(told)
    wait_until(lambda: not redis.exists(keys.own("architect"), keys.lease("architect")))
    assert json.loads(redis.get(keys.task(str(task.pk))))["state"] == state


def end_without_telling(task, **fields):
    """Commit an ending as a worker does that is killed before it settles the lease."""
    queue_config.repair(timezone.now())
    call = task_store.acquire("architect", worker="dead", want=1, lease_ms=1)
    (grant,) = scripts.run(client("architect", purpose="worker"), [call])
    (lease,) = grant.leases
    now = timezone.now()
    Task.objects.filter(pk=task.pk).update(
        fence=lease.fence, attempt_count=1, started_at=now, completed_at=now, **fields
    )


def events(redis):
    return [json.loads(fields[b"event"]) for _, fields in redis.xrange(keys.events())]


def test_a_task_that_the_guard_fails_as_lost_is_counted_as_failed(processors, work):
    processors("ARCHITECT", lambda context: {})
    task = submit()
    Task.objects.filter(pk=task.pk).update(recovery_count=3)

    work("architect")

    assert fresh(task).error["code"] == "WORKER_LOST"
    assert queue_manager.get_queue_stats("ARCHITECT").failed == 1
