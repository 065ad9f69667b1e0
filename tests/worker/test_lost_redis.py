"""After Redis lost its data nothing starts before the gates are written again."""

import pytest

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.models import Task
from tests.support import wait_until
from tests.worker.conftest import fresh, submit

pytestmark = pytest.mark.usefixtures("acme")


def idles(crew):
    """Whether the worker has asked for work and found none."""
    return all(not one.is_ready for one in crew.fetcher.queues.values())


def test_a_paused_queue_stays_paused(processors, crew, redis):
    processors("ARCHITECT", lambda context: {})
    queue_manager.pause("ARCHITECT")
    made = crew("architect")
    wait_until(lambda: idles(made))

    redis.flushall()
    task = submit()

    wait_until(lambda: redis.hget(keys.meta("architect"), "paused") == b"1", 10)
    assert fresh(task).state == "waiting"
    queue_manager.resume("ARCHITECT")
    wait_until(lambda: fresh(task).state == "complete")


def test_the_limit_of_starts_still_holds(processors, crew, redis):
    processors("DEPLOY", lambda context: {}, concurrency=20)
    made = crew("deploy")
    wait_until(lambda: idles(made))

    redis.flushall()
    for _ in range(30):
        submit("DEPLOY")

    started = Task.objects.filter(type="DEPLOY", attempt_count__gt=0)
    wait_until(lambda: started.count() == 10, 10)
    wait_until(lambda: redis.llen(keys.wait("deploy")) == 20)
    assert started.count() == 10


def test_a_maintenance_thread_that_is_called_repairs_at_once(processors, crew, redis):
    processors("ARCHITECT", lambda context: {})
    made = crew("architect")
    wait_until(lambda: redis.exists(keys.epoch()))

    redis.flushall()
    made.maintenance.repair_soon()

    wait_until(lambda: redis.hget(keys.meta("architect"), "limiter"), 1.0)
