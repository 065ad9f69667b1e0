"""A worker that is told to stop, or has nothing it may do: it hears, hands back and waits."""

import asyncio
import contextlib
import signal
import threading
import time
from datetime import timedelta
from operator import attrgetter

import pytest
from django.test import override_settings
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.models import Attempt
from plugspace_queue.processing import registry
from plugspace_queue.worker import completer
from tests.support import patient, wait_until
from tests.worker.conftest import fresh, make_crew, submit

pytestmark = pytest.mark.usefixtures("acme")


@pytest.mark.timeout(20)
def test_a_signal_that_comes_while_the_table_is_locked_stops_the_worker(processors):
    processors("ARCHITECT", lambda context: {})
    made = make_crew("architect")
    before = signal.signal(signal.SIGTERM, lambda *_: made.stop())

    try:
        # A signal finds the main thread anywhere.
        with made.table._lock:
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert made.work() == 0


@override_settings(PLUGSPACE_QUEUE={"SHUTDOWN_GRACE": 0.3})
def test_what_is_handed_back_does_not_run_on_beside_its_next_attempt(
    processors, crew, until_running, until_final
):
    lock, running, most = threading.Lock(), [0], [0]

    def architect(context):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        try:
            while context.attempt == 1:
                threading.Event().wait(0.01)
        finally:
            with lock:
                running[0] -= 1
        return context.attempt

    processors("ARCHITECT", architect)
    one = crew("architect", worker_name="w1")
    task = submit()
    until_running(task)
    crew("architect", worker_name="w2")

    one.stop()

    assert until_final(task).result == 2
    assert most == [1]
    outcomes = Attempt.objects.filter(task=task).order_by("fence").values_list("outcome", flat=True)
    assert list(outcomes) == ["handed_back", "complete"]


@override_settings(PLUGSPACE_QUEUE={"SHUTDOWN_GRACE": 30.0, "HARD_STOP": 0.3})
@pytest.mark.parametrize(
    ("timeout", "state", "code"), [(60, "cancelled", "CANCELLED"), (1.5, "failed", "TIMEOUT")]
)
@pytest.mark.slow
def test_cancel_and_timeout_are_heard_during_the_grace_time(
    processors, crew, until_running, until_final, timeout, state, code
):
    contexts = []

    def architect(context):
        contexts.append(context)
        while True:
            threading.Event().wait(0.01)

    processors("ARCHITECT", architect, timeout=timeout)
    made = crew("architect")
    task = submit(max_retries=0)
    wait_until(lambda: contexts)
    made.stop()
    wait_until(lambda: contexts[0].should_stop)

    if state == "cancelled":
        queue_manager.cancel(task.pk)

    row = until_final(task)
    assert (row.state, row.error["code"]) == (state, code)


def test_a_stop_command_that_comes_while_the_attempt_is_being_started_is_heard(
    processors, crew, until_running, until_final, monkeypatch
):
    ran, goes_on = [], threading.Event()
    processors("ARCHITECT", lambda context: ran.append(context.task_id))
    made = crew("architect")
    timeout_of = completer.timeout_of
    # Asked when the row is `processing` and the attempt has no execution yet.
    monkeypatch.setattr(
        completer, "timeout_of", lambda kind: goes_on.wait(patient(20)) and timeout_of(kind)
    )
    task = until_running(submit())
    assert made.table.get(str(task.pk)).execution is None

    assert made.stop_task(str(task.pk))
    goes_on.set()

    row = until_final(task)
    assert (row.state, row.error["code"], ran) == ("cancelled", "CANCELLED", [])


def test_a_worker_without_any_processor_warns_and_waits(processors, caplog):
    registry.unregister("DEPLOY")
    task = submit("DEPLOY")

    assert make_crew("deploy", max_idle_time=0.5).work() == 0

    assert fresh(task).state == "waiting"
    assert "no processor for deploy" in caplog.text


@pytest.mark.slow
def test_a_suspended_worker_rests_though_something_is_due(processors, crew):
    processors("ARCHITECT", lambda context: {})
    made = crew("architect")
    queue = made.fetcher.queues["architect"]
    turns, turn = [], made.loop.turn

    def counted(messages):
        turns.append(time.monotonic())
        turn(messages)

    task = submit(run_at=timezone.now() + timedelta(seconds=0.6))
    wait_until(lambda: queue.ask_at)
    made._is_suspended = lambda: True
    wait_until(lambda: time.monotonic() > queue.ask_at)
    made.loop.turn = counted

    wait_until(lambda: len(turns) >= 3, 10)
    assert turns[2] - turns[0] > 0.5
    assert fresh(task).attempt_count == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "thread"),
    [
        ("notifiers", "notifier-architect"),
        ("control", "control"),
        ("maintenance", "maintenance"),
        ("completer.follow_up", "follow-up"),
    ],
)
@pytest.mark.timeout(40)
def test_a_worker_without_one_of_its_threads_ends_for_another_to_start(processors, name, thread):
    made = make_crew("architect", max_idle_time=15)
    processors("ARCHITECT", lambda context: attrgetter(name)(made).stop())
    submit()

    with pytest.raises(RuntimeError, match=f"plugspace-{thread} died"):
        made.work()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_a_processor_returns_after_a_cancel_is_no_result(processors, crew, until_final, kind):
    begun = threading.Event()

    def stubborn(context):
        begun.set()
        wait_until(lambda: context.should_stop, 20)
        return {"late": True}

    async def stubborn_coroutine(context):
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return {"late": True}

    processors("ARCHITECT", stubborn if kind == "sync" else stubborn_coroutine)
    crew("architect")
    task = submit()
    wait_until(begun.is_set)

    queue_manager.cancel(task.pk)

    row = until_final(task)
    assert (row.state, row.result, row.error["code"]) == ("cancelled", None, "CANCELLED")
