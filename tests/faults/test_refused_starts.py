"""A start that the database refuses holds up no other start and no other queue."""

import contextlib
import logging
from datetime import timedelta

import pytest
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.models import Attempt, MonthlyUsage, Task
from tests.support import wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timeout(90)]

SOON = {"RELAY_INTERVAL": 0.3, "LEASE": 3.0, "BACKOFF_DELAY": 0.1}

LAST_OF_BIGINT = 2**63 - 1
LAST_OF_DOUBLE = 2**53

STRANGE_FENCES = [
    "garbage",
    "",
    "-5",
    "1e30",
    "inf",
    "nan",
    "0x7fffffffffffffff",
    "12.5",
    str(LAST_OF_DOUBLE - 1),
    str(LAST_OF_DOUBLE + 1),
    str(LAST_OF_BIGINT),
    str(LAST_OF_BIGINT * 10),
]


def fails_once(context):
    if context.attempt == 1:
        raise ConnectionError("busy")
    return context.attempt


@pytest.mark.parametrize("strange", STRANGE_FENCES)
@override_settings(PLUGSPACE_QUEUE=SOON)
def test_a_strange_last_fence_in_redis_stops_no_queue_and_is_put_right(
    processors, crew, redis, until_final, strange
):
    processors("ARCHITECT", fails_once)
    processors("CODE", fails_once)
    redis.hset(keys.meta("architect"), "fence", strange)
    tasks = [submit(), submit("CODE"), submit(), submit("CODE")]

    crew("architect", "code")

    # Each attempt has a fence above the one before, or its row would not take it.
    assert [until_final(task).result for task in tasks] == [2, 2, 2, 2]
    fences = list(Attempt.objects.filter(task__in=tasks).values_list("fence", flat=True))
    assert len(set(fences)) == len(fences) and max(fences) < LAST_OF_DOUBLE
    assert int(redis.hget(keys.meta("architect"), "fence")) >= max(
        Attempt.objects.filter(task__type="ARCHITECT").values_list("fence", flat=True)
    )


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_a_row_whose_fence_no_lease_can_come_above_starts_all_the_same(
    processors, crew, until_final
):
    processors("ARCHITECT", fails_once)
    task, other = submit(), submit()
    Task.objects.filter(pk=task.pk).update(fence=LAST_OF_BIGINT - 5)

    crew("architect")

    assert [until_final(one).result for one in (task, other)] == [2, 2]
    assert fresh(task).fence < LAST_OF_DOUBLE


@pytest.fixture
def refuse():
    """Have the database refuse that a task's row gets some state, as a host's own trigger may."""
    with contextlib.ExitStack() as stack:

        def refuse(task, state="processing", kind=""):
            name = f"tests_refuse_{task.pk.hex}_{state}"
            with connection.cursor() as cursor:
                for statement in making(name, task, state, kind):
                    cursor.execute(statement)
            stack.callback(drop, name)

        yield refuse


AT_THE_END = "deferred"
"""What PostgreSQL refuses at the end of the transaction only, as a deferred constraint."""


def making(name, task, state, kind):
    table = Task._meta.db_table
    if connection.vendor == "sqlite":
        yield f"""
            CREATE TRIGGER {name} BEFORE UPDATE ON {table}
            WHEN NEW.id = '{task.pk.hex}' AND NEW.state = '{state}'
            BEGIN SELECT RAISE(ABORT, 'not this one'); END
        """
        return
    yield f"""
        CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'not this one'; END $$
    """
    made, rule = ("TRIGGER", "BEFORE UPDATE"), ""
    if kind == AT_THE_END:
        made, rule = ("CONSTRAINT TRIGGER", "AFTER UPDATE"), "DEFERRABLE INITIALLY DEFERRED"
    yield f"""
        CREATE {made[0]} {name} {made[1]} ON {table} {rule} FOR EACH ROW
        WHEN (NEW.id = '{task.pk}' AND NEW.state = '{state}') EXECUTE FUNCTION {name}()
    """


def drop(name):
    table = Task._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
        else:
            cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
            cursor.execute(f"DROP FUNCTION IF EXISTS {name}")


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_the_database_refuses_one_start_of_many(processors, crew, redis, until_final, refuse):
    processors("ARCHITECT", lambda context: "done")
    processors("CODE", lambda context: "done")
    tasks = [submit() for _ in range(5)]
    bad, others = tasks.pop(2), [*tasks, submit("CODE")]
    refuse(bad)

    crew("architect", "code")

    assert [until_final(task).result for task in others] == ["done"] * 5
    row = until_final(bad)
    assert (row.state, row.error["code"], row.attempt_count) == ("failed", "INTERNAL_ERROR", 0)
    # What the database says may be about anybody: tenants do not read it.
    assert "not this one" not in str(row.error)
    # It never started, so that it costs nothing.
    used = MonthlyUsage.objects.get(organization="acme", type="ARCHITECT").used
    assert used == 4
    wait_until(lambda: not redis.exists(keys.own("architect"), keys.active("architect")))
    assert redis.llen(keys.limiter("architect")) <= 6
    assert queue_manager.get_queue_stats("ARCHITECT").failed == 1


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_the_database_refuses_the_start_of_a_task_that_was_to_start_later(
    processors, crew, redis, until_final, refuse
):
    processors("ARCHITECT", lambda context: "done")
    bad = submit(run_at=timezone.now() + timedelta(seconds=1))
    assert bad.state == "scheduled"
    refuse(bad)

    crew("architect")

    row = until_final(bad)
    assert (row.state, row.error["code"], row.attempt_count) == ("failed", "INTERNAL_ERROR", 0)
    assert until_final(submit()).result == "done"
    wait_until(lambda: not redis.exists(keys.own("architect"), keys.active("architect")))


