"""An idle worker starts what waits within two seconds, whoever took the marker and lost it."""

import threading
import time

import pytest

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import client
from tests.support import took, wait_until
from tests.worker.conftest import submit

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timed]


def assert_woken(until_final):
    task = submit()
    began = time.monotonic()
    until_final(task, 40)
    took(time.monotonic() - began, 2.5, "a task whose marker was lost")


@pytest.mark.slow
def test_a_marker_taken_by_a_stopping_worker_wakes_another(
    processors, crew, until_running, until_final, redis
):
    gate = threading.Event()
    calls = []

    def process(context):
        calls.append(context.task_id)
        if len(calls) == 1:
            gate.wait(60)
        return {}

    processors("ARCHITECT", process)
    one = crew("architect", worker_name="w1")
    until_running(submit())
    wait_until(lambda: blocked(redis) == 1)
    crew("architect", worker_name="w2")
    wait_until(lambda: blocked(redis) == 2)

    one.stop()
    try:
        assert_woken(until_final)
    finally:
        gate.set()


def test_a_worker_waits_for_a_marker_only_while_it_has_a_free_slot(
    processors, crew, until_running, until_final, redis
):
    gate = threading.Event()
    processors("ARCHITECT", lambda context: {"opened": gate.wait(60)}, concurrency=1)
    crew("architect")
    wait_until(lambda: blocked(redis) == 1)

    task = submit()
    until_running(task)
    try:
        waiting = submit()
        wait_until(lambda: blocked(redis) == 0, 5)
        wait_until(lambda: redis.exists(keys.marker("architect")))
    finally:
        gate.set()

    until_final(waiting)
    wait_until(lambda: blocked(redis) == 1)


def test_an_idle_worker_of_several_queues_starts_each_task_at_once(processors, crew, until_final):
    for task_type in ("ARCHITECT", "CODE", "DESIGN"):
        processors(task_type, lambda context: {})
    crew("architect", "code", "design")
    until_final(submit("CODE"))
    began = time.monotonic()

    for _ in range(6):
        until_final(submit("CODE"))

    # Two seconds each when nobody is woken.
    took(time.monotonic() - began, 6, "six tasks of an idle worker of three queues")


@pytest.mark.slow
def test_a_marker_taken_by_a_worker_that_died_wakes_another(processors, crew, until_final, redis):
    processors("ARCHITECT", lambda context: {})
    marker = keys.marker("architect")
    threading.Thread(
        target=lambda: client("architect", purpose="block").bzpopmin([marker], timeout=9),
        daemon=True,
    ).start()
    wait_until(lambda: blocked(redis) == 1)
    crew("architect")
    wait_until(lambda: blocked(redis) == 2)

    assert_woken(until_final)


def blocked(redis):
    return redis.info("clients")["blocked_clients"]
