"""A database that cuts the connection, refuses a value or holds a row: the others go on."""

import threading
import time

import pytest
from django.db import connection, transaction

from plugspace_queue import errors, queue_manager
from plugspace_queue.models import QueueSettings, Task
from plugspace_queue.services import queues
from plugspace_queue.worker import commit
from plugspace_queue.worker.control import PeriodicJob
from tests.support import took, wait_until
from tests.worker.conftest import fresh, meanwhile, submit

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.postgres]


def test_a_connection_that_goes_before_the_last_statement_loses_no_ending(
    processors, crew, until_final, monkeypatch
):
    cut: list[int] = []
    entries_of = commit.usage_entries

    def cut_once(recorded, now):
        # Between the statements of a commit that ends something.
        if recorded and not cut:
            cut.append(end_session())
        return entries_of(recorded, now)

    monkeypatch.setattr(commit, "usage_entries", cut_once)
    processors("ARCHITECT", lambda context: "done")
    made = crew("architect")
    task = submit()

    row = until_final(task)

    assert (row.result, row.attempts.count(), len(cut)) == ("done", 1, 1)
    assert made.loop.is_alive()
    assert until_final(submit()).state == "complete"


def end_session() -> int:
    """Have the server end this thread's session; its process id."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()

    def end() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
            wait_until(lambda: not is_there(pid))

    with meanwhile(end):
        return int(pid)


def test_a_chore_that_the_database_kept_from_its_work_is_soon_done(crew, caplog):
    calls: list[int] = []

    def look():
        if not calls:
            calls.append(end_session())
        calls.append(Task.objects.count())

    made = crew("architect")
    made.maintenance._jobs.append(PeriodicJob(look, interval=60.0))

    wait_until(lambda: len(calls) == 2)
    assert "maintenance waits: " in caplog.text
    assert "Traceback" not in caplog.text


def is_there(pid: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid])
        return cursor.fetchone() is not None


def test_a_value_that_the_database_refuses_fails_only_its_own_task(
    processors, crew, until_final, redis
):
    gate = threading.Barrier(3, timeout=10)

    def architect(context):
        gate.wait()
        if context.input.prompt == "odd":
            raise errors.TaskError("no", code="a code with \x00 in it")
        return "done"

    processors("ARCHITECT", architect)
    made = crew("architect")
    odd, *others = [submit(input={"prompt": text}) for text in ("odd", "one", "two")]

    row = until_final(odd)
    assert (row.state, row.error["code"]) == ("failed", "INVALID_RESULT")
    assert [until_final(task).result for task in others] == ["done", "done"]
    assert made.loop.is_alive()


@pytest.mark.timed
def test_a_resume_that_moves_many_deadlines_holds_up_no_ending(
    processors, crew, until_running, until_final, monkeypatch
):
    gate, moving, moved = threading.Event(), threading.Event(), threading.Event()
    give_back = queues._extend_deadlines_of_queue

    def long_give_back(row, now):
        # As if a million tasks waited: the queue's row is locked meanwhile.
        moving.set()
        moved.wait(20)
        give_back(row, now)

    processors("ARCHITECT", lambda context: gate.wait(20))
    processors("CODE", lambda context: {})
    crew("architect", "code")
    running = submit()
    until_running(running)
    queue_manager.pause("ARCHITECT")
    monkeypatch.setattr(queues, "_extend_deadlines_of_queue", long_give_back)

    with meanwhile(lambda: queue_manager.resume("ARCHITECT")) as resuming:
        wait_until(moving.is_set)
        gate.set()
        assert until_final(running).state == "complete"
        assert until_final(submit("CODE")).state == "complete"
        assert resuming.is_alive()
        assert QueueSettings.objects.get(pk="ARCHITECT").completed == 0
        moved.set()

    # Though nothing more ends in this worker.
    wait_until(lambda: QueueSettings.objects.get(pk="ARCHITECT").completed == 1)


@pytest.mark.timed
def test_rows_in_a_long_transaction_hold_up_no_other_queue(
    processors, crew, until_running, until_final
):
    gate, inside, out = threading.Event(), threading.Event(), threading.Event()
    parents: list[Task] = []

    def request():
        # ATOMIC_REQUESTS, then a slow view: the parents' rows are locked until it ends.
        with transaction.atomic():
            submit("DESIGN", depends_on=parents)
            inside.set()
            out.wait(40)

    def architect(context):
        while not gate.is_set():
            # Each word of it waits for the row as well.
            context.report_progress(50)
            gate.wait(0.1)

    processors("ARCHITECT", architect)
    processors("CODE", lambda context: {})
    crew("architect", "code")
    parents += [submit() for _ in range(3)]
    for parent in parents:
        until_running(parent)

    with meanwhile(request):
        wait_until(inside.is_set)
        until_final(submit("CODE"))
        began = time.monotonic()
        for _ in range(5):
            until_final(submit("CODE"))
        gate.set()
        until_final(submit("CODE"))
        for _ in range(5):
            until_final(submit("CODE"))
        # One turn that waits a second for new messages of locked rows, others that do not.
        took(time.monotonic() - began, 5, "eleven tasks beside a row that is locked for long")
        assert {fresh(parent).state for parent in parents} == {"processing"}
        out.set()

    assert {until_final(parent).state for parent in parents} == {"complete"}


def test_a_child_in_a_long_transaction_holds_up_nothing_when_its_parent_fails(
    processors, crew, until_running, until_final
):
    gate, inside, out = threading.Event(), threading.Event(), threading.Event()

    def request():
        with transaction.atomic():
            Task.objects.select_for_update().get(pk=child.pk)
            inside.set()
            out.wait(40)

    def architect(context):
        gate.wait(20)
        raise ValueError("no")

    processors("ARCHITECT", architect)
    processors("CODE", lambda context: {})
    crew("architect", "code")
    parent = submit()
    child = submit("DESIGN", depends_on=[parent])
    until_running(parent)

    with meanwhile(request):
        wait_until(inside.is_set)
        gate.set()
        assert until_final(parent).state == "failed"
        assert until_final(submit("CODE"), 5).state == "complete"
        assert fresh(child).state == "blocked"
        out.set()

    # Upkeep finds what the commit's own follow-up could not lock.
    assert until_final(child).state == "cancelled"


def test_a_worker_that_stops_writes_what_waited_aside(processors, crew, until_running, until_final):
    gate, inside, out = threading.Event(), threading.Event(), threading.Event()

    def request():
        with transaction.atomic():
            Task.objects.select_for_update().get(pk=task.pk)
            inside.set()
            out.wait(40)

    processors("ARCHITECT", lambda context: gate.wait(20))
    made = crew("architect")
    task = submit()
    until_running(task)

    with meanwhile(request):
        wait_until(inside.is_set)
        gate.set()
        wait_until(lambda: made.completer.backlog.wait_seconds() is not None)
        made.stop()
        out.set()

    assert until_final(task).state == "complete"
