"""Processors that do what no processor should, in real workers: each has an outcome with a name."""

import os
import signal
import time

import pytest

from plugspace_queue.models import Attempt, Organization, Task
from tests.support import patient, wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timeout(120), pytest.mark.slow]

SETTINGS = "tests.processes.hostile_settings"


@pytest.fixture
def worker(rqworker):
    """Start a worker whose processors misbehave."""

    def start(*names, **environment):
        return rqworker(*names, settings=SETTINGS, **environment)

    return start


def thread(step, **arguments):
    return submit(input={"prompt": step}, max_retries=0, **arguments)


def short(step):
    """In a thread, for a second at most."""
    return submit("DEPLOY", input={"name": step.replace("_", "-")}, max_retries=0)


def alone(step):
    return submit("ANALYZE", input={"url": f"https://example.com/{step}"}, max_retries=0)


def on_loop(step, max_retries=0):
    return submit("DESIGN", input={"context": {"mood": step}}, max_retries=max_retries)


def said(row):
    return row.state, (row.error or {}).get("code")


TIMEOUT = ("failed", "TIMEOUT")

IN_THREADS = {
    "print_much": ("complete", None),
    "raise_abruptly": ("failed", "INTERNAL_ERROR"),
    "call_exit": ("failed", "INTERNAL_ERROR"),
    "recurse": ("failed", "INTERNAL_ERROR"),
    "return_much": ("failed", "INVALID_RESULT"),
    "return_generator": ("failed", "INVALID_RESULT"),
    "return_endless": ("failed", "INVALID_RESULT"),
    "fork_and_return": ("complete", None),
    "leak_threads": ("complete", None),
    "close_database": ("complete", None),
    "leave_atomic": ("failed", "INTERNAL_ERROR"),
    "turn_autocommit_off": ("failed", "INTERNAL_ERROR"),
    "change_signals": ("failed", "INTERNAL_ERROR"),
}


def test_each_misdeed_in_a_thread_has_its_outcome_and_the_worker_goes_on(
    worker, until_final, nothing_is_left
):
    process = worker("architect", "code")

    seen = {step: said(until_final(thread(step), 30)) for step in IN_THREADS}

    assert seen == IN_THREADS
    # In the threads where all of that has been; a lock that is left would hold the row.
    Organization.objects.filter(pk="acme").update(name="after")
    rows = [until_final(task) for task in [thread("ok") for _ in range(4)]]
    assert {row.result["pid"] for row in rows} == {process.pid}
    assert Organization.objects.get(pk="acme").name == "after"
    assert not children_of(process.pid, named="rqworker")
    # Neither handlers that were changed nor threads left behind keep the process.
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=patient(20)) == 0


def test_tasks_that_end_their_worker_run_alone_and_their_neighbours_keep_their_outcome(
    worker, until_final, nothing_is_left
):
    hostile, neighbours = [], []
    for step, code in (("exit_process", 7), ("kill_group", -signal.SIGKILL)):
        process = worker("architect")
        neighbours.append(thread("take_a_second"))
        wait_until(lambda: fresh(neighbours[-1]).state == "processing", 20)
        hostile.append(thread(step))
        assert process.wait(timeout=patient(20)) == code
    last = worker("architect")

    rows = [until_final(task, 60) for task in hostile]

    assert [(said(row), row.attempt_count) for row in rows] == [(("failed", "WORKER_LOST"), 3)] * 2
    assert [said(until_final(task, 30)) for task in neighbours] == [("complete", None)] * 2
    assert until_final(thread("ok")).result["pid"] == last.pid


ALONE = {
    "raise_abruptly": ("failed", "INTERNAL_ERROR"),
    "call_exit": ("failed", "INTERNAL_ERROR"),
    "exit_process": ("failed", "WORKER_LOST"),
    "kill_group": ("failed", "WORKER_LOST"),
    "return_much": ("failed", "INVALID_RESULT"),
    "return_generator": ("failed", "INVALID_RESULT"),
    "fork_and_return": ("complete", None),
    "fork_and_die": ("failed", "WORKER_LOST"),
    "leak_threads": ("complete", None),
    "leave_atomic": ("failed", "INTERNAL_ERROR"),
    "turn_autocommit_off": ("failed", "INTERNAL_ERROR"),
    "change_signals": ("complete", None),
    "exhaust_memory": ("failed", "INTERNAL_ERROR"),
    "leave_child": ("complete", None),
}


