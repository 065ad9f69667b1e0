"""The clock of a worker's host jumps: Redis's counts, and the worker says so."""

import threading
import time
from datetime import datetime, timedelta

import pytest
from django.test import override_settings
from django.utils import timezone

from plugspace_queue.domain import clock
from plugspace_queue.models import Task
from tests.support import wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timeout(60)]

HOUR = timedelta(hours=1)
QUICK = {"RELAY_INTERVAL": 0.3, "BACKOFF_DELAY": 0.5, "LEASE": 3.0}


@pytest.fixture
def jump(monkeypatch):
    """Set the clock that the worker's threads read; this thread is on another host."""
    right, here = timezone.now, threading.current_thread()
    off = [timedelta()]

    def now() -> datetime:
        return right() if threading.current_thread() is here else right() + off[0]

    monkeypatch.setattr(timezone, "now", now)
    yield lambda by: off.__setitem__(0, by)
    off[0] = timedelta()
    clock.set_server_time(time.time_ns() // 1000)


@override_settings(PLUGSPACE_QUEUE=QUICK)
@pytest.mark.parametrize("by", [HOUR, -HOUR], ids=["ahead", "behind"])
@pytest.mark.slow
def test_a_jump_ends_nothing_before_its_time_and_holds_nothing_up(
    processors, crew, until_final, jump, caplog, by
):
    gate = threading.Event()

    def architect(context):
        if context.input.prompt == "retry" and context.attempt == 1:
            raise ConnectionError("busy")
        if context.input.prompt == "first":
            gate.wait(20)
        return context.attempt

    processors("ARCHITECT", architect, concurrency=1)
    made = crew("architect")
    wait_until(lambda: clock._clock._server)
    first = submit(input={"prompt": "first"})
    wait_until(lambda: fresh(first).state == "processing")
    waiting = submit(ttl=120)
    brief = submit(ttl=1)
    later = submit(run_at=timezone.now() + timedelta(minutes=30))
    again = submit(input={"prompt": "retry"})

    jump(by)
    jumped_at = made.leases.ticked_at
    wait_until(lambda: made.leases.ticked_at > jumped_at + 1)
    assert until_final(brief).state == "expired"
    assert fresh(waiting).state == "waiting"
    gate.set()

    assert [until_final(task).result for task in (first, waiting)] == [1, 1]
    assert until_final(again).result == 2
    assert fresh(later).state == "scheduled"
    row = fresh(again)
    assert abs(row.completed_at - timezone.now()) < timedelta(seconds=10)
    assert Task.objects.filter(recovery_count__gt=0).count() == 0
    assert "3600 s off that of Redis" in caplog.text


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE=QUICK)
@pytest.mark.parametrize("children", ["tests.processes.alone_settings"], indirect=True)
@pytest.mark.parametrize("by", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_the_retry_of_a_child_process_is_due_though_the_clock_of_its_worker_jumped(
    children, processors, crew, jump, by
):
    processors("ANALYZE", lambda context: None, isolation="process")
    made = crew("analyze")
    wait_until(lambda: clock._clock._server)
    jump(by)
    jumped_at = made.leases.ticked_at
    wait_until(lambda: made.leases.ticked_at > jumped_at + 1)

    # Its child reads the clock of this host, which has not jumped.
    task = submit("ANALYZE", input={"url": "https://example.com/busy"})

    wait_until(lambda: fresh(task).retry_count == 1, 20)
    row = fresh(task)
    attempt = row.attempts.get(number=1)
    assert attempt.started_at <= row.wake_at <= attempt.ended_at + timedelta(seconds=2)
    assert row.duration >= 0
