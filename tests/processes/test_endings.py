"""How a worker process ends when the whole group is told to, or when a part of it died."""

import os
import signal

import pytest

from plugspace_queue import keys, queue_manager
from plugspace_queue.models import Attempt
from tests.support import wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [pytest.mark.usefixtures("acme", "nothing_is_left"), pytest.mark.timeout(120)]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_hands_isolated_tasks_back(rqworker, redis, signum):
    worker = rqworker("analyze")
    task = submit("ANALYZE", input={"url": "https://example.com/"})
    wait_until(lambda: fresh(task).progress, 20)

    # Ctrl-C in a terminal and a service manager's stop reach every process of the group.
    os.killpg(worker.pid, signum)

    assert worker.wait(timeout=20) == 0
    row = fresh(task)
    assert (row.state, row.retry_count, row.recovery_count) == ("waiting", 0, 0)
    assert Attempt.objects.get(task=task).outcome == "handed_back"
    assert redis.llen(keys.wait("analyze")) == 1
    queue_manager.cancel(task.pk)


def test_a_worker_that_cannot_write_any_more_ends_and_its_task_runs_elsewhere(
    rqworker, until_running, until_final
):
    worker = rqworker("architect")
    task = submit(input={"prompt": "unwrite-once"})

    assert worker.wait(timeout=30) not in (0, None)
    assert fresh(task).state == "processing"

    rqworker("architect")
    row = until_final(task, timeout=40)
    assert (row.state, row.result) == ("complete", {"attempt": 2})
