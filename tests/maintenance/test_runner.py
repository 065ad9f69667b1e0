"""The reconciler of the workers: one worker at a time, and at once after Redis lost its data."""

import logging
import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from plugspace_queue import errors, metrics, queue_manager
from plugspace_queue.broker import keys, task_store
from plugspace_queue.maintenance.queue_config import repair
from plugspace_queue.maintenance.reconcile.runner import ReconcileRunner
from plugspace_queue.maintenance.relay import relay
from plugspace_queue.models import Task
from tests.maintenance.scene import kinds_found, reconcile
from tests.support import wait_until
from tests.worker.conftest import fresh, submit


def turn(runner):
    return runner.turn(timezone.now())


def test_what_is_missing_is_published_within_one_round(scene):
    runner = ReconcileRunner()
    scene.line.run(task_store.withdraw("code", [scene.id(0)]))

    wait_until(lambda: turn(runner))

    assert scene.id(0) in scene.line.waits()


def test_each_repair_is_counted_by_its_code(scene):
    runner = ReconcileRunner()
    scene.line.run(task_store.withdraw("code", [scene.id(0)]))
    repaired = metrics.field(metrics.REPAIRED, "unpublished")
    before = metrics.read().get(repaired, 0)

    wait_until(lambda: turn(runner))

    assert metrics.read()[repaired] == before + 1


def test_a_difference_is_repaired_after_a_second_comparison_and_not_before(scene, settings):
    settings.PLUGSPACE_QUEUE = {"LEASE": 600}
    runner = ReconcileRunner()
    scene.redis.delete(keys.active("code"))
    for _ in range(60):
        turn(runner)
    assert scene.line.runs() == []

    settings.PLUGSPACE_QUEUE = {"LEASE": 0.2}
    wait_until(lambda: turn(runner))

    assert scene.line.runs() == [str(scene.running.pk)]


def test_a_difference_that_ends_before_the_second_comparison_is_not_repaired(scene, settings):
    settings.PLUGSPACE_QUEUE = {"LEASE": 600}
    runner = ReconcileRunner()
    scene.redis.delete(keys.active("code"))
    for _ in range(60):
        turn(runner)
    scene.redis.rpush(keys.active("code"), str(scene.running.pk))
    assert len(runner._pending)

    settings.PLUGSPACE_QUEUE = {"LEASE": 0.2}
    wait_until(lambda: turn(runner) or not len(runner._pending))

    assert scene.line.runs() == [str(scene.running.pk)]


def test_one_worker_reconciles_and_another_one_after_it_has_ended(scene):
    one, other = ReconcileRunner(), ReconcileRunner()
    turn(one)
    scene.line.run(task_store.withdraw("code", [scene.id(0)]))
    assert [turn(other) for _ in range(60)] == [0] * 60
    other.end()
    assert turn(other) == 0

    one.end()

    wait_until(lambda: turn(other))
    assert turn(one) == 0


def test_the_lock_of_a_worker_that_died_expires(scene):
    turn(ReconcileRunner())

    assert 0 < scene.redis.pttl(keys.reconciler()) <= 30_000


@pytest.mark.parametrize("strange", ["string", "hash"])
def test_a_lock_that_would_never_expire_is_no_lock(scene, strange):
    if strange == "string":
        scene.redis.set(keys.reconciler(), "somebody else's")
    else:
        scene.redis.hset(keys.reconciler(), "somebody", "else")
    scene.line.run(task_store.withdraw("code", [scene.id(0)]))
    runner = ReconcileRunner()

    wait_until(lambda: turn(runner))

    assert scene.id(0) in scene.line.waits()


def test_a_new_round_begins_at_once_after_redis_lost_its_data(scene):
    runner = ReconcileRunner()
    wait_until(lambda: turn(runner) == 0 and runner._round is None and runner._epochs)
    scene.redis.flushall()
    relay(timezone.now())

    lost = [
        keys.organization_tier("bolt"),
        keys.organization_tasks("bolt"),
        keys.workflow(str(scene.workflow.workflow_id)),
        keys.task(str(scene.blocked.pk)),
    ]
    wait_until(lambda: turn(runner) >= 0 and scene.redis.exists(*lost) == len(lost))


@pytest.mark.slow
def test_after_a_loss_with_tasks_in_every_place_all_of_them_end(
    acme,
    processors,
    crew,
    redis,
    settings,
):
    settings.PLUGSPACE_QUEUE = {"LEASE": 1.0, "RELAY_INTERVAL": 0.5}
    gate = threading.Event()
    processors("CODE", lambda context: {} if gate.wait(20) else None, concurrency=2)
    tasks = [submit("CODE") for _ in range(5)]
    delayed = submit("CODE", run_at=timezone.now() + timedelta(seconds=2))
    blocked = submit("CODE", depends_on=[tasks[0].pk, delayed.pk])
    crew("code")
    wait_until(lambda: Task.objects.filter(type="CODE", state="processing").count() == 2, 10)

    redis.flushall()

    wait_until(lambda: redis.get(keys.organization_tier("acme")) == b"enterprise", 15)
    gate.set()
    others = Task.objects.exclude(state="complete")
    wait_until(lambda: not others.exists(), 20, "a task did not complete")
    assert {fresh(task).recovery_count for task in [*tasks, delayed, blocked]} == {0}
    wait_until(lambda: kinds_found() == set(), 30)


def test_a_busy_healthy_site_gives_nothing_to_repair(
    acme,
    processors,
    crew,
    settings,
    caplog,
):
    settings.PLUGSPACE_QUEUE = {"LEASE": 1.0, "BACKOFF_DELAY": 0.1, "MAX_RETRIES": 1}
    repair(timezone.now())

    def code(context):
        if context.attempt == 1 and int(context.task_id[-1], 16) % 3 == 0:
            raise errors.ExternalServiceError("away")
        if int(context.task_id[-2], 16) % 5 == 0:
            raise ValueError("no")
        return {}

    processors("CODE", code, concurrency=4)
    with caplog.at_level(logging.WARNING, logger="plugspace_queue.reconciling"):
        crew("code")
        for _ in range(29):
            submit("CODE")
        # Later, so that no worker can be faster than the cancel.
        queue_manager.cancel(submit("CODE", run_at=timezone.now() + timedelta(hours=1)).pk)
        ended = Task.objects.filter(state__in=["complete", "failed", "cancelled"])
        code_, told = reconcile("--check")
        wait_until(lambda: ended.count() == 30, 20)

    assert (code_, told["findings"]) == (0, [])
    assert kinds_found() == set()
    assert not [one for one in caplog.records if one.name == "plugspace_queue.reconciling"]
