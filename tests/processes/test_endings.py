"""How a worker process ends when the whole group is told to, or when a part of it died."""

import os
import signal
import time

import pytest

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.models import Attempt
from tests.support import patient, wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [
    pytest.mark.usefixtures("acme", "nothing_is_left"),
    pytest.mark.timeout(120),
    pytest.mark.slow,
]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_hands_isolated_tasks_back(rqworker, redis, signum):
    worker = rqworker("analyze")
    task = submit("ANALYZE", input={"url": "https://example.com/"})
    wait_until(lambda: fresh(task).progress, 20)

    # Ctrl-C in a terminal and a service manager's stop reach every process of the group.
    os.killpg(worker.pid, signum)

    assert worker.wait(timeout=patient(20)) == 0
    row = fresh(task)
    assert (row.state, row.retry_count, row.recovery_count) == ("waiting", 0, 0)
    assert Attempt.objects.get(task=task).outcome == "handed_back"
    assert redis.llen(keys.wait("analyze")) == 1
    queue_manager.cancel(task.pk)


def test_a_second_signal_hands_back_at_once_and_everything_runs_elsewhere(
    rqworker, redis, until_final
):
    worker = rqworker("architect", TEST_GRACE="60")
    lingering = [submit(input={"prompt": "linger-once"}) for _ in range(3)]
    # Not only granted: what no slot has begun yet goes back with the first signal.
    wait_until(lambda: all(fresh(task).progress for task in lingering), 20)

    worker.send_signal(signal.SIGTERM)
    told_at = time.monotonic()
    # One within the first second is taken for the same press, and the grace time goes on.
    wait_until(lambda: time.monotonic() > told_at + 0.4, 5)
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: time.monotonic() > told_at + 3, 5)
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)

    # The grace time is a minute.
    assert worker.wait(timeout=patient(15)) == 0
    rows = [fresh(task) for task in lingering]
    assert {(row.state, row.retry_count, row.recovery_count) for row in rows} == {("waiting", 0, 0)}
    assert redis.llen(keys.wait("architect")) == len(lingering)
    rqworker("architect")
    assert [until_final(task).result for task in lingering] == [{"attempt": 2}] * 3


def test_a_worker_that_cannot_write_any_more_ends_and_its_task_runs_elsewhere(
    rqworker, until_running, until_final
):
    worker = rqworker("architect")
    task = submit(input={"prompt": "unwrite-once"})

    assert worker.wait(timeout=patient(30)) not in (0, None)
    assert fresh(task).state == "processing"

    rqworker("architect")
    row = until_final(task, timeout=40)
    assert (row.state, row.result) == ("complete", {"attempt": 2})
