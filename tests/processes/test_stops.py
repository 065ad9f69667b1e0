"""What a processor is told when its worker ends, its time is over or somebody cancels it.

Order alone is judged: what it sees first, what it may still do, how that counts.
"""

import signal

import pytest

from plugspace_queue import queue_manager
from tests.processes.gates import SETTINGS, Gates, task_of
from tests.support import patient, wait_until
from tests.worker.conftest import fresh

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timeout(120), pytest.mark.slow]

QUEUES = {"ARCHITECT": "look", "ANALYZE": "look", "DESIGN": "look_async", "EXPORT": "look_async"}
"""A thread, a process of its own, the event loop, a process of its own with an event loop."""

STOPPED = {
    "ARCHITECT": "WorkerStopping",
    "ANALYZE": "WorkerStopping",
    "DESIGN": "cancelled",
    "EXPORT": "cancelled",
}
GOES_ON = {
    "ARCHITECT": "goes_on",
    "ANALYZE": "goes_on",
    "DESIGN": "should_stop",
    "EXPORT": "should_stop",
}
AWAITED = ("DESIGN", "EXPORT")
LONG = "60"


@pytest.fixture
def gates(tmp_path):
    return Gates(tmp_path / "gates")


@pytest.fixture
def worker(rqworker, gates):
    """Start a worker of the queue, which has so many seconds to end and to stop what runs."""

    def start(kind, *, grace=LONG, hard_stop=LONG):
        return rqworker(
            kind.lower(),
            settings=SETTINGS,
            TEST_GATES=str(gates.directory),
            TEST_GRACE=grace,
            TEST_HARD_STOP=hard_stop,
        )

    return start


def outcomes(task):
    return list(task.attempts.order_by("fence").values_list("outcome", flat=True))


def said(row):
    return row.state, (row.error or {}).get("code")


@pytest.mark.parametrize("kind", QUEUES)
def test_a_task_that_is_told_of_the_workers_end_may_use_the_grace_time(worker, gates, kind):
    process = worker(kind, hard_stop="1")
    task = task_of(kind, QUEUES[kind], "gate")
    gates.until_seen("gate", "begun")

    process.send_signal(signal.SIGTERM)
    gates.until_seen("gate", GOES_ON[kind])
    gates.open("gate")

    assert process.wait(timeout=patient(30)) == 0
    assert (fresh(task).state, outcomes(task)) == ("complete", ["complete"])
    assert gates.seen("gate")[-1] == GOES_ON[kind]


@pytest.mark.parametrize("kind", QUEUES)
def test_what_needs_longer_is_stopped_in_the_last_seconds_of_the_grace_time(worker, gates, kind):
    process = worker(kind, grace="8", hard_stop="6")
    task = task_of(kind, QUEUES[kind], "gate")
    gates.until_seen("gate", "begun")

    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=patient(30)) == 0
    assert (fresh(task).state, outcomes(task)) == ("waiting", ["handed_back"])
    # Told, going on, and then stopped by what it looks at.
    assert gates.seen("gate")[-2:] == [GOES_ON[kind], STOPPED[kind]]


def test_a_coroutine_is_cancelled_in_the_last_seconds_of_the_grace_time_and_at_its_end(
    worker, gates
):
    process = worker("DESIGN", grace="8", hard_stop="6")
    task = task_of("DESIGN", "ignore_cancel", "gate")
    gates.until_seen("gate", "begun 1")

    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=patient(30)) == 0
    assert outcomes(task) == ["handed_back"]
    assert gates.seen("gate")[:3] == ["begun 1", "cancelled", "cancelled"]


@pytest.mark.parametrize("kind", ["ARCHITECT", "ANALYZE"])
def test_in_a_grace_time_that_is_shorter_than_the_hard_stop_it_is_stopped_at_once(
    worker, gates, kind
):
    process = worker(kind, grace="20", hard_stop="60")
    task = task_of(kind, "look", "gate")
    gates.until_seen("gate", "begun")

    process.send_signal(signal.SIGTERM)
    gates.until_seen("gate", "WorkerStopping")

    assert process.wait(timeout=patient(30)) == 0
    assert outcomes(task) == ["handed_back"]
    assert gates.seen("gate") == ["begun", "should_stop", "WorkerStopping"]


