"""A worker that is started while Redis or the database is away, or full, waits and then begins."""

import signal
from pathlib import Path
from urllib.parse import quote

import pytest
from django.db import connection

from plugspace_queue.conf import rq_settings
from tests.servers import HOST, data_server, free_ports
from tests.support import database_url, patient, wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timeout(120), pytest.mark.slow]

COMMANDS = pytest.mark.parametrize("command", ["rqworker", "rqworker-pool"])


@pytest.fixture
def server(tmp_path):
    """A server of the test's own, not started yet."""
    (port,) = free_ports(1)
    node = data_server(tmp_path, port)
    yield node
    if node.process is not None:
        node.kill()
    node.client.close()


@pytest.fixture
def said(tmp_path):
    """Whether the log of the first worker has these words, so many times."""

    def said(words, times=1):
        log = (tmp_path / "worker-0.log").read_text(errors="replace")
        return log.lower().count(words.lower()) >= times

    return said


@pytest.fixture
def start(rqworker, server):
    """Start a worker whose queues are on the test's own server."""

    def start(*arguments, **options):
        url = f"redis://{HOST}:{server.port}/0"
        return rqworker(*arguments, wait=False, **{"REDIS_URL": url} | options)

    return start


@pytest.fixture
def prompt(settings, server):
    """Submit a task by way of the test's own server."""

    def prompt(text="sleep 0"):
        return submit(input={"prompt": text})

    settings.RQ_QUEUES, settings.RQ = rq_settings(url=f"redis://{HOST}:{server.port}/0")
    return prompt


def until(worker, condition):
    """Wait for what a living worker does."""

    def holds():
        assert worker.poll() is None, "the worker ended"
        return condition()

    wait_until(holds, 30)


def registered(server):
    """The pids of living workers that RQ knows."""
    names = server.client.smembers("rq:workers")
    return {int(pid) for name in names if (pid := server.client.hget(name, "pid"))}


def children(process):
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def is_alive(pid):
    return Path(f"/proc/{pid}").exists()


@COMMANDS
def test_it_waits_for_redis_says_so_and_begins_when_that_is_there(
    start, server, said, prompt, command
):
    task = prompt()
    worker = start("architect", command=command)
    until(worker, lambda: said("waits for redis", times=3))
    assert worker.poll() is None

    server.start()

    wait_until(lambda: fresh(task).state == "complete", 40)
    assert registered(server) & {worker.pid, *children(worker)}
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=patient(20)) == 0


@COMMANDS
def test_while_it_waits_for_redis_a_sigterm_ends_it_well(start, said, command):
    worker = start("architect", command=command)
    until(worker, lambda: said("waits for redis", times=4))
    workers = children(worker)

    worker.send_signal(signal.SIGTERM)

    # The pauses have grown to seconds by now: it does not sleep through one.
    assert worker.wait(timeout=patient(5)) == 0
    wait_until(lambda: not list(filter(is_alive, workers)))
    assert not said("traceback")


@COMMANDS
def test_a_burst_that_waits_in_vain_ends_with_an_error(start, said, command):
    worker = start("architect", "--burst", command=command, TEST_START_PATIENCE="1")

    assert worker.wait(timeout=patient(30)) != 0
    assert said("waits for redis") and said("start_patience")
    assert not said("traceback")


def test_a_burst_waits_for_its_time_and_then_does_its_work(start, server, said, prompt):
    task = prompt()
    worker = start("architect", "--burst")
    until(worker, lambda: said("waits for redis"))

    server.start()

    assert worker.wait(timeout=patient(40)) == 0
    assert fresh(task).state == "complete"


def test_it_waits_while_the_memory_of_redis_is_full(start, server, said, prompt):
    server.start()
    task = prompt()
    server.client.config_set("maxmemory", 1)
    worker = start("architect")
    until(worker, lambda: said("waits for redis", times=2))
    assert worker.poll() is None and not registered(server)

    server.client.config_set("maxmemory", 0)

    wait_until(lambda: fresh(task).state == "complete", 40)
    wait_until(lambda: registered(server) == {worker.pid})
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=patient(20)) == 0
    assert not registered(server)


