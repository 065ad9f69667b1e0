"""What an operator changes is in force within a second, in a worker that goes on running.

`make prove` holds the second; the suite sees that the change comes into force.
"""

import time
from collections.abc import Callable
from functools import partial

import pytest

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.models import Task
from tests.processes.test_rqworker import prompt
from tests.support import took, wait_until

pytestmark = [
    pytest.mark.usefixtures("acme"),
    pytest.mark.timeout(120),
    pytest.mark.timed,
    pytest.mark.slow,
]

SECOND = 1.0

PATIENCE = 30.0
"""For what is no promise: a busy machine may take long to set the scene."""


def within_a_second(change: Callable[[], object], is_in_force: Callable[[], object]) -> None:
    """Make the change and wait for its effect."""
    change()
    began = time.monotonic()
    wait_until(is_in_force, PATIENCE)
    took(time.monotonic() - began, SECOND, "a change of settings until it is in force")


@pytest.fixture
def running(redis):
    """How many tasks run."""
    return lambda: redis.llen(keys.active("architect"))


def states(tasks: list[Task]) -> list[str]:
    """What their rows say, in their order."""
    found = dict(Task.objects.values_list("pk", "state"))
    return [found[task.pk] for task in tasks]


def set_queue(**changes):
    return partial(queue_manager.set_queue, "ARCHITECT", changes)


def test_a_pause_and_its_end(rqworker, running, redis):
    tasks = [prompt("sleep 0.02") for _ in range(300)]
    rqworker("architect")
    wait_until(running, PATIENCE)

    within_a_second(partial(queue_manager.pause, "ARCHITECT"), lambda: not running())
    assert 0 < redis.llen(keys.wait("architect")) < len(tasks)
    within_a_second(partial(queue_manager.resume, "ARCHITECT"), running)


def test_a_pause_of_an_organization_and_its_end(rqworker, running):
    for _ in range(300):
        prompt("sleep 0.02")
    rqworker("architect")
    wait_until(running, PATIENCE)

    within_a_second(partial(queue_manager.pause, organization_id="acme"), lambda: not running())
    within_a_second(partial(queue_manager.resume, organization_id="acme"), running)


def test_a_limit_of_starts_lower_and_higher(rqworker, running, redis):
    for _ in range(100):
        prompt("sleep 0.05")
    rqworker("architect")
    wait_until(lambda: redis.llen(keys.limiter("architect")) > 12, PATIENCE)

    within_a_second(set_queue(limiter={"max": 3, "duration": 60}), lambda: not running())
    assert redis.llen(keys.wait("architect")) > 0
    within_a_second(set_queue(limiter={"max": 5000, "duration": 60}), running)


@pytest.mark.parametrize("cap", ["concurrency", "global_concurrency", "organization_concurrency"])
def test_a_cap_higher_and_lower(rqworker, running, cap):
    set_queue(**{cap: 1})()
    held = [prompt("hold") for _ in range(8)]
    rqworker("architect")
    wait_until(lambda: running() == 1, PATIENCE)

    within_a_second(set_queue(**{cap: 4}), lambda: running() == 4)

    wait_until(lambda: states(held).count("processing") == 4, PATIENCE)
    changed = time.monotonic()
    set_queue(**{cap: 1})()
    wait_until(lambda: time.monotonic() - changed > SECOND, PATIENCE)
    for task in held[:4]:
        queue_manager.cancel(task.pk)
    wait_until(lambda: states(held)[:5] == ["cancelled"] * 4 + ["processing"], PATIENCE)
    # All four slots are free again, and one is taken.
    wait_until(lambda: running() == 1, PATIENCE)
    assert states(held)[5:] == ["waiting"] * 3


def test_a_policy(rqworker, redis):
    queue_manager.set_organization("small", tier="free")
    set_queue(concurrency=2)()
    for _ in range(60):
        prompt("sleep 0.1")
    mine = prompt("sleep 0", organization_id="small")
    rqworker("architect")
    wait_until(lambda: Task.objects.filter(state="complete").count() > 4, PATIENCE)
    assert Task.objects.get(pk=mine.pk).attempt_count == 0

    within_a_second(
        set_queue(policy="weighted"), lambda: Task.objects.get(pk=mine.pk).attempt_count
    )

    assert redis.llen(keys.wait("architect")) > 20
