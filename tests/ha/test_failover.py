"""The primary is killed under load: submits go on, work comes back, nothing is lost."""

import signal
import threading
import time
from collections.abc import Iterator

import pytest
from django.db import connections

from plugspace_queue.broker import keys
from plugspace_queue.models import Attempt, Task
from tests.support import patient, took, wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [
    pytest.mark.usefixtures("acme"),
    pytest.mark.timeout(120),
    pytest.mark.timed,
    pytest.mark.slow,
]


class Load(threading.Thread):
    """Submits short tasks one after the other until told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.accepted: list[tuple[float, Task]] = []
        self.longest = 0.0
        self.trouble: list[Exception] = []
        self._stopping = threading.Event()

    def run(self) -> None:
        try:
            while not self._stopping.wait(0.05):
                self._submit()
        finally:
            connections.close_all()

    def _submit(self) -> None:
        began = time.monotonic()
        try:
            self.accepted.append((began, submit(input={"prompt": "0.05"})))
        except Exception as error:
            self.trouble.append(error)
        self.longest = max(self.longest, time.monotonic() - began)

    def stop(self) -> list[Task]:
        self._stopping.set()
        self.join(timeout=patient(10))
        return [task for _, task in self.accepted]


@pytest.fixture
def load() -> Iterator[Load]:
    made = Load()
    yield made
    made.stop()


def seconds_until_work(load: Load, since: float) -> float:
    """From `since` until a task that was submitted after it is complete."""

    def one_is_complete() -> bool:
        later = [task.pk for began, task in list(load.accepted) if began > since]
        return Task.objects.filter(pk__in=later, state="complete").exists()

    wait_until(one_is_complete, 20, "no task submitted after the kill is complete")
    return time.monotonic() - since


def all_are_complete(tasks: list[Task]) -> bool:
    ids = [task.pk for task in tasks]
    return Task.objects.filter(pk__in=ids, state="complete").count() == len(ids)


def assert_each_is_recorded_once(tasks: list[Task]) -> None:
    attempts = Attempt.objects.filter(task__in=[task.pk for task in tasks], outcome="complete")
    assert sorted(attempts.values_list("task_id", flat=True)) == sorted(t.pk for t in tasks)


def failing(answer):
    return answer if answer.status_code != 200 else None


def asks_scripts(server) -> bool:
    """Whether anybody has run a script of ours on this server since it started."""
    return "cmdstat_evalsha" in server.told("commandstats")


def end(*workers, within: float) -> None:
    for process in workers:
        process.send_signal(signal.SIGTERM)
    for process in workers:
        assert process.wait(timeout=patient(within)) == 0


def test_a_killed_primary_stops_work_for_seconds_and_loses_nothing(
    sentinel_trio, worker, api, load
):
    workers = [worker("architect"), worker("architect")]
    load.start()
    wait_until(lambda: len(load.accepted) > 20, 10)
    old = sentinel_trio.primary()

    killed_at = time.monotonic()
    old.kill()

    # What is live says when to come again; what is in rows goes on.
    refused = wait_until(lambda: failing(api.ask("queues/")), 2)
    assert (refused.status_code, refused.json()["code"]) == (503, "UNAVAILABLE")
    assert int(refused.headers["Retry-After"]) >= 1
    again, gone = submit(input={"prompt": "0"}), submit(input={"prompt": "0"})
    assert api.ask(f"tasks/{again.pk}/").status_code == 200
    for task in (again, gone):
        assert api.send(f"tasks/{task.pk}/cancel/").status_code in (200, 202)
    assert sentinel_trio.primary() is old

    back_after = seconds_until_work(load, killed_at)
    print(f"slowest submit {load.longest:.2f} s")
    took(back_after, 10, "first task complete after the primary was killed")
    # The queue manager of this process tries to connect once a second.
    wait_until(lambda: api.ask("queues/").status_code == 200, 3)
    wait_until(lambda: fresh(again).state == fresh(gone).state == "cancelled", 10)
    assert api.send(f"tasks/{again.pk}/retry/").status_code in (200, 201)

    # It comes back empty and as a primary, for the Sentinels take seconds to demote it.
    old.start()
    seconds_until_work(load, time.monotonic())
    tasks = [*load.stop(), again]
    assert load.trouble == []
    wait_until(lambda: all_are_complete(tasks), 10)
    assert_each_is_recorded_once(tasks)
    assert not asks_scripts(old)
    primary = sentinel_trio.primary().client
    for key in (keys.wait("architect"), keys.active("architect")):
        wait_until(lambda key=key: not primary.llen(key))
    end(*workers, within=5)


def test_workers_end_while_there_is_no_primary(sentinel_trio, worker):
    idle, busy = worker("export"), worker("architect")
    task = submit(input={"prompt": "hold"})
    wait_until(lambda: fresh(task).progress, 10)

    sentinel_trio.primary().kill()

    # The grace time of these tests is 2 s; without it nothing keeps a worker.
    end(idle, within=2)
    end(busy, within=8)
    row = fresh(task)
    assert (row.state, row.retry_count, row.recovery_count) == ("waiting", 0, 0)


def test_a_frozen_primary_is_left_behind_and_what_it_took_is_made_up_for(
    sentinel_trio, worker, load
):
    idle, busy = worker("export"), worker("architect")
    load.start()
    wait_until(lambda: len(load.accepted) > 20, 10)
    old = sentinel_trio.primary()

    frozen_at = time.monotonic()
    old.kill(signal.SIGSTOP)

    # No connection breaks: each has to notice by itself that nobody answers.
    idle.send_signal(signal.SIGTERM)
    back_after = seconds_until_work(load, frozen_at)
    print(f"slowest submit {load.longest:.2f} s")
    took(back_after, 10, "first task complete after the primary was frozen")
    assert sentinel_trio.primary() is not old
    assert idle.wait(timeout=patient(10)) == 0

    old.kill(signal.SIGCONT)
    seconds_until_work(load, time.monotonic())
    tasks = load.stop()
    assert load.trouble == []
    wait_until(lambda: all_are_complete(tasks), 15)
    assert_each_is_recorded_once(tasks)
    end(busy, within=5)
