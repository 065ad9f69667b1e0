"""PostgreSQL answers nobody for three leases, and then goes on as if nothing had been."""

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.test import override_settings
from redis import Redis

from plugspace_queue.broker import keys
from plugspace_queue.models import Attempt, Task
from tests.support import wait_until
from tests.worker.conftest import submit

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.postgres, pytest.mark.timeout(120)]

LEASE = 3.0
TASKS = 300


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={"LEASE": LEASE, "RELAY_INTERVAL": 1.0})
def test_a_database_that_freezes_for_three_leases_costs_no_attempt(processors, crew, redis):
    ran: Counter[str] = Counter()

    def architect(context):
        ran[context.task_id] += 1
        threading.Event().wait(0.05)

    limiter = {"max": 10_000, "duration": 60}
    processors("ARCHITECT", architect, concurrency=10, limiter=limiter)
    for _ in range(TASKS):
        submit()
    crews = [crew("architect", worker_name=name) for name in ("w1", "w2")]
    wait_until(lambda: Task.objects.filter(state="complete").count() > TASKS / 10, 30)

    with frozen(server_processes()):
        began = time.monotonic()
        # What was granted just before comes to its statement, where it waits.
        wait_until(lambda: all(made.completer.is_in_database for made in crews), 10)
        wait_until(lambda: time.monotonic() > began + 1, 10)
        held, granted = leases(redis), redis.hget(keys.meta("architect"), "fence")
        wait_until(lambda: time.monotonic() > began + 3 * LEASE, 30)
        assert held and leases(redis) == held
        assert redis.hget(keys.meta("architect"), "fence") == granted
        assert all(made.loop_is_alive() for made in crews)

    wait_until(lambda: not Task.objects.exclude(state="complete").exists(), 60)
    assert set(ran.values()) == {1} and len(ran) == TASKS
    assert set(Attempt.objects.values_list("outcome", flat=True)) == {"complete"}
    assert Attempt.objects.count() == TASKS
    assert not Task.objects.filter(recovery_count__gt=0).exists()


def leases(redis: Redis) -> dict[bytes, bytes]:
    """Whose each running task is, and under which token."""
    return redis.hgetall(keys.own("architect"))


def server_processes() -> list[int]:
    """The processes of the server of this run, the one that starts the others first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (own,) = cursor.fetchone()
    parent = int(Path(f"/proc/{own}/stat").read_text().rpartition(")")[2].split()[1])
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [parent, *map(int, children)]


@contextlib.contextmanager
def frozen(processes: list[int]) -> Iterator[None]:
    """Stop these processes; their connections stay, and nobody answers."""
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in reversed(processes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
