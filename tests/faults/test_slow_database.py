"""A database that cannot be reached, or is too slow for a commit of many: nothing is given up."""

import contextlib

import pytest
from django.db import connection
from django.test import override_settings

from plugspace_queue.models import Task
from plugspace_queue.processing.outcome import success
from plugspace_queue.worker import commit, completer
from plugspace_queue.worker.state import Ended, Guard
from tests.support import wait_until
from tests.worker.conftest import fresh, meanwhile, submit
from tests.worker.test_completer import dispatched, fresh_of, lease_of, recorder, start

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


@pytest.fixture
def slow(monkeypatch):
    """Have statements on tasks that change more rows than `most` take `seconds`."""
    monkeypatch.setattr(commit, "SHORTEST_TIMEOUT", 0.5)
    table, name = Task._meta.db_table, "tests_slow"

    def make(most: int, seconds: float) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"""
                CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF (SELECT count(*) FROM changed) > {most} THEN
                        PERFORM pg_sleep({seconds});
                    END IF;
                    RETURN NULL;
                END $$
            """)
            cursor.execute(f"""
                CREATE TRIGGER {name} AFTER UPDATE ON {table} REFERENCING NEW TABLE AS changed
                FOR EACH STATEMENT EXECUTE FUNCTION {name}()
            """)

    with override_settings(PLUGSPACE_QUEUE={"LEASE": 2.0}):
        yield make
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
        cursor.execute(f"DROP FUNCTION IF EXISTS {name}")


@pytest.mark.postgres
def test_starts_that_take_too_long_together_are_written_one_by_one(recorder, slow, dispatched):
    held = [lease_of(submit()) for _ in range(3)]
    slow(most=1, seconds=60)

    with meanwhile(lambda: recorder.put(Guard(held))):
        wait_until(lambda: len(dispatched) == len(held), 10)

    assert {fresh_of(one).state for one in held} == {"processing"}


@pytest.mark.postgres
def test_endings_that_take_too_long_together_are_written_one_by_one(recorder, slow):
    held = [start(recorder, submit()) for _ in range(3)]
    slow(most=1, seconds=60)

    with meanwhile(lambda: recorder.put(*(Ended(one, one.execution, success({})) for one in held))):
        wait_until(lambda: len(recorder.settled()) == len(held), 10)

    assert {(fresh_of(one).state, fresh_of(one).attempts.count()) for one in held} == {
        ("complete", 1)
    }


@pytest.mark.postgres
def test_one_ending_that_takes_too_long_gets_more_time_with_each_try(recorder, slow):
    task = submit()
    held = start(recorder, task)
    slow(most=0, seconds=1.2)

    with meanwhile(lambda: recorder.put(Ended(held, held.execution, success({})))):
        wait_until(lambda: recorder.settled(), 10)

    assert (fresh(task).state, fresh(task).attempts.count()) == ("complete", 1)