def test_a_memory_that_stays_full_of_tasks_is_worked_off_all_the_same(start, server, said, prompt):
    server.start()
    task = prompt()
    server.client.config_set("maxmemory", 1)

    worker = start("architect", TEST_START_PATIENCE="2")

    # Nobody else could make room: what waits is taken, run and settled.
    wait_until(lambda: fresh(task).state == "complete", 60)
    assert said("waits for redis")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=patient(20)) == 0


def test_it_waits_while_redis_has_too_many_clients(start, server, said, prompt):
    server.start()
    task = prompt()
    server.client.config_set("maxclients", 1)
    worker = start("architect")
    until(worker, lambda: said("waits for redis", times=2))
    assert worker.poll() is None

    server.client.config_set("maxclients", 1000)

    wait_until(lambda: fresh(task).state == "complete", 40)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=patient(20)) == 0


@pytest.fixture
def absent(tmp_path):
    """A way to the test's database that is not there yet: its URL, and what makes the way."""
    way = tmp_path / "way"
    if connection.vendor == "sqlite":
        real = Path(connection.settings_dict["NAME"])
        return f"sqlite:///{way}/{real.name}", lambda: way.symlink_to(real.parent)
    folder = connection.settings_dict["HOST"]
    url = database_url()
    made = url.replace(quote(folder, safe=""), quote(str(way), safe=""))
    assert made != url
    return made, lambda: way.symlink_to(folder)


@pytest.fixture
def unchecked():
    """Arguments for a worker whose SQLite file is away.

    From 6.1 on Django's own checks ask each SQLite database whether it knows JSON, before the
    command begins. They ask PostgreSQL nothing.
    """
    return ["--skip-checks"] if connection.vendor == "sqlite" else []


@COMMANDS
def test_it_waits_for_the_database_says_so_and_begins_when_that_is_there(
    start, server, said, prompt, absent, unchecked, command
):
    server.start()
    task = prompt()
    url, make_way = absent
    worker = start("architect", *unchecked, command=command, DATABASE_URL=url)
    until(worker, lambda: said("waits for the database", times=3))
    assert worker.poll() is None

    make_way()

    wait_until(lambda: fresh(task).state == "complete", 40)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=patient(20)) == 0


def test_while_it_waits_for_the_database_a_sigterm_ends_it_well(
    start, server, said, absent, unchecked
):
    server.start()
    worker = start("architect", *unchecked, DATABASE_URL=absent[0])
    until(worker, lambda: said("waits for the database", times=3))

    worker.send_signal(signal.SIGTERM)

    assert worker.wait(timeout=patient(5)) == 0
    assert not said("traceback")
    assert not registered(server)


@pytest.mark.postgres
def test_it_waits_while_the_database_takes_no_writes(start, server, said, prompt):
    server.start()
    task = prompt()
    name = connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        try:
            worker = start("architect")
            until(worker, lambda: said("waits for the database", times=2))
            assert fresh(task).state == "waiting"
        finally:
            cursor.execute("SET SESSION default_transaction_read_only = off")
            cursor.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')

    wait_until(lambda: fresh(task).state == "complete", 40)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=patient(20)) == 0


def test_a_worker_of_a_stock_queue_does_as_stock_does(start, said):
    worker = start("default", settings="tests.processes.settings")

    assert worker.wait(timeout=patient(40)) == 1
    assert not said("waits for")


def test_two_workers_of_one_name_are_refused(start, server, prompt):
    server.start()
    first = start("architect", "--name", "one")
    wait_until(lambda: registered(server) == {first.pid}, 30)

    second = start("architect", "--name", "one")

    assert second.wait(timeout=patient(30)) not in (0, None)
    assert registered(server) == {first.pid}
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=patient(20)) == 0


def test_a_second_signal_while_it_ends_changes_nothing(start, said):
    worker = start("architect")
    until(worker, lambda: said("waits for redis", times=2))

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        worker.send_signal(signum)

    assert worker.wait(timeout=patient(10)) == 0
    assert not said("traceback")
