"""How soon the work of a killed process goes on: promises in seconds, for a quiet machine."""

import os
import signal
import time

import pytest

from tests.patience import took
from tests.processes.test_pool import is_alive, workers
from tests.support import wait_until
from tests.worker.conftest import submit

pytestmark = [pytest.mark.prove, pytest.mark.usefixtures("acme"), pytest.mark.timeout(600)]

KILLS = {3: 8, 10: 4}
"""How often a worker is killed, for each lease."""


@pytest.mark.parametrize("lease", KILLS)
def test_the_task_of_a_killed_worker_starts_again_within_its_lease_and_a_second_and_a_half(
    rqworker, until_running, until_final, lease
):
    settings = {"TEST_LEASE": str(lease)}
    worker = rqworker("architect", **settings)
    for number in range(KILLS[lease]):
        task = until_running(submit(input={"prompt": "tell-time-once-stalled"}))
        # Whatever of a second has passed since its lease was last renewed.
        begun = time.monotonic()
        wait_until(lambda n=number, b=begun: time.monotonic() > b + n / KILLS[lease])
        other = rqworker("architect", **settings)
        # A worker that has just come lets others renew their leases first.
        known = time.monotonic()
        wait_until(lambda k=known: time.monotonic() > k + 4)

        killed_at = time.time()
        os.killpg(worker.pid, signal.SIGKILL)

        row = until_final(task, timeout=60)
        assert (row.state, row.recovery_count, row.attempt_count) == ("complete", 1, 2)
        what = f"rerun number {number + 1} after SIGKILL, lease {lease} s"
        took(row.result["at"] - killed_at, lease + 1.5, what)
        worker = other


@pytest.mark.parametrize("lease", KILLS)
def test_the_workers_of_a_killed_pool_end_within_two_leases(rqworker, redis, until_running, lease):
    settings = {"TEST_LEASE": str(lease), "TEST_GRACE": "60"}
    pool = rqworker(
        "architect", "--num-workers", "2", wait=False, command="rqworker-pool", **settings
    )
    wait_until(lambda: len(workers(redis)) == 2, 30)
    pids = workers(redis).values()
    # It hears nothing for a minute.
    until_running(submit(input={"prompt": "linger-once"}))

    killed_at = time.time()
    pool.kill()

    wait_until(lambda: not any(map(is_alive, pids)), 60)
    took(time.time() - killed_at, 2 * lease, f"end of a killed pool's workers, lease {lease} s")