def test_each_misdeed_in_a_process_of_its_own_has_its_outcome(worker, until_final, nothing_is_left):
    process = worker("architect", "analyze")

    deleted = [kind("delete_own_row").pk for kind in (thread, alone)]
    tasks = {step: alone(step) for step in ALONE}
    seen = {step: said(until_final(task, 60)) for step, task in tasks.items()}

    assert seen == ALONE
    assert until_final(alone("ok")).result["pid"] != process.pid
    # A task that deletes its own row leaves nothing of itself.
    wait_until(lambda: not Task.objects.filter(pk__in=deleted).exists(), 10)
    assert not Attempt.objects.filter(task_id__in=deleted).exists()
    # What an attempt has started ends with it.
    left = fresh(tasks["leave_child"]).result["child"]
    wait_until(lambda: not is_running(left), 5)


def test_what_does_not_end_times_out_and_only_what_nothing_stops_keeps_its_slot(
    worker, until_final
):
    process = worker("deploy", "design")
    tasks = [short("raise_endless"), short("raise_endless_key"), on_loop("raise_endless_async")]
    assert [said(until_final(task, 20)) for task in tasks] == [TIMEOUT] * 3
    # As many as there are slots, at the same time.
    rows = [until_final(task) for task in [short("take_a_while") for _ in range(3)]]
    assert [row.state for row in rows] == ["complete"] * 3
    assert until_final(on_loop("be_patient")).state == "complete"

    stuck = [short(step) for step in ("hang_in_c", "ignore_everything")]
    assert [said(until_final(task, 20)) for task in stuck] == [TIMEOUT] * 2
    # The third slot.
    assert until_final(short("ok")).state == "complete"
    assert process.poll() is None

    # All of them end the worker.
    assert said(until_final(short("raise_stubborn"), 20)) == TIMEOUT
    assert process.wait(timeout=patient(20)) not in (0, None)


ON_LOOP = {
    "exit_in_a_task": ("failed", "INTERNAL_ERROR"),
    "stop_the_loop": ("complete", None),
    "cancel_all": ("complete", None),
    "return_coroutine": ("failed", "INVALID_RESULT"),
    "fork_and_return_async": ("complete", None),
    "ignore_cancel": TIMEOUT,
}


def test_what_one_coroutine_does_to_the_loop_costs_no_neighbour_its_outcome(
    worker, until_final, nothing_is_left
):
    process = worker("design")

    for step, outcome in ON_LOOP.items():
        neighbour = on_loop("be_patient", max_retries=3)
        wait_until(lambda task=neighbour: fresh(task).state == "processing", 20)
        assert said(until_final(on_loop(step), 20)) == outcome, step
        assert said(until_final(neighbour, 20)) == ("complete", None), step

    assert process.poll() is None
    assert not children_of(process.pid, named="rqworker")


def test_python_code_that_blocks_the_loop_times_out_and_its_neighbours_lose_no_time(
    worker, until_final
):
    # Its leases are longer than what the blocker takes.
    process = worker("design", TEST_LEASE="60")
    blocker = on_loop("block_in_python")
    wait_until(lambda: fresh(blocker).state == "processing", 20)
    neighbours = [on_loop("be_patient")]
    wait_until(lambda: fresh(neighbours[0]).state == "processing", 20)
    started = time.monotonic()
    # Whose time runs out before, while and after the blocker is stopped.
    for seconds in (0.5, 1):
        wait_until(lambda at=started + seconds: time.monotonic() > at, 5)
        neighbours.append(on_loop("be_patient"))

    assert said(until_final(blocker, 20)) == ("failed", "TIMEOUT")

    # In the same attempt: the time that it took is none of theirs.
    rows = [until_final(task, 20) for task in neighbours]
    assert [(row.state, row.error, row.attempt_count) for row in rows] == [
        ("complete", None, 1)
    ] * 3
    assert process.poll() is None


def test_a_loop_that_is_blocked_for_good_costs_one_slot_and_its_neighbours_go_on_elsewhere(
    worker, until_final
):
    process = worker("design")
    blocker = on_loop("block_in_c")
    wait_until(lambda: fresh(blocker).state == "processing", 20)
    neighbours = [on_loop("be_patient") for _ in range(4)]

    assert said(until_final(blocker, 20)) == TIMEOUT
    rows = [until_final(task, 30) for task in neighbours]

    assert [(row.state, row.retry_count, row.recovery_count) for row in rows] == [
        ("complete", 0, 0)
    ] * 4
    assert process.poll() is None


def children_of(pid, *, named):
    """Processes of that parent whose command line has the word."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and _parent(entry) == pid and named in _command(entry):
            found.append(int(entry))
    return found


def _parent(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _command(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as text:
            return text.read()
    except OSError:
        return ""


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
