"""Isolated attempts: where their processes come from, what loading costs them, how it fails."""

import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from plugspace_queue import queue_manager
from tests.processes.alone.processors import SLOW
from tests.support import patient, wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [
    pytest.mark.usefixtures("acme", "nothing_is_left"),
    pytest.mark.timeout(120),
    pytest.mark.slow,
]


@pytest.fixture
def worker(rqworker, tmp_path):
    """Start a worker whose isolated processor tells where it was loaded."""

    def start(loading="", **options):
        settings = "tests.processes.alone_settings"
        return rqworker("analyze", "code", settings=settings, TEST_LOADING=loading, **options)

    return start


@pytest.fixture
def log(tmp_path):
    """What the first worker has logged so far."""
    return lambda: (tmp_path / "worker-0.log").read_text(errors="replace")


def analyze(step="tell", scheme="https", **arguments):
    return submit("ANALYZE", input={"url": f"{scheme}://example.com/{step}"}, **arguments)


def is_loaded_before(row):
    """Whether the child found its code loaded by the process that it was forked from."""
    assert row.state == "complete", row.error
    assert row.result["loaded_in"] in (row.result["parent"], row.result["pid"])
    return row.result["loaded_in"] == row.result["parent"]


def test_children_find_their_code_loaded_wherever_the_worker_was_started(
    worker, until_final, tmp_path, log
):
    process = worker(cwd=tmp_path)

    rows = [until_final(task, 30) for task in [analyze(), analyze()]]

    assert [is_loaded_before(row) for row in rows] == [True, True]
    assert process.pid not in (rows[0].result["parent"], rows[0].result["pid"])
    assert "WARNING" not in log()


def test_the_forkserver_is_there_before_any_thread_of_the_worker(worker, redis):
    process = worker()

    (forkserver,) = [pid for pid in children_of(process.pid) if "forkserver" in command_of(pid)]
    threads = set(os.listdir(f"/proc/{process.pid}/task")) - {str(process.pid)}
    begun = [started(f"/proc/{process.pid}/task/{thread}") for thread in threads]
    assert threads
    assert started(f"/proc/{forkserver}") <= min(begun)
    assert os.listdir(f"/proc/{forkserver}/task") == [str(forkserver)]


def test_connections_opened_while_the_code_was_loaded_are_no_childs(worker, until_final):
    worker("query")

    row = until_final(analyze(), 30)

    assert is_loaded_before(row)
    assert row.result["connected"] is False


def test_a_forkserver_that_was_killed_is_replaced_and_loads_the_code_again(worker, until_final):
    worker()
    first = until_final(analyze(), 30)
    os.kill(first.result["parent"], signal.SIGKILL)

    row = until_final(analyze(), 60)

    assert is_loaded_before(row)
    assert row.result["parent"] != first.result["parent"]
    assert row.recovery_count == 0


def test_a_worker_without_room_for_temporary_files_does_all_that_needs_none(
    rqworker, until_final, log
):
    process = rqworker("architect", "analyze", settings="tests.processes.no_room_settings")

    assert until_final(submit(input={"prompt": "sleep 0"}), 30).state == "complete"
    assert process.poll() is None
    assert "isolated attempts cannot start" in log()


def test_a_worker_without_room_for_temporary_files_leaves_isolated_tasks_to_others(
    rqworker, worker, until_final, log
):
    rqworker("analyze", settings="tests.processes.no_room_settings")
    task = analyze()
    wait_until(lambda: "rests for 1 s" in log(), 30, "not tried again")
    row = fresh(task)
    assert (row.is_final, row.retry_count, row.recovery_count) == (False, 0, 0)

    worker()

    row = until_final(task, 60)
    assert is_loaded_before(row)
    assert (row.retry_count, row.recovery_count) == (0, 0)


@pytest.mark.timeout(240)
def test_a_forkserver_that_finds_no_code_to_load_is_waited_for_once(
    worker, until_final, tmp_path, log
):
    # With -E it takes no path from the environment.
    worker(cwd=tmp_path, flags=["-E"])
    wait_until(lambda: "does not report" in log(), 90, "no warning")

    rows = [until_final(analyze(), 40) for _ in range(2)]

    assert [is_loaded_before(row) for row in rows] == [False, False]
    assert log().count("does not report") == 1


@pytest.mark.parametrize(
    ("loading", "reason"), [("error", "no module named as asked"), ("thread", "2 threads")]
)
def test_where_code_cannot_be_loaded_once_for_all_the_worker_says_so_and_children_load_it(
    worker, until_final, log, loading, reason
):
    process = worker(loading)
    wait_until(lambda: "without code loaded" in log(), 30, "no warning")
    assert reason in log()

    row = until_final(analyze(), 30)

    assert not is_loaded_before(row)
    assert row.attempt_count == 1
    # Nor does a stop that reaches all processes of the group let a child seem dead.
    held = submit("CODE")
    wait_until(lambda: fresh(held).progress, 30)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=patient(30)) == 0
    row = fresh(held)
    assert (row.state, row.retry_count, row.recovery_count) == ("waiting", 0, 0)
    queue_manager.cancel(held.pk)


def test_the_start_of_a_child_counts_neither_as_its_time_nor_as_its_duration(worker, until_final):
    # Each child needs longer to load its code than an attempt may take.
    worker("error slow-child")

    row = until_final(analyze(), 60)

    assert not is_loaded_before(row)
    assert (row.attempt_count, row.retry_count) == (1, 0)
    assert row.duration < SLOW * 1000


def test_a_child_that_is_not_there_yet_when_its_task_is_cancelled_costs_no_slot(
    worker, until_final, log
):
    # The forkserver has 60 s to load, however patient the tests are; this makes it at most 36.
    process = worker("slow", PSQ_PATIENCE=str(min(2 * patient(1), 12)))
    tasks = [analyze(), analyze()]
    wait_until(lambda: {fresh(task).state for task in tasks} == {"processing"}, 10)

    for task in tasks:
        queue_manager.cancel(task.pk)

    assert {until_final(task).state for task in tasks} == {"cancelled"}
    # With every slot retired the worker would end itself.
    row = until_final(analyze(), 60)
    assert is_loaded_before(row)
    assert process.poll() is None, log()


def test_a_child_whose_clock_goes_back_runs_again_at_once_and_took_no_less_than_nothing(
    worker, until_final
):
    worker()

    row = until_final(analyze("lose_the_time", max_retries=1), 60)

    assert (row.state, row.retry_count, row.attempt_count) == ("failed", 1, 2)
    assert 0 <= row.duration <= patient(60) * 1000


def test_a_child_whose_clock_leaps_ahead_waits_no_longer_than_a_backoff_can_be(worker):
    worker()
    task = analyze("lose_the_time", scheme="http")

    wait_until(lambda: fresh(task).retry_count == 1, 30)

    row = fresh(task)
    attempt = row.attempts.get()
    assert attempt.started_at < row.wake_at <= attempt.ended_at + timedelta(seconds=900)
    assert 0 <= row.duration <= patient(60) * 1000
    queue_manager.cancel(task.pk)


def children_of(pid):
    return [
        int(child)
        for thread in os.listdir(f"/proc/{pid}/task")
        for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
    ]


def command_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_text()


def started(place):
    """When a process or thread was started, in the kernel's ticks."""
    return int(Path(f"{place}/stat").read_text().rpartition(")")[2].split()[19])
