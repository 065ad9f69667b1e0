"""The server refuses writes: its memory is full, its disk is full, its replicas are gone."""

import resource
import threading

import pytest
from django.test import override_settings

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from tests.support import wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timeout(60)]

SOON = {"RELAY_INTERVAL": 0.5, "LEASE": 3.0}


class Held:
    """A processor whose attempts wait at a gate; `ran` lists the tasks that it was called with."""

    def __init__(self):
        self.gate = threading.Event()
        self.ran = []

    def __call__(self, context):
        self.ran.append(context.task_id)
        self.gate.wait(40)
        return {"attempt": context.attempt}


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_with_full_memory_work_goes_on_and_what_is_submitted_comes_later(
    processors, crew, redis, until_running, until_final
):
    architect = Held()
    processors("ARCHITECT", architect, concurrency=1)
    crew("architect")
    running = submit()
    until_running(running)
    next_one, gone = submit(), submit()

    redis.config_set("maxmemory", 1)
    try:
        late = submit()
        assert queue_manager.cancel(gone.pk) == "cancelled"
        architect.gate.set()

        # Tasks are settled and acquired, while no submit reaches Redis.
        assert [until_final(task).state for task in (running, next_one)] == ["complete"] * 2
        wait_until(lambda: not redis.llen(keys.active("architect")))
        assert fresh(late).state == "waiting"
        assert redis.llen(keys.wait("architect")) == 0
    finally:
        redis.config_set("maxmemory", 0)

    assert until_final(late).state == "complete"
    assert len(architect.ran) == 3


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE=SOON)
def test_a_full_disk_is_an_outage_of_writes_and_ends_with_it(
    server_on_disk, processors, crew, until_running, until_final
):
    architect = Held()
    processors("ARCHITECT", architect)
    made = crew("architect")
    running = submit()
    until_running(running)

    fill_disk(server_on_disk)
    late, gone = submit(), submit()
    queue_manager.cancel(gone.pk)
    assert queue_manager.get_queue_stats("ARCHITECT").active == 1
    # For longer than a lease, with the attempt's end in the middle of it.
    silent_since = made.leases.ticked_at
    wait_until(lambda: made.leases.beaten_at > silent_since + SOON["LEASE"] + 0.5, 10)
    assert made.leases.ticked_at == silent_since
    architect.gate.set()
    assert until_final(running).state == "complete"
    free_disk(server_on_disk)

    assert until_final(late).state == "complete"
    wait_until(lambda: fresh(gone).state == "cancelled")
    row = fresh(running)
    assert (row.attempt_count, row.recovery_count, row.result) == (1, 0, {"attempt": 1})
    client = server_on_disk.client
    wait_until(lambda: not client.exists(keys.own("architect"), keys.lease("architect")))
    assert sorted(architect.ran) == sorted(str(task.pk) for task in (running, late))


def fill_disk(server):
    """Limit the size of the files of the server, and wait until it refuses a write."""
    pid = server.process.pid
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    def is_refused():
        try:
            server.client.set("tests:disk", "x")
        except Exception as error:
            return "MISCONF" in str(error)
        return False

    wait_until(is_refused, 5, "the server still writes")


def free_disk(server):
    limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_a_primary_without_its_replicas_refuses_and_nothing_is_lost(
    processors, crew, redis, until_running, until_final
):
    architect = Held()
    processors("ARCHITECT", architect)
    crew("architect")
    running = submit()
    until_running(running)

    redis.config_set("min-replicas-to-write", 1)
    try:
        late = submit()
        architect.gate.set()
        assert until_final(running).state == "complete"
        assert fresh(late).state == "waiting"
    finally:
        redis.config_set("min-replicas-to-write", 0)

    assert until_final(late).state == "complete"
    assert len(architect.ran) == 2
