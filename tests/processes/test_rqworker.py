"""`manage.py rqworker architect` as a user runs it, and as the world ends it."""

import os
import signal
import time

import pytest

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.models import Attempt
from tests.processes.conftest import is_registered
from tests.support import patient, wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [pytest.mark.usefixtures("acme", "nothing_is_left"), pytest.mark.timeout(120)]

LEASE = 3.0
"""As tests/processes/settings.py has it."""


def prompt(text, **arguments):
    return submit(input={"prompt": text}, **arguments)


@pytest.mark.slow
def test_a_burst_works_off_what_waits_and_ends(rqworker):
    tasks = [prompt("sleep 0.05") for _ in range(12)]

    worker = rqworker("architect", "--burst", wait=False)

    assert worker.wait(timeout=patient(30)) == 0
    assert {fresh(task).state for task in tasks} == {"complete"}


@pytest.mark.slow
def test_max_jobs_ends_the_worker_with_exactly_so_many_done(rqworker):
    tasks = [prompt("sleep 0") for _ in range(12)]

    worker = rqworker("architect", "--max-jobs", "7", wait=False)

    assert worker.wait(timeout=patient(30)) == 0
    assert [fresh(task).state for task in tasks].count("complete") == 7
    for task in tasks:
        if fresh(task).state == "waiting":
            queue_manager.cancel(task.pk)


@pytest.mark.slow
def test_a_worker_that_may_take_no_more_rests_while_its_last_task_runs(rqworker, until_running):
    last, left = prompt("sleep 5"), prompt("sleep 0")
    worker = rqworker("architect", "--max-jobs", "1", wait=False)
    until_running(last)

    began, before = time.monotonic(), processor_seconds(worker.pid)
    wait_until(lambda: time.monotonic() > began + 3, 5)
    used = processor_seconds(worker.pid) - before

    assert fresh(last).state == "processing"
    # A loop that asks again and again takes all it can get of the three seconds.
    assert used < 0.6
    assert worker.wait(timeout=patient(20)) == 0
    assert (fresh(last).state, fresh(left).state) == ("complete", "waiting")
    queue_manager.cancel(left.pk)


def processor_seconds(pid):
    """Processor time that the process has used."""
    with open(f"/proc/{pid}/stat") as stat:
        words = stat.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_an_idle_worker_ends_after_its_idle_time(rqworker):
    worker = rqworker("architect", "--max-idle-time", "1", wait=False)

    assert worker.wait(timeout=patient(20)) == 0


@pytest.mark.slow
def test_one_worker_runs_several_of_our_queues(rqworker, until_final):
    one, two = prompt("sleep 0"), submit("DESIGN")
    three = submit("CODE")

    rqworker("architect", "design", "code")

    assert {until_final(task).state for task in (one, two, three)} == {"complete"}


@pytest.mark.slow
def test_the_redis_lines_of_the_seed_tell_the_truth(rqworker, redis, until_running, until_final):
    tasks = [prompt("hold") for _ in range(7)]
    assert redis.llen(keys.wait("architect")) == 7

    rqworker("architect")
    wait_until(lambda: redis.llen(keys.active("architect")) == 5, 10)
    assert redis.llen(keys.wait("architect")) == 2
    for task in tasks:
        queue_manager.cancel(task.pk)

    assert {until_final(task).state for task in tasks} == {"cancelled"}


@pytest.mark.slow
def test_tasks_of_a_killed_worker_run_elsewhere_within_two_leases(
    rqworker, until_running, until_final
):
    first = rqworker("architect")
    task = prompt("stall-once")
    until_running(task)
    rqworker("architect")
    os.killpg(first.pid, signal.SIGKILL)

    wait_until(lambda: fresh(task).attempt_count == 2, 2 * LEASE + 5)
    # It runs in a process of its own now, which takes its time to start on a busy machine.
    row = until_final(task, timeout=40)
    assert (row.state, row.recovery_count, row.retry_count) == ("complete", 1, 0)
    assert [a.outcome for a in Attempt.objects.filter(task=task)] == ["lost", "complete"]


@pytest.mark.slow
def test_a_task_that_kills_its_process_fails_alone_after_three_runs(rqworker, until_final):
    rqworker("architect")
    poison = prompt("kill")
    survivor = rqworker  # a supervisor would start the next one
    wait_until(lambda: fresh(poison).attempt_count == 1, 10)
    survivor("architect")

    row = until_final(poison, timeout=40)
    assert (row.state, row.error["code"], row.attempt_count) == ("failed", "WORKER_LOST", 3)
    wait_until(lambda: fresh(poison).refunded_at)


