"""RQ's own tools on our queues: the pool, suspension, the stop command, `rq info`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from redis import Redis
from rq.command import send_stop_job_command
from rq.suspension import is_suspended

from plugspace_queue import embedded_redis, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.models import Task
from tests.processes.conftest import ROOT, held_places
from tests.support import child_environment, patient, wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [
    pytest.mark.usefixtures("acme", "nothing_is_left"),
    pytest.mark.timeout(120),
    pytest.mark.slow,
]

LEASE = 3.0
"""As tests/processes/settings.py has it."""


def prompt(text: str) -> Task:
    return submit(input={"prompt": text})


def workers(redis: Redis) -> dict[bytes, int]:
    """RQ's living workers and their processes."""
    found = {key: redis.hmget(key, "pid", "state") for key in redis.smembers("rq:workers")}
    return {key: int(pid) for key, (pid, state) in found.items() if pid and state}


@pytest.fixture
def pool(rqworker, redis: Redis) -> Iterator["subprocess.Popen[bytes]"]:
    """`rqworker-pool architect` with two workers that are there."""
    process = rqworker("architect", "--num-workers", "2", wait=False, command="rqworker-pool")
    wait_until(lambda: len(workers(redis)) == 2, 30, "the pool did not start")
    return process


def owners(redis):
    """The names of the workers that run something."""
    return {owner.split(b"|")[2] for owner in redis.hvals(keys.own("architect"))}


def test_the_workers_of_a_pool_share_the_work_and_end_with_it(pool, redis, until_final):
    wait_until(lambda: len(workers(redis)) == 2, 20)
    # Five slots each, and an attempt keeps its lease until its ending is written.
    tasks = [prompt("sleep 1") for _ in range(20)]
    wait_until(lambda: len(owners(redis)) == 2, 20)

    rows = [until_final(task) for task in tasks]
    assert {row.state for row in rows} == {"complete"}
    names = {row.attempts.get().worker_name for row in rows}
    assert {f"rq:worker:{name}".encode() for name in names} == set(workers(redis))

    pids = workers(redis).values()
    pool.send_signal(signal.SIGTERM)
    assert pool.wait(timeout=patient(30)) == 0
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not workers(redis)


def test_a_stopped_pool_hands_back_what_does_not_finish(pool, until_running, redis):
    tasks = [prompt("hold") for _ in range(3)]
    for task in tasks:
        until_running(task)

    pool.send_signal(signal.SIGTERM)

    assert pool.wait(timeout=patient(30)) == 0
    for task in tasks:
        row = fresh(task)
        assert (row.state, row.retry_count, row.recovery_count) == ("waiting", 0, 0)
        queue_manager.cancel(task.pk)


def test_a_worker_of_the_pool_that_is_killed_is_replaced_and_its_tasks_run(
    pool, redis, until_running, until_final
):
    before = workers(redis)
    task = until_running(prompt("stall-once"))
    os.kill(before[f"rq:worker:{task.worker_name}".encode()], signal.SIGKILL)

    row = until_final(task, timeout=30)
    assert (row.state, row.recovery_count, row.retry_count) == ("complete", 1, 0)
    wait_until(lambda: set(workers(redis).values()) - set(before.values()), 20)


def test_a_suspended_worker_takes_nothing_until_it_is_resumed(rqworker, redis, until_final):
    rqworker("architect")
    running = prompt("sleep 0.5")
    wait_until(lambda: fresh(running).progress, 10)
    try:
        call_command("rqsuspend")
        assert is_suspended(redis)
        wait_until(lambda: states(redis) == {b"suspended"}, 10)
        assert until_final(running).state == "complete"
        held = prompt("sleep 0")
        # The worker has looked at the suspension and at the line since.
        beat = heartbeats(redis)
        wait_until(lambda: heartbeats(redis) > beat, 10)
        assert fresh(held).state == "waiting"
        assert redis.llen(keys.wait("architect")) == 1
    finally:
        call_command("rqresume")

    assert until_final(held).state == "complete"


@pytest.mark.parametrize("arguments", [(), ("--burst",)], ids=["lasting", "burst"])
def test_a_worker_that_is_started_while_all_are_suspended_takes_nothing(
    rqworker, redis, until_final, arguments
):
    call_command("rqsuspend")
    try:
        held = [prompt("sleep 0") for _ in range(3)]
        worker = rqworker("architect", *arguments, wait=False)
        if arguments:
            # As RQ's own: what a burst may not take, another one will.
            assert worker.wait(timeout=patient(20)) == 0
        else:
            wait_until(lambda: states(redis) == {b"suspended"}, 20)
            beat = heartbeats(redis)
            wait_until(lambda: heartbeats(redis) > beat, 10)
        assert [(fresh(task).state, fresh(task).attempt_count) for task in held] == [
            ("waiting", 0)
        ] * 3
        assert redis.llen(keys.wait("architect")) == 3
    finally:
        call_command("rqresume")

    if arguments:
        rqworker("architect")
    assert {until_final(task).state for task in held} == {"complete"}


