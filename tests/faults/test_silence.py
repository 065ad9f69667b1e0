"""A worker and its server do not hear each other: who goes on, who stops, and who waits."""

import signal
import threading
import time

import pytest
from django.test import override_settings

from plugspace_queue.models import Attempt
from tests.support import patient, took, wait_until
from tests.worker.conftest import fresh, submit
from tests.worker.test_leases import held_by_a_dead_worker, past_its_first_lease

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timeout(90)]

LEASE = 6.0


class Watched:
    """A processor that works until it is let go, and notes when it was stopped before that."""

    def __init__(self):
        self.gate, self.began = threading.Event(), threading.Event()
        self.stopped_at = None

    def __call__(self, context):
        self.began.set()
        try:
            while not self.gate.wait(0.02):
                context.check_cancelled()
        except BaseException:
            self.stopped_at = time.monotonic()
            raise
        return context.attempt


@pytest.mark.slow
@pytest.mark.timed
@override_settings(PLUGSPACE_QUEUE={"LEASE": LEASE})
def test_a_worker_that_is_cut_off_stops_its_own_work_before_its_lease_ends(
    processors, crew, redis, until_final
):
    architect = Watched()
    processors("ARCHITECT", architect)
    made = crew("architect")
    submit()
    wait_until(architect.began.is_set, 10)

    # It answers nobody: this worker cannot know that it does not answer others either.
    redis.client_pause(round(LEASE * 1000) + 2000)
    heard_at = made.leases.ticked_at
    try:
        wait_until(lambda: architect.stopped_at, LEASE + 2)
        passed = architect.stopped_at - heard_at
        assert passed >= LEASE / 2
        took(passed, LEASE, "own work that is stopped after the server fell silent")
    finally:
        architect.gate.set()
        redis.client_unpause()


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={"LEASE": 3.0})
def test_work_goes_on_while_the_server_is_down_and_its_owner_comes_back_first(
    server_on_disk, processors, crew, until_final
):
    architect = Watched()
    processors("ARCHITECT", architect)
    one = crew("architect", worker_name="w1")
    task = submit()
    wait_until(architect.began.is_set, 10)
    two = crew("architect", worker_name="w2")
    wait_until(lambda: two.leases._reap_from < time.monotonic(), 10)

    stop(server_on_disk)
    down_at = time.monotonic()
    wait_until(lambda: time.monotonic() > down_at + 3.5, 10)
    assert architect.stopped_at is None
    # The other one is there first, and finds a lease that ran out.
    tick, one.leases._tick = one.leases._tick, lambda: None
    server_on_disk.start()
    back_at = time.monotonic()
    wait_until(lambda: two.leases.ticked_at > back_at + 1, 10)
    one.leases._tick = tick
    wait_until(lambda: one.leases.ticked_at > back_at + 1, 10)
    architect.gate.set()

    row = until_final(task)
    assert (row.result, row.attempt_count, row.recovery_count) == (1, 1, 0)
    assert Attempt.objects.get(task=task).outcome == "complete"
    assert architect.stopped_at is None


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={"LEASE": 5.0})
def test_after_a_quick_restart_of_the_server_nobody_reaps_for_one_lease(
    server_on_disk, processors, crew, until_final
):
    made = past_its_first_lease(crew, processors)
    made._is_suspended = lambda: True
    task = held_by_a_dead_worker(lease_ms=1200)

    stop(server_on_disk)
    server_on_disk.start()
    back_at = time.monotonic()
    wait_until(lambda: made.leases.ticked_at > back_at, 5)
    heard_at = made.leases.ticked_at

    wait_until(lambda: not server_on_disk.client.exists("plugspace:architect:lease"), 20)
    assert time.monotonic() - heard_at > 4.5
    assert fresh(task).state == "waiting"


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={"LEASE": 3.0})
def test_a_pump_that_stands_keeps_no_lease_and_its_task_is_taken_over(
    processors, crew, until_running
):
    architect = Watched()
    processors("ARCHITECT", architect)
    one = crew("architect", worker_name="w1")
    task = submit()
    until_running(task)
    crew("architect", worker_name="w2")
    stands, goes_on = threading.Event(), threading.Event()
    turn = one.loop.turn

    def stand(messages):
        stands.set()
        goes_on.wait(40)
        turn(messages)

    one.loop.turn = stand
    try:
        wait_until(stands.is_set, 10)
        # Two leases: one in which the ticker still renews, one that runs out.
        wait_until(lambda: fresh(task).recovery_count == 1, 15)
        lost = Attempt.objects.get(task=task, outcome="lost")
        assert lost.worker_name == "w1"
        assert (lost.ended_at - lost.started_at).total_seconds() > 3
    finally:
        architect.gate.set()
        goes_on.set()


def stop(server):
    """As a restart does it: what it has is on disk before it ends."""
    server.kill(signal.SIGTERM)
    server.process.wait(timeout=patient(10))
