"""Rows that somebody else's transaction holds: the worker does not wait long for them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Model, QuerySet
from django.test import override_settings
from django.utils import timezone

from plugspace_queue.broker.connection import cut_off
from plugspace_queue.db.recordset import send
from plugspace_queue.domain.enums import State
from plugspace_queue.models import MonthlyUsage, Task
from plugspace_queue.processing import outcome
from plugspace_queue.processing.execution import Execution
from plugspace_queue.processing.outcome import success
from plugspace_queue.worker import backlog, commit
from plugspace_queue.worker.commit import CommitBatch, Locked, write
from plugspace_queue.worker.state import Ended, Guard, HeldLease
from tests.support import took, wait_until
from tests.worker.conftest import fresh, meanwhile, submit
from tests.worker.test_completer import Writing, dispatched, fresh_of, lease_of, recorder, start

__all__ = ["dispatched", "recorder"]

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.postgres]


def test_what_waited_and_starts_while_the_worker_stops_goes_back(monkeypatch):
    # It is not due before the end.
    monkeypatch.setattr(backlog, "FIRST_PAUSE", 60.0)
    task = submit()
    held = lease_of(task)

    def hand_back(held: HeldLease, execution: Execution) -> None:
        # As the pool does when the worker stops, and the loop when it hears of it.
        handed_back.append(Ended(held, execution, outcome.handed_back(execution.row)))

    handed_back: list[Ended] = []
    writing = Writing(hand_back)
    with locked(Task.objects.filter(pk=task.pk)):
        writing.put(Guard([held]))
        assert writing.completer.backlog
    writing.completer.follow_up.try_all_now()
    wait_until(lambda: handed_back)
    writing.put(*handed_back)

    writing.stop()

    assert (fresh(task).state, fresh(task).attempts.count()) == (State.WAITING, 1)
    assert [(one.task_id, one.outcome) for one in writing.settled()] == [(held.task_id, "back")]


@pytest.mark.timed
def test_unstarted_leases_that_wait_for_a_row_hold_up_no_start(recorder):
    tasks = [submit() for _ in range(4)]
    Task.objects.filter(pk__in=[one.pk for one in tasks]).update(cancel_requested_at=timezone.now())
    other = lease_of(submit())

    # As a caller's long transaction that submits: no refund of acme gets through.
    with locked(MonthlyUsage.objects.all()):
        recorder.put(Guard([lease_of(one) for one in tasks]))
        recorder.put(Guard([other]))
        began = time.monotonic()
        wait_until(lambda: other.execution, 10)
        took(time.monotonic() - began, 1.0, "a start beside leases that wait for a row")
        wait_until(lambda: len(recorder.settled()) == len(tasks))
    assert {one.outcome for one in recorder.settled()} == {"back"}


@pytest.mark.parametrize("pause", [0.08, 0.0])
def test_in_a_deadlock_with_a_caller_it_is_the_worker_that_gives_way(recorder, monkeypatch, pause):
    ending, starting = start(recorder, submit()), lease_of(submit())
    lock = Task.objects.select_for_update(no_key=True)
    batch = CommitBatch(
        [Ended(ending, ending.execution, success({})), Guard([starting])], timezone.now()
    )
    inside, out = threading.Event(), threading.Event()
    start_rows = commit._start

    def start_late(batch: CommitBatch, worker_name: str) -> Any:
        # The caller waits first, or the worker does.
        threading.Timer(0.04, out.set).start()
        send(connection, "SELECT pg_sleep(%s)", [pause], len)
        return start_rows(batch, worker_name)

    def other_way_round() -> None:
        with transaction.atomic():
            lock.get(pk=starting.task_id)
            inside.set()
            out.wait(5)
            lock.get(pk=ending.task_id)

    monkeypatch.setattr(commit, "_start", start_late)
    with meanwhile(other_way_round):
        wait_until(inside.is_set)
        with pytest.raises(Locked):
            write(batch, "w1")


def test_a_commit_locks_what_ended_in_the_order_of_ids_as_callers_do(recorder):
    first, second = (start(recorder, submit()) for _ in range(2))
    lock = Task.objects.select_for_update(no_key=True)
    inside, out = threading.Event(), threading.Event()

    def cancel_both() -> None:
        with transaction.atomic():
            lock.get(pk=first.task_id)
            inside.set()
            out.wait(5)
            lock.get(pk=second.task_id)

    with meanwhile(cancel_both):
        wait_until(inside.is_set)
        threading.Timer(0.2, out.set).start()
        write(
            CommitBatch(
                [Ended(one, one.execution, success({})) for one in (second, first)], timezone.now()
            ),
            "w1",
        )

    assert {fresh_of(one).state for one in (first, second)} == {"complete"}


@override_settings(PLUGSPACE_QUEUE={"RELAY_INTERVAL": 0.5})
def test_maintenance_goes_on_while_a_callers_transaction_holds_what_a_sweep_wants(
    processors, crew, redis, until_final
):
    processors("CODE", lambda context: {})
    expired = submit()
    with cut_off():
        unpublished = submit("CODE")
    # Out of the relay's sight until the sweep has begun.
    Task.objects.filter(pk=unpublished.pk).update(state=State.BLOCKED, open_deps=1)
    with locked(MonthlyUsage.objects.all()):
        Task.objects.filter(pk=expired.pk).update(deadline=timezone.now() - timedelta(seconds=1))
        crew("code")
        # Withdrawn, to be ended.
        wait_until(lambda: not redis.exists(f"rq:job:{expired.pk}"))
        Task.objects.filter(pk=unpublished.pk).update(state=State.WAITING)
        # The relay comes to it.
        assert until_final(unpublished, 4).state == "complete"
    wait_until(lambda: fresh(expired).state == "expired")


@contextmanager
def locked(rows: QuerySet[Model]) -> Iterator[None]:
    """Somebody else's transaction holds these rows."""
    inside, out = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            assert list(rows.select_for_update())
            inside.set()
            out.wait(30)

    with meanwhile(hold):
        wait_until(inside.is_set)
        try:
            yield
        finally:
            out.set()
