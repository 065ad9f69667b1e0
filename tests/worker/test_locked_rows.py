"""Rows that somebody else's transaction holds: the recorder and its follower do not wait long."""

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
from plugspace_queue.processing.outcome import handed_back, success
from plugspace_queue.processing.run import Run
from plugspace_queue.worker import aside, commit
from plugspace_queue.worker.commit import Batch, Locked, write
from plugspace_queue.worker.messages import Ended, Guard
from plugspace_queue.worker.recorder import Recorder
from plugspace_queue.worker.table import Held
from tests.support import patient, took, wait_until
from tests.worker.conftest import fresh, meanwhile, submit
from tests.worker.test_recorder import (
    Silent,
    dispatched,
    lease_of,
    recorder,
    settled,
    start,
    told,
)

__all__ = ["dispatched", "recorder", "told"]

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.postgres]


def test_what_waited_aside_and_starts_while_the_worker_stops_goes_back(told, monkeypatch):
    # It is not due before the end.
    monkeypatch.setattr(aside, "FIRST_PAUSE", 60.0)
    task = submit()
    held = lease_of(task)

    def hand_back(held: Held, run: Run) -> None:
        # As the crew does when it stops.
        stopping.put(Ended(held, run, handed_back(run.task)))

    stopping = Recorder(
        "w1", tell=told.append, dispatch=hand_back, sink=Silent(), timeout_of=lambda task: 60.0
    )
    stopping.start()
    with locked(Task.objects.filter(pk=task.pk)):
        stopping.put(Guard([held]))
        wait_until(lambda: stopping._aside.patience() is not None)
    stopping.stop()
    stopping.join(timeout=patient(5))

    assert (fresh(task).state, fresh(task).attempts.count()) == (State.WAITING, 1)
    assert [(one.task_id, one.outcome) for one in settled(told)] == [(held.task_id, "back")]


@pytest.mark.timed
def test_verdicts_that_wait_for_a_row_hold_up_no_start(recorder, told):
    tasks = [submit() for _ in range(4)]
    Task.objects.filter(pk__in=[one.pk for one in tasks]).update(cancel_requested_at=timezone.now())
    other = lease_of(submit())

    # As a caller's long transaction that submits: no refund of acme gets through.
    with locked(MonthlyUsage.objects.all()):
        # One turn, in this thread: a commit of their own.
        recorder._turn([Guard([lease_of(one) for one in tasks])])
        recorder.put(Guard([other]))
        began = time.monotonic()
        wait_until(lambda: other.run, 10)
        took(time.monotonic() - began, 1.0, "a start beside verdicts that wait for a row")
        wait_until(lambda: len(settled(told)) == len(tasks))
    assert {one.outcome for one in settled(told)} == {"back"}


@pytest.mark.parametrize("pause", [0.08, 0.0])
def test_in_a_deadlock_with_a_caller_it_is_the_worker_that_gives_way(recorder, monkeypatch, pause):
    ending, starting = start(recorder, submit()), lease_of(submit())
    lock = Task.objects.select_for_update(no_key=True)
    batch = Batch([Ended(ending, ending.run, success({})), Guard([starting])], timezone.now())
    inside, out = threading.Event(), threading.Event()
    start_rows = commit._start

    def start_late(batch: Batch, worker_name: str) -> Any:
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
            Batch([Ended(one, one.run, success({})) for one in (second, first)], timezone.now()),
            "w1",
        )

    assert {fresh(one.run.task).state for one in (first, second)} == {"complete"}


@override_settings(PLUGSPACE_QUEUE={"RELAY_INTERVAL": 0.5})
def test_upkeep_goes_on_while_a_callers_transaction_holds_what_a_sweep_wants(
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
