"""The recorder goes on when Redis is away or a listener is slow; the relay does what is left."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import OperationalError, transaction
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.broker.task_store import Lease, Settlement
from plugspace_queue.domain.enums import EventName, State
from plugspace_queue.models import QueueSettings, Task
from plugspace_queue.processing.outcome import success
from plugspace_queue.processing.run import Run
from plugspace_queue.signals import SIGNALS
from plugspace_queue.worker import closing
from plugspace_queue.worker import recorder as recording
from plugspace_queue.worker.commit import Batch, write
from plugspace_queue.worker.launching import starts_first
from plugspace_queue.worker.messages import Ended, Guard, PumpMessage, Settle, Together
from plugspace_queue.worker.recorder import Recorder
from plugspace_queue.worker.table import Held
from tests.services.conftest import redis_away
from tests.support import patient, wait_until
from tests.worker.conftest import fresh, meanwhile, submit

__all__ = ["redis_away"]

pytestmark = pytest.mark.usefixtures("acme")


class Silent:
    """Takes progress and keeps none of it."""

    def progress(self, run: object) -> None:
        pass


@pytest.fixture
def told() -> list[PumpMessage]:
    """What the pump was told."""
    return []


@pytest.fixture
def dispatched() -> list[str]:
    """The tasks that were given to a slot."""
    return []


@pytest.fixture
def recorder(told: list[PumpMessage], dispatched: list[str]) -> Iterator[Recorder]:
    def dispatch(held: Held, run: Run) -> None:
        if run.task.project_id == "no slot":
            raise RuntimeError("can't start new thread")
        dispatched.append(held.task_id)

    made = Recorder(
        "w1",
        tell=told.append,
        dispatch=dispatch,
        sink=Silent(),
        timeout_of=lambda task: 60.0,
    )
    made.start()
    yield made
    made.stop()
    made.join(timeout=patient(5))
    assert not made.is_alive()


def test_a_step_released_while_redis_is_away_waits_for_the_relay(recorder, redis_away):
    parent = submit()
    child = submit("DESIGN", depends_on=[parent])
    held = start(recorder, parent)

    redis_away()
    recorder.put(Ended(held, held.run, success({})))

    wait_until(lambda: fresh(child).state == "waiting")
    other = start(recorder, submit())
    assert other.run.task.state == "processing"


def test_an_ending_that_cannot_be_told_keeps_no_other_of_its_commit_from_being_settled(
    recorder, told, monkeypatch
):
    held = [start(recorder, submit(project_id=name)) for name in ("first", "odd", "last")]
    odd = held[1].task_id
    settlement_of = closing.settlement_of

    def fail_for_one(one):
        if one.run.task_id == odd:
            raise ValueError("nothing can be said of it")
        return settlement_of(one)

    monkeypatch.setattr(closing, "settlement_of", fail_for_one)
    # One turn, in this thread: its own finds nothing to do meanwhile.
    recorder._turn([Ended(one, one.run, success({})) for one in held])

    wait_until(lambda: len(settled(told)) == len(held))
    assert {one.task_id: one.outcome for one in settled(told)} == {
        # Its row is final, which Redis is told by a look at the row.
        one.task_id: "drop" if one.task_id == odd else "ok"
        for one in held
    }
    assert {fresh(one.run.task).state for one in held} == {"complete"}


def test_a_task_that_finds_no_slot_goes_back_and_the_others_of_its_commit_start(
    recorder, told, dispatched
):
    tasks = [submit(project_id=name) for name in ("first", "no slot", "last")]
    held = [lease_of(task) for task in tasks]

    recorder.put(Guard(held))

    wait_until(lambda: settled(told))
    assert dispatched == [held[0].task_id, held[2].task_id]
    assert [(one.task_id, one.outcome) for one in settled(told)] == [(held[1].task_id, "back")]
    assert [fresh(task).state for task in tasks] == ["processing", "waiting", "processing"]


def test_a_late_result_of_a_task_that_was_cancelled_leaves_no_attempt(recorder):
    task = submit()
    held = start(recorder, task)
    # In line as after a reap whose commit is still to come.
    assert queue_manager.cancel(task.pk) == State.CANCELLED

    recorder.put(Ended(held, held.run, success({})))

    start(recorder, submit())
    assert (fresh(task).state, fresh(task).attempts.count()) == (State.CANCELLED, 0)


def test_a_late_result_in_the_commit_of_the_next_start_leaves_no_attempt(recorder):
    older = start(recorder, submit())
    task = older.run.task
    Task.objects.filter(pk=task.pk).update(state=State.WAITING)
    newer = lease_of(task)

    write(Batch([Ended(older, older.run, success({})), Guard([newer])], timezone.now()), "w1")

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
        wait_until(lambda: held.run)
        assert fresh(second).state == "processing"
        gate.set()


def test_an_ending_that_its_row_refuses_is_not_counted(recorder, told):
    held = start(recorder, submit())
    for count in (1, 2):
        recorder.put(Ended(held, held.run, success({})))
        wait_until(lambda count=count: len(settled(told)) == count)

    wait_until(lambda: QueueSettings.objects.get(pk="ARCHITECT").completed == 1)


@pytest.mark.postgres
def test_a_start_waits_for_no_disk_while_counts_are_owed(recorder, told, monkeypatch):
    """Somebody holds the row of the counts: what ends meanwhile is counted later."""
    held = start(recorder, submit())
    alone: list[bool] = []
    inside, out = threading.Event(), threading.Event()

    def look(batch: Batch, worker_name: str) -> None:
        alone.append(bool(batch.guarded) and batch.only_starts and not batch.owed)
        write(batch, worker_name)

    def hold() -> None:
        with transaction.atomic():
            QueueSettings.objects.select_for_update().get(pk="ARCHITECT")
            inside.set()
            out.wait(20)

    monkeypatch.setattr(recording, "write", look)
    with meanwhile(hold):
        wait_until(inside.is_set)
        recorder.put(Ended(held, held.run, success({})))
        wait_until(lambda: settled(told))
        start(recorder, submit())
        out.set()

    assert alone == [False, True]
    wait_until(lambda: QueueSettings.objects.get(pk="ARCHITECT").completed == 1)


def test_starts_are_written_first_and_apart(recorder):
    ended = Ended(held := start(recorder, submit()), held.run, success({}))
    guard, another = Guard([lease_of(submit())]), Guard([lease_of(submit())])

    assert starts_first([ended, guard, another]) == [[guard, another], [ended]]
    assert starts_first([guard]) == [[guard]]
    assert starts_first([ended]) == [[ended]]


def test_a_task_does_not_start_again_before_its_ending_is_written(recorder):
    first = start(recorder, submit())
    ended, again = Ended(first, first.run, success({})), Guard([lease_of(first.run.task)])

    assert starts_first([ended, again]) == [[ended, again]]


def test_without_a_database_a_recorder_that_stops_tries_again_in_its_time(recorder, monkeypatch):
    tries = []

    def refuse(batch: Batch, worker_name: str) -> None:
        tries.append(batch)
        raise OperationalError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(recording, "write", refuse)
        recorder.put(Guard([lease_of(submit())]))
        wait_until(lambda: tries)
        recorder.stop()
        recorder.join(timeout=0.5)

    assert len(tries) < 10


def test_an_ending_whose_commit_was_made_but_not_answered_is_told_all_the_same(
    recorder, told, monkeypatch
):
    held = start(recorder, submit())
    lost: list[Batch] = []

    def lose_answer(batch: Batch, worker_name: str) -> None:
        write(batch, worker_name)
        if batch.closings and not lost:
            lost.append(batch)
            raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(recording, "write", lose_answer)
    recorder.put(Ended(held, held.run, success({"n": 1})))

    wait_until(lambda: settled(told))
    (one,) = settled(told)
    row = fresh(held.run.task)
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


def settled(told: list[PumpMessage]) -> list[Settlement]:
    together = [message for message in told if isinstance(message, Together)]
    parts = [part for message in together for part in message.messages]
    return [part.settlement for part in parts if isinstance(part, Settle)]


def start(recorder: Recorder, task: Task) -> Held:
    """Have the guard start a task as if it had just been acquired."""
    held = lease_of(task)
    recorder.put(Guard([held]))
    wait_until(lambda: held.run)
    return held


def lease_of(task: Task) -> Held:
    """As if it had just been acquired."""
    lease = Lease(str(task.pk), time.time_ns() // 1000, "execution", "acme", 2)
    return Held("architect", lease)
