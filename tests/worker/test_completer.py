"""Rows are written though Redis is away or a listener is slow; the relay does what is left."""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, transaction
from django.utils import timezone
from redis import Redis

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.broker.task_store import Lease, Settlement
from plugspace_queue.domain.enums import EventName, State
from plugspace_queue.models import QueueSettings, Task
from plugspace_queue.processing.execution import Execution
from plugspace_queue.processing.outcome import Failure, failed, success
from plugspace_queue.signals import SIGNALS
from plugspace_queue.worker import completer, templates
from plugspace_queue.worker.commit import CommitBatch, write
from plugspace_queue.worker.completer import Completer, guard_first
from plugspace_queue.worker.state import (
    Announce,
    Ended,
    Guard,
    HeldLease,
    LoopMessage,
    RowMessage,
    Settle,
)
from tests.services.conftest import others, redis_away
from tests.support import patient, wait_until
from tests.worker.conftest import Silent, fresh, meanwhile, submit

__all__ = ["others", "redis_away"]

pytestmark = pytest.mark.usefixtures("acme")


class Writing:
    """A completer as the loop uses it, and what Redis would be told."""

    def __init__(self, dispatch: Callable[[HeldLease, Execution], None]) -> None:
        self.inbox: queue.SimpleQueue[LoopMessage] = queue.SimpleQueue()
        self.told: list[Any] = []
        self.completer = Completer(
            "w1", dispatch=dispatch, sink=Silent(), send=self.told.extend, inbox=self.inbox
        )
        self.completer.follow_up.start()

    def put(self, *messages: RowMessage) -> None:
        self.completer.write(messages)

    def settled(self) -> list[Settlement]:
        """How leases are settled, by the loop and by the thread for what may take long."""
        while not self.inbox.empty():
            self.told += self.inbox.get().messages
        return [one.settlement for one in self.told if isinstance(one, Settle)]

    def stop(self) -> None:
        self.completer.stop()
        self.completer.follow_up.stop()
        self.completer.follow_up.join(timeout=patient(5))
        assert not self.completer.follow_up.is_alive()


@pytest.fixture
def dispatched() -> list[str]:
    """The tasks that were given to a slot."""
    return []


@pytest.fixture
def recorder(dispatched: list[str]) -> Iterator[Writing]:
    def dispatch(held: HeldLease, execution: Execution) -> None:
        if execution.row.project_id == "no slot":
            raise RuntimeError("can't start new thread")
        dispatched.append(held.task_id)

    made = Writing(dispatch)
    yield made
    made.stop()


def test_a_step_released_while_redis_is_away_waits_for_the_relay(recorder, redis_away):
    parent = submit()
    child = submit("DESIGN", depends_on=[parent])
    held = start(recorder, parent)

    redis_away()
    recorder.put(Ended(held, held.execution, success({})))

    wait_until(lambda: fresh(child).state == "waiting")
    other = start(recorder, submit())
    assert fresh_of(other).state == "processing"


def test_an_ending_that_cannot_be_told_keeps_no_other_of_its_commit_from_being_settled(
    recorder, monkeypatch
):
    held = [start(recorder, submit(project_id=name)) for name in ("first", "odd", "last")]
    odd = held[1].task_id
    settlement_of = templates.settlement

    def fail_for_one(one, at):
        if one.held.task_id == odd:
            raise ValueError("nothing can be said of it")
        return settlement_of(one, at)

    monkeypatch.setattr(templates, "settlement", fail_for_one)
    recorder.put(*(Ended(one, one.execution, success({})) for one in held))

    wait_until(lambda: len(recorder.settled()) == len(held))
    assert {one.task_id: one.outcome for one in recorder.settled()} == {
        # Its row is final, which Redis is told by a look at the row.
        one.task_id: "drop" if one.task_id == odd else "ok"
        for one in held
    }
    assert {fresh_of(one).state for one in held} == {"complete"}


def test_a_task_that_finds_no_slot_goes_back_and_the_others_of_its_commit_start(
    recorder, dispatched
):
    tasks = [submit(project_id=name) for name in ("first", "no slot", "last")]
    held = [lease_of(task) for task in tasks]

    recorder.put(Guard(held))

    wait_until(lambda: recorder.settled())
    assert dispatched == [held[0].task_id, held[2].task_id]
    assert [(one.task_id, one.outcome) for one in recorder.settled()] == [(held[1].task_id, "back")]
    assert [fresh(task).state for task in tasks] == ["processing", "waiting", "processing"]