@pytest.mark.slow
def test_sigterm_lets_running_tasks_finish(rqworker):
    worker = rqworker("architect")
    task = prompt("sleep 1")
    # Not only granted: a task that no slot has begun yet is handed back instead.
    wait_until(lambda: fresh(task).progress, 10)

    worker.send_signal(signal.SIGTERM)

    assert worker.wait(timeout=patient(15)) == 0
    assert fresh(task).state == "complete"


@pytest.mark.slow
def test_a_worker_that_is_told_to_stop_while_it_registers_ends_well_and_signs_off(rqworker, redis):
    worker = rqworker(
        "architect", "--worker-class", "tests.processes.app.early.ToldAtBirth", wait=False
    )

    assert worker.wait(timeout=patient(20)) == 0
    assert redis.scard("rq:workers") == 0


@pytest.mark.slow
def test_sigterm_hands_back_what_does_not_finish_and_burns_nothing(rqworker, until_running, redis):
    worker = rqworker("architect")
    long, polite = prompt("sleep 60"), prompt("hold")
    until_running(long)
    until_running(polite)

    worker.send_signal(signal.SIGTERM)

    assert worker.wait(timeout=patient(15)) == 0
    for task in (fresh(long), fresh(polite)):
        assert (task.state, task.retry_count, task.recovery_count) == ("waiting", 0, 0)
    assert redis.llen(keys.wait("architect")) == 2
    for task in (long, polite):
        queue_manager.cancel(task.pk)


@pytest.mark.slow
@pytest.mark.postgres
def test_an_interrupted_query_does_not_spoil_the_next_run_of_its_thread(rqworker, until_final):
    # Written in Python the driver is interrupted while it waits; in C only between two calls.
    rqworker("architect", settings="tests.processes.lasting", PSYCOPG_IMPL="python")
    before = until_final(prompt("query 0"))
    cut = prompt("query 5")
    wait_until(lambda: fresh(cut).progress, 10)

    queue_manager.cancel(cut.pk)

    assert until_final(cut, timeout=20).state == "cancelled"
    after = until_final(prompt("query 0"), timeout=20)
    assert (after.error, after.attempt_count) == (None, 1)
    assert after.result == before.result


@pytest.mark.slow
def test_a_processor_in_a_process_of_its_own(rqworker, until_final):
    worker = rqworker("code")
    task = submit("CODE")

    row = until_final(task, timeout=30)
    assert row.state == "complete", row.error
    # A fresh interpreter's child: the worker, with all its threads, is never forked.
    assert worker.pid not in (row.result["pid"], row.result["parent"])
    assert (row.tokens_used, row.progress["percent"]) == (5, 10.0)
    assert row.attempts.get().log == ["in a child"]


@pytest.mark.slow
def test_queues_of_both_kinds_in_one_worker_are_refused(rqworker):
    worker = rqworker("architect", "default", "--burst", wait=False)

    assert worker.wait(timeout=patient(20)) != 0


@pytest.mark.slow
def test_a_stock_queue_of_the_project_keeps_working(rqworker, redis):
    import django_rq

    job = django_rq.get_queue("default").enqueue("operator.add", 2, 3)
    worker = rqworker("default", "--burst", wait=False)

    assert worker.wait(timeout=patient(30)) == 0
    assert job.return_value(refresh=True) == 5


@pytest.mark.slow
def test_a_task_runs_again_when_redis_lost_its_data_and_its_worker_died(
    rqworker, until_running, until_final, redis
):
    first = rqworker("architect")
    task = prompt("stall-once")
    until_running(task)
    os.killpg(first.pid, signal.SIGKILL)
    redis.flushall()
    rqworker("architect")

    row = until_final(task, timeout=40)
    assert (row.state, row.recovery_count) == ("complete", 1)


@pytest.mark.slow
def test_a_worker_says_each_second_that_it_lives_and_again_what_it_is(rqworker, acme, redis):
    process = rqworker("code")
    name = redis.smembers("rq:workers").pop()

    born = redis.hget(name, "last_heartbeat")
    wait_until(lambda: redis.hget(name, "last_heartbeat") > born, 5, "no heartbeat came")
    redis.flushall()
    wait_until(lambda: is_registered(redis, process), 5, "nobody knows of it any more")
    wait_until(lambda: redis.hget(name, "queues") == b"code", 5)
    assert redis.ttl(name) > 60