def test_the_workers_of_a_pool_whose_parent_is_killed_hand_back_and_end(
    pool, redis, until_running, rqworker, until_final
):
    pids = set(workers(redis).values())
    polite, deaf = prompt("hold"), prompt("linger-once")
    for task in (polite, deaf):
        until_running(task)
    wait_until(lambda: fresh(deaf).progress, 10)

    pool.kill()

    wait_until(lambda: not any(map(is_alive, pids)), 2 * LEASE + 5, "its workers live on")
    assert not workers(redis)
    for task in (polite, deaf):
        row = fresh(task)
        assert (row.state, row.retry_count, row.recovery_count) == ("waiting", 0, 0)
    queue_manager.cancel(polite.pk)
    rqworker("architect")
    assert until_final(deaf).result == {"attempt": 2}


def test_a_replaced_worker_of_a_pool_ends_with_its_parent_as_well(pool, redis):
    before = set(workers(redis).values())
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: set(workers(redis).values()) - before, 20)
    pids = set(workers(redis).values())

    pool.kill()

    wait_until(lambda: not any(map(is_alive, pids)), 2 * LEASE + 5, "its workers live on")


def test_a_lone_worker_works_on_when_the_shell_that_started_it_is_killed(
    redis, tmp_path, until_final
):
    script = f"{sys.executable} manage.py rqworker architect & echo $!; wait"
    with (tmp_path / "lone.log").open("wb") as log:
        shell = subprocess.Popen(
            ["sh", "-c", script],
            cwd=ROOT,
            env=child_environment(DJANGO_SETTINGS_MODULE="tests.processes.settings"),
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert shell.stdout is not None
    pid = int(shell.stdout.readline())
    try:
        wait_until(lambda: pid in workers(redis).values(), 20, "the worker did not start")

        shell.kill()
        shell.wait(timeout=patient(10))

        beat = heartbeats(redis)
        wait_until(lambda: heartbeats(redis) > beat, 10)
        assert until_final(prompt("pid")).result == {"pid": pid}
        wait_until(lambda: not held_places(redis), 10)
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.stdout.close()
        wait_until(lambda: not is_alive(pid), 10)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended may wait for a parent that asks for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def states(redis: Redis) -> set[bytes | None]:
    return {redis.hget(key, "state") for key in redis.smembers("rq:workers")}


def heartbeats(redis: Redis) -> list[bytes | None]:
    return sorted(redis.hget(key, "last_heartbeat") for key in redis.smembers("rq:workers"))


def test_rqs_stop_command_cancels_a_running_task(rqworker, redis, until_running, until_final):
    rqworker("architect")
    task = prompt("hold")
    until_running(task)

    send_stop_job_command(redis, str(task.pk))

    row = until_final(task)
    assert (row.state, row.error["code"]) == ("cancelled", "CANCELLED")
    assert row.attempts.get().outcome == "cancelled"
    # As RQ has it: what was stopped stands with the failed ones, and says so.
    wait_until(lambda: redis.hget(f"rq:job:{task.pk}", "status") == b"stopped")


def test_rq_info_shows_what_waits_and_runs(rqworker, redis, until_final):
    tasks = [prompt("hold") for _ in range(7)]
    rqworker("architect")
    wait_until(lambda: redis.llen(keys.active("architect")) == 5, 10)

    told = rq("info", "--raw", "--only-queues", "architect")

    assert told.splitlines()[0] == "queue architect 2, 5 executing, 0 finished, 0 failed"
    for task in reversed(tasks):
        queue_manager.cancel(task.pk)
    for task in tasks:
        until_final(task)


def test_rq_info_knows_our_queues_and_workers(rqworker, redis):
    task = prompt("sleep 0")
    rqworker("design")

    told = rq("info")

    assert "6 queues, 1 jobs total" in told
    assert "1 workers, 6 queues" in told
    queue_manager.cancel(task.pk)


def rq(*arguments: str) -> str:
    """What RQ's own command prints about our server."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("rq")),
            *arguments,
            "--url",
            f"unix://{embedded_redis.socket_path()}",
            "--queue-class",
            "plugspace_queue.rq.queue.Queue",
        ],
        env=child_environment(DJANGO_SETTINGS_MODULE="tests.processes.settings"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
