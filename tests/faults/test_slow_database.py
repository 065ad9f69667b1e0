"""A database that cannot be reached: nothing is given up."""

import contextlib

import pytest
from django.db import connection

from plugspace_queue.worker import commit, completer
from plugspace_queue.worker.state import Guard
from tests.support import wait_until
from tests.worker.conftest import meanwhile, submit
from tests.worker.test_completer import dispatched, fresh_of, lease_of, recorder

__all__ = ["dispatched", "recorder"]

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timeout(90)]


@contextlib.contextmanager
def unreachable():
    """Nobody gets a new connection to the database; those that are open go on."""
    name = connection.settings_dict["NAME"]
    connection.settings_dict["NAME"] = "/nowhere/at/all"
    try:
        yield
    finally:
        connection.settings_dict["NAME"] = name


def test_a_thread_without_a_connection_waits_for_a_database_that_is_away(recorder):
    held = lease_of(submit())

    with contextlib.ExitStack() as away:
        away.enter_context(unreachable())
        # The thread is new, and so is its connection.
        with meanwhile(lambda: recorder.put(Guard([held]))):
            wait_until(lambda: not recorder.completer.is_healthy)
            assert held.execution is None
            away.close()

    assert recorder.completer.is_healthy
    assert fresh_of(held).state == "processing"


def test_each_new_connection_of_the_loop_is_told_to_notice_silence(recorder, monkeypatch):
    kept: list[object] = []
    monkeypatch.setattr(completer, "keep_alive", lambda one: kept.append(one.connection))
    written: list[object] = []
    write = commit.write

    def lose_first(batch, worker_name):
        if not written:
            # As a server that restarts: the next try finds no connection.
            written.append(connection.connection)
            raise completer.connection.Database.OperationalError("the server closed it")
        write(batch, worker_name)
        written.append(connection.connection)

    monkeypatch.setattr(completer, "write", lose_first)
    recorder.put(Guard([lease_of(submit())]))

    assert len(written) == 2 and written[0] is not written[1]
    assert kept == written
