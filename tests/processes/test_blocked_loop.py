"""A coroutine that keeps the event loop from turning: its neighbours go on elsewhere."""

import json

import pytest

from plugspace_queue.broker import keys
from tests.processes.gates import SETTINGS, Gates, task_of
from tests.support import patient, wait_until
from tests.worker.conftest import fresh

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timeout(120), pytest.mark.slow]


@pytest.fixture
def gates(tmp_path):
    return Gates(tmp_path / "gates")


@pytest.fixture
def worker(rqworker, gates):
    """Start a worker of these queues whose processors look at the gates."""

    def start(*queues, **environment):
        return rqworker(*queues, settings=SETTINGS, TEST_GATES=str(gates.directory), **environment)

    return start


def outcomes(task):
    return list(task.attempts.order_by("fence").values_list("outcome", flat=True))


def counts(row):
    return row.attempt_count, row.retry_count, row.recovery_count


@pytest.mark.parametrize("step", ["block", "block_in_a_helper"])
def test_neighbours_of_a_blocked_loop_end_elsewhere_while_it_is_blocked(
    worker, gates, redis, until_running, until_final, nothing_is_left, step
):
    process = worker("design", "architect")
    long = until_running(task_of("ARCHITECT", "wait", "long"))
    polite, deaf = (
        task_of("DESIGN", step, "neighbour") for step in ("await_gate", "ignore_cancel")
    )
    wait_until(lambda: gates.seen("neighbour").count("begun 1") == 2, 20)
    blocker = task_of("DESIGN", step, "blocker")
    gates.until_seen("blocker", "begun 1")
    late = task_of("DESIGN", "await_gate", "neighbour")

    gates.open("neighbour")
    rows = [until_final(task, 20) for task in (polite, deaf, late)]

    # Nothing is burned, and the loop is blocked by the same attempt as before.
    assert [row.state for row in rows] == ["complete"] * 3
    assert [(row.retry_count, row.recovery_count) for row in rows] == [(0, 0)] * 3
    assert [row.result for row in rows[:2]] == [{"attempt": 2, "pid": process.pid}] * 2
    assert (fresh(blocker).state, counts(fresh(blocker))) == ("processing", (1, 0, 0))

    gates.open("blocker")
    # When the loop turns again, what its neighbours say late is refused.
    assert until_final(blocker).result == {"attempt": 1, "pid": process.pid}
    gates.until_seen("neighbour", "done 1")
    assert [fresh(task).result for task in (polite, deaf)] == [row.result for row in rows[:2]]
    assert [outcomes(task) for task in (polite, deaf)] == [["handed_back", "complete"]] * 2
    assert outcomes(blocker) == ["complete"]
    assert {task.pk: completions(redis, task) for task in (polite, deaf, late, blocker)} == {
        task.pk: 1 for task in (polite, deaf, late, blocker)
    }

    # A thread of the same worker never noticed.
    assert counts(fresh(long)) == (1, 0, 0)
    gates.open("long")
    assert until_final(long).result == {"attempt": 1, "pid": process.pid}
    assert process.poll() is None


def completions(redis, task):
    told = [json.loads(fields[b"event"]) for _, fields in redis.xrange(keys.events())]
    return len([one for one in told if one["name"] == "taskCompleted" and str(task.pk) in str(one)])


def test_each_slot_but_the_blockers_is_free_again_while_the_loop_is_blocked(
    worker, gates, until_final, nothing_is_left
):
    worker("design")
    neighbours = [task_of("DESIGN", "await_gate", "neighbour") for _ in range(3)]
    wait_until(lambda: gates.seen("neighbour").count("begun 1") == 3, 20)
    blocker = task_of("DESIGN", "block", "blocker")
    gates.until_seen("blocker", "begun 1")

    wait_until(lambda: gates.seen("neighbour").count("begun 2") == 3, 20)
    fifth = task_of("DESIGN", "await_gate", "neighbour")
    # Four slots: the blocker's, and three that are taken once more.
    wait_until(lambda: [outcomes(task) for task in neighbours] == [["handed_back"]] * 3)
    assert fresh(fifth).state == "waiting"

    gates.open("neighbour")
    assert [until_final(task).state for task in (*neighbours, fifth)] == ["complete"] * 4
    gates.open("blocker")
    assert until_final(blocker).attempt_count == 1


def test_a_coroutine_that_blocks_the_loop_ends_at_its_timeout_and_the_worker_goes_on(
    worker, gates, until_final, nothing_is_left
):
    process = worker("code", "design")
    neighbour = task_of("DESIGN", "await_gate", "neighbour")
    gates.until_seen("neighbour", "begun 1")
    blocker = task_of("CODE", "block", "never")

    row = until_final(blocker, 20)

    assert (row.error["code"], counts(row), outcomes(row)) == ("TIMEOUT", (1, 0, 0), ["failed"])
    gates.open("neighbour")
    assert until_final(neighbour).state == "complete"
    # Both slots of its queue.
    again = [task_of("CODE", "await_gate", "both") for _ in range(2)]
    wait_until(lambda: gates.seen("both").count("begun 1") == 2, 20)
    gates.open("both")
    assert {until_final(task).result["pid"] for task in again} == {process.pid}


def test_what_blocks_the_loop_for_good_costs_its_slot_and_the_last_slot_ends_the_worker(
    worker, gates, until_running, until_final
):
    process = worker("code", "design", "architect")
    long = until_running(task_of("ARCHITECT", "wait", "long"))
    first = until_final(task_of("CODE", "block_in_c", "c"), 20)
    neighbour = task_of("DESIGN", "await_gate", "neighbour")
    gates.until_seen("neighbour", "begun 1")
    gates.open("neighbour")
    assert until_final(neighbour).result == {"attempt": 1, "pid": process.pid}

    gates.open("other")
    assert until_final(task_of("CODE", "await_gate", "other")).result["pid"] == process.pid
    second = until_final(task_of("CODE", "block_in_c", "c"), 20)

    assert [row.error["code"] for row in (first, second)] == ["TIMEOUT"] * 2
    assert process.wait(timeout=patient(30)) not in (0, None)
    wait_until(lambda: fresh(long).state == "waiting")
    assert (counts(fresh(long)), outcomes(long)) == ((1, 0, 0), ["handed_back"])


def test_when_nobody_knows_what_blocks_the_loop_its_attempts_run_again_each_alone(
    worker, gates, until_final
):
    process = worker("design")
    neighbour = task_of("DESIGN", "await_gate", "neighbour")
    gates.until_seen("neighbour", "begun 1")
    culprit = task_of("DESIGN", "block_in_a_callback", "culprit")
    gates.until_seen("culprit", "blocks")

    gates.open("neighbour")
    gates.open("culprit")
    rows = [until_final(task, 30) for task in (neighbour, culprit)]

    assert [(row.state, counts(row)) for row in rows] == [("complete", (2, 0, 1))] * 2
    assert process.pid not in {row.result["pid"] for row in rows}
    assert process.poll() is None


def test_a_loop_that_is_busy_and_turns_now_and_then_keeps_its_attempts(
    worker, gates, until_final, nothing_is_left
):
    worker("design", TEST_LEASE="3")
    neighbour = task_of("DESIGN", "await_gate", "neighbour")
    gates.until_seen("neighbour", "begun 1")
    busy = until_final(task_of("DESIGN", "work_in_steps", "busy"), 30)

    gates.open("neighbour")
    rows = [until_final(neighbour), busy]

    assert [(row.state, counts(row)) for row in rows] == [("complete", (1, 0, 0))] * 2
