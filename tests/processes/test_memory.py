"""A worker that has grown too large makes room for a fresh one."""

import pytest

from tests.support import patient, wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [
    pytest.mark.usefixtures("acme", "nothing_is_left"),
    pytest.mark.timeout(90),
    pytest.mark.slow,
]


def test_a_worker_above_its_memory_finishes_what_runs_and_ends_for_another_to_start(
    rqworker, until_final, until_running
):
    large = rqworker("architect", TEST_MAX_MEMORY="170")
    assert until_final(submit(input={"prompt": "pid"})).state == "complete"
    assert large.poll() is None

    long = submit(input={"prompt": "sleep 8"})
    until_running(long)
    running = [submit(input={"prompt": "grow 120"}), long]
    rows = [until_final(task, 30) for task in running]

    assert [(row.state, row.attempt_count) for row in rows] == [("complete", 1)] * 2
    assert rows[0].result == {"pid": large.pid}
    assert large.wait(timeout=patient(20)) == 0
    later = submit(input={"prompt": "pid"})
    wait_until(lambda: fresh(later).state == "waiting", 5)
    rqworker("architect", TEST_MAX_MEMORY="170")
    assert until_final(later).state == "complete"