@pytest.mark.parametrize("kind", QUEUES)
def test_a_second_signal_stops_what_uses_the_grace_time(worker, gates, kind):
    process = worker(kind, hard_stop="1")
    task = task_of(kind, QUEUES[kind], "gate")
    gates.until_seen("gate", "begun")
    process.send_signal(signal.SIGTERM)
    gates.until_seen("gate", "should_stop")

    def handed_back_at_another_signal():
        process.send_signal(signal.SIGTERM)
        return outcomes(task)

    wait_until(handed_back_at_another_signal, 30)
    process.wait(timeout=patient(30))
    assert (fresh(task).state, outcomes(task)) == ("waiting", ["handed_back"])


@pytest.mark.parametrize("kind", QUEUES)
def test_a_cancel_stops_at_once_though_the_worker_ends_and_has_time(
    worker, gates, until_final, kind
):
    process = worker(kind, grace="120", hard_stop="60")
    task = task_of(kind, QUEUES[kind], "gate")
    gates.until_seen("gate", "begun")
    process.send_signal(signal.SIGTERM)

    queue_manager.cancel(task.pk)

    assert said(until_final(task, 30)) == ("cancelled", "CANCELLED")
    stopped = {"WorkerStopping": "TaskCancelled"}.get(STOPPED[kind], STOPPED[kind])
    assert gates.seen("gate")[-1] == stopped
    assert process.wait(timeout=patient(30)) == 0


@pytest.mark.parametrize("kind", AWAITED)
def test_a_coroutine_is_cancelled_at_once_when_its_task_is_and_its_value_comes_too_late(
    worker, gates, until_final, kind
):
    worker(kind)
    task = task_of(kind, "return_when_cancelled", "gate")
    gates.until_seen("gate", "begun")

    queue_manager.cancel(task.pk)

    # The hard stop is a minute away.
    assert said(until_final(task, 30)) == ("cancelled", "CANCELLED")
    assert (fresh(task).result, outcomes(task)) == (None, ["cancelled"])
    assert gates.seen("gate") == ["begun", "should_stop", "cancelled"]


@pytest.mark.parametrize("kind", ["ARCHITECT", "ANALYZE"])
def test_a_value_that_a_function_returns_after_a_cancel_comes_too_late(
    worker, gates, until_final, kind
):
    worker(kind)
    task = task_of(kind, "return_when_asked", "gate")
    gates.until_seen("gate", "begun")

    queue_manager.cancel(task.pk)

    assert said(until_final(task, 30)) == ("cancelled", "CANCELLED")
    assert (fresh(task).result, outcomes(task)) == (None, ["cancelled"])


def test_a_value_that_a_coroutine_returns_after_its_timeout_counts(worker, gates, until_final):
    worker("CODE")
    task = task_of("CODE", "return_when_cancelled", "gate")

    # Its timeout is 3 s, the hard stop a minute away.
    row = until_final(task, 30)

    assert (said(row), outcomes(task)) == (("complete", None), ["complete"])
    assert row.result["attempt"] == 1
    assert gates.seen("gate") == ["begun", "should_stop", "cancelled"]


def test_a_coroutine_is_cancelled_twice_and_what_runs_on_keeps_its_slot(
    worker, gates, until_final, nothing_is_left
):
    process = worker("CODE", hard_stop="3")
    deaf = task_of("CODE", "ignore_cancel", "deaf")

    assert said(until_final(deaf, 30)) == ("failed", "TIMEOUT")
    assert gates.seen("deaf") == ["begun 1", "cancelled", "cancelled"]
    # One slot of two is left until the call returns.
    second, third = (task_of("CODE", "await_gate", name) for name in ("second", "third"))
    gates.until_seen("second", "begun 1")
    gates.open("second")
    assert until_final(second).state == "complete"
    gates.until_seen("third", "begun 1")
    fourth = task_of("CODE", "await_gate", "fourth")
    gates.open("deaf")
    gates.until_seen("fourth", "begun 1")
    for name in ("third", "fourth"):
        gates.open(name)

    assert [until_final(task).state for task in (third, fourth)] == ["complete"] * 2
    assert (said(fresh(deaf)), outcomes(deaf)) == (("failed", "TIMEOUT"), ["failed"])
    assert process.poll() is None