@override_settings(PLUGSPACE_QUEUE=SOON)
@pytest.mark.parametrize(
    ("state", "code", "runs"),
    [("processing", "INTERNAL_ERROR", 0), ("complete", "INVALID_RESULT", 1)],
)
def test_the_database_refuses_one_row_at_the_end_of_the_transaction(
    processors, crew, redis, until_final, refuse, state, code, runs
):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no triggers that wait for the end of a transaction")
    ran = []
    processors("ARCHITECT", lambda context: ran.append(context.task_id))
    tasks = [submit() for _ in range(5)]
    bad = tasks.pop(2)
    refuse(bad, state, AT_THE_END)

    crew("architect")

    assert [until_final(task).state for task in tasks] == ["complete"] * 4
    row = until_final(bad)
    assert (row.state, row.error["code"]) == ("failed", code)
    assert ran.count(str(bad.pk)) == row.attempt_count == runs
    assert redis.llen(keys.limiter("architect")) <= 6


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_the_database_refuses_a_start_and_its_end_too(processors, crew, redis, until_final, refuse):
    processors("ARCHITECT", lambda context: "done", concurrency=2)
    bad = submit()
    refuse(bad)
    refuse(bad, "failed")

    crew("architect")

    others = [submit() for _ in range(10)]
    assert [until_final(task).result for task in others] == ["done"] * 10
    assert fresh(bad).state == "waiting"
    # It rests between two tries: they do not use up the limiter.
    assert redis.llen(keys.limiter("architect")) < 20
    queue_manager.cancel(bad.pk)


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_the_database_refuses_an_ending_whatever_it_says(
    processors, crew, redis, until_final, refuse
):
    processors("ARCHITECT", lambda context: context.attempt)
    bad = submit()
    refuse(bad, "complete")
    refuse(bad, "failed")

    crew("architect")

    others = [submit() for _ in range(10)]
    assert [until_final(task).result for task in others] == [1] * 10
    assert not fresh(bad).is_final


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_what_hangs_on_an_ending_is_refused_and_only_that_ending_fails(
    processors, crew, until_final, refuse
):
    processors("ARCHITECT", lambda context: "done")
    parent, other = submit(), submit()
    child = submit("CODE", depends_on=[parent.pk])
    refuse(child, "waiting")

    crew("architect")

    assert until_final(other).result == "done"
    row = until_final(parent)
    assert (row.state, row.error["code"]) == ("failed", "INVALID_RESULT")
    assert "not this one" not in str(row.error)


@override_settings(PLUGSPACE_QUEUE=SOON)
@pytest.mark.parametrize("states", [["processing"], ["processing", "failed"], ["complete"]])
@pytest.mark.parametrize("kind", ["", AT_THE_END])
def test_a_task_whose_row_the_database_refuses_is_one_error_of_the_log(
    processors, crew, redis, until_final, refuse, caplog, states, kind
):
    if kind == AT_THE_END and connection.vendor == "sqlite":
        pytest.skip("SQLite has no triggers that wait for the end of a transaction")
    processors("ARCHITECT", lambda context: "done")
    tasks = [submit() for _ in range(5)]
    bad = tasks.pop(2)
    for state in states:
        refuse(bad, state, kind)

    crew("architect")

    assert [until_final(task).result for task in tasks] == ["done"] * 4
    wait_until(lambda: errors_about(bad, caplog))
    # All that is logged about it comes before its lease is settled.
    wait_until(lambda: not redis.exists(keys.own("architect"), keys.active("architect")))
    assert len(errors_about(bad, caplog)) == 1


def errors_about(task, caplog):
    """The records of a task that Sentry's SDK would make events of."""
    texts = [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]
    return [text for text in texts if str(task.pk) in text]


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_a_task_whose_ending_is_refused_in_every_form_does_not_run_again_at_once(
    processors, crew, redis, refuse, until_final
):
    runs = []
    processors("ARCHITECT", lambda context: runs.append(context.task_id))
    task, other = submit(), submit()
    for state in ("complete", "failed"):
        refuse(task, state)

    crew("architect")

    assert until_final(other).state == "complete"
    # It waits for its next try in Redis, and its row is free for whoever steers it.
    wait_until(lambda: redis.zscore("rq:scheduled:architect", str(task.pk)), 10)
    assert fresh(task).state == "waiting"
    assert runs.count(str(task.pk)) == 1