def test_a_late_result_of_a_task_that_was_cancelled_leaves_no_attempt(recorder):
    task = submit()
    held = start(recorder, task)
    # In line as after a reap whose commit is still to come.
    assert queue_manager.cancel(task.pk) == State.CANCELLED

    recorder.put(Ended(held, held.execution, success({})))

    start(recorder, submit())
    assert (fresh(task).state, fresh(task).attempts.count()) == (State.CANCELLED, 0)


def test_a_late_result_in_the_commit_of_the_next_start_leaves_no_attempt(recorder):
    older = start(recorder, submit())
    task = fresh_of(older)
    Task.objects.filter(pk=task.pk).update(state=State.WAITING)
    newer = lease_of(task)

    write(
        CommitBatch([Ended(older, older.execution, success({})), Guard([newer])], timezone.now()),
        "w1",
    )

    row = fresh(task)
    assert (row.state, row.fence) == (State.PROCESSING, newer.lease.fence)
    assert row.attempts.count() == 0


def test_a_slow_listener_holds_up_no_start(recorder):
    gate = threading.Event()

    def wait(**_):
        gate.wait(20)

    first, second = submit(), submit()
    with listening(EventName.STARTED, wait):
        start(recorder, first)
        held = lease_of(second)
        recorder.put(Guard([held]))
        wait_until(lambda: held.execution)
        assert fresh(second).state == "processing"
        gate.set()


def test_an_ending_that_its_row_refuses_is_not_counted(recorder):
    held = start(recorder, submit())
    for count in (1, 2):
        recorder.put(Ended(held, held.execution, success({})))
        wait_until(lambda count=count: len(recorder.settled()) == count)

    # As the loop does when nothing comes.
    recorder.completer.pay()
    assert QueueSettings.objects.get(pk="ARCHITECT").completed == 1


@pytest.mark.postgres
def test_a_start_waits_for_no_disk_while_counts_are_owed(recorder, monkeypatch):
    """Somebody holds the row of the counts: what ends meanwhile is counted later."""
    held = start(recorder, submit())
    alone: list[bool] = []
    inside, out = threading.Event(), threading.Event()

    def look(batch: CommitBatch, worker_name: str) -> None:
        alone.append(bool(batch.guarded) and batch.only_starts and not batch.owed)
        write(batch, worker_name)

    def hold() -> None:
        with transaction.atomic():
            QueueSettings.objects.select_for_update().get(pk="ARCHITECT")
            inside.set()
            out.wait(20)

    monkeypatch.setattr(completer, "write", look)
    with meanwhile(hold):
        wait_until(inside.is_set)
        recorder.put(Ended(held, held.execution, success({})))
        wait_until(lambda: recorder.settled())
        start(recorder, submit())
        out.set()

    assert alone == [False, True]
    recorder.completer.pay()
    assert QueueSettings.objects.get(pk="ARCHITECT").completed == 1


def test_a_start_that_waited_for_its_row_does_not_happen_while_the_worker_ends(
    recorder, dispatched
):
    gate, inside = threading.Event(), threading.Event()

    def wait(**_):
        inside.set()
        gate.wait(20)

    held = lease_of(submit())
    follow_up = recorder.completer.follow_up
    with listening(EventName.STARTED, wait):
        start(recorder, submit())
        wait_until(inside.is_set)
        recorder.completer.backlog.add(Guard([held]))
        recorder.completer.backlog.make_all_due()
        # Nobody would record how an attempt ends that starts from now on.
        follow_up.stop()
        gate.set()
        follow_up.join(timeout=patient(5))

    assert not follow_up.is_alive()
    assert held.task_id not in dispatched
    assert fresh_of(held).state == State.WAITING


def test_a_receiver_that_retries_a_failed_task_keeps_the_tasks_that_wait_for_it(recorder):
    parent = submit(max_retries=0)
    child = submit("DESIGN", depends_on=[parent])
    held = start(recorder, parent)
    failure = Failure(code="VALIDATION_FAILED", message="no", retryable=False)

    def retry(*args: Any, **kwargs: Any) -> None:
        queue_manager.retry(parent.pk, limit_requests=False)

    with listening(EventName.FAILED, retry):
        recorder.put(Ended(held, held.execution, failed(failure)))
        wait_until(lambda: recorder.completer.follow_up.is_idle)

    assert (fresh(parent).state, fresh(child).state) == ("waiting", "blocked")


def test_a_task_does_not_start_again_before_its_ending_is_written(recorder):
    first = start(recorder, submit())
    ended = Ended(first, first.execution, success({}))

    assert guard_first([lease_of(submit())], [ended])
    assert not guard_first([lease_of(fresh_of(first))], [ended])


def test_without_a_database_a_recorder_that_stops_tries_again_in_its_time(recorder, monkeypatch):
    tries = []

    def refuse(batch: CommitBatch, worker_name: str) -> None:
        tries.append(batch)
        raise OperationalError("the database is away")

    guard = Guard([lease_of(submit())])
    monkeypatch.setattr(completer, "write", refuse)
    with meanwhile(lambda: recorder.put(guard)) as writing:
        wait_until(lambda: tries)
        recorder.completer.stop()
        writing.join(timeout=0.5)
        monkeypatch.undo()

    assert len(tries) < 10


def test_an_ending_whose_commit_was_made_but_not_answered_is_told_all_the_same(
    recorder, monkeypatch
):
    held = start(recorder, submit())
    lost: list[CommitBatch] = []

    def lose_answer(batch: CommitBatch, worker_name: str) -> None:
        write(batch, worker_name)
        if batch.completions and not lost:
            lost.append(batch)
            raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(completer, "write", lose_answer)
    recorder.put(Ended(held, held.execution, success({"n": 1})))

    wait_until(lambda: recorder.settled())
    (one,) = recorder.settled()
    row = fresh_of(held)
    assert (row.state, row.attempts.count(), len(lost)) == (State.COMPLETE, 1, 1)
    assert json.loads(one.snapshot)["status"] == "complete"
    assert json.loads(one.event)["name"] == EventName.COMPLETED


@contextmanager
def listening(name: EventName, receiver: Callable[..., None]) -> Iterator[None]:
    SIGNALS[name].connect(receiver)
    try:
        yield
    finally:
        SIGNALS[name].disconnect(receiver)


def fresh_of(held: HeldLease) -> Task:
    """The task of a lease as its row is now."""
    return Task.objects.get(pk=held.task_id)


def test_a_lease_whose_task_does_not_start_is_settled_before_slow_receivers_run(recorder):
    gate, cancelled = threading.Event(), submit()
    Task.objects.filter(pk=cancelled.pk).update(state="cancelled", completed_at=timezone.now())
    useless = lease_of(cancelled)

    with listening(EventName.STARTED, lambda **_: gate.wait(20)):
        try:
            recorder.put(Guard([lease_of(submit()), useless]))
            wait_until(lambda: [one.task_id for one in recorder.settled()] == [useless.task_id])
        finally:
            gate.set()


def test_a_receiver_that_exits_does_not_end_the_follow_up(recorder):
    heard = []

    def exits(task: Task, **_: Any) -> None:
        heard.append(str(task.pk))
        raise SystemExit(3)

    with listening(EventName.STARTED, exits):
        first, second = lease_of(submit()), lease_of(submit())
        recorder.put(Guard([first]))
        wait_until(lambda: heard == [first.task_id])
        recorder.put(Guard([second]))
        wait_until(lambda: heard == [first.task_id, second.task_id])


def test_progress_that_was_reported_before_the_start_is_announced_stays_in_the_copy(recorder):
    held = start(recorder, submit())
    held.execution.add_progress(40.0, "half")

    recorder.completer.announce()

    [announced] = [one for one in recorder.told if isinstance(one, Announce)]
    assert json.loads(announced.notes[0].snapshot)["progress"]["percent"] == 40


def test_a_task_that_ends_before_its_start_is_announced_has_its_events_in_order(
    recorder, redis, others
):
    task = submit("CODE")
    held = HeldLease("code", lease_of(task).lease)
    recorder.put(Guard([held]))
    recorder.put(Ended(held, held.execution, success({"files": []})))
    # The turn after both commits, when the endings' events have been appended.
    wait_until(lambda: "taskCompleted" in event_names(redis))

    recorder.completer.announce()

    assert event_names(redis) == ["taskAdded", "taskStarted", "taskCompleted"]


def event_names(redis: Redis) -> list[str]:
    """The names of all events of the stream, in its order."""
    return [json.loads(fields[b"event"])["name"] for _, fields in redis.xrange(keys.events())]


def start(recorder: Writing, task: Task) -> HeldLease:
    """Have the guard start a task as if it had just been acquired."""
    held = lease_of(task)
    recorder.put(Guard([held]))
    wait_until(lambda: held.execution)
    return held


def lease_of(task: Task) -> HeldLease:
    """As if it had just been acquired."""
    lease = Lease(str(task.pk), time.time_ns() // 1000, "execution", "acme", 2)
    return HeldLease("architect", lease)
