"""What a call did is what its caller is told, whatever others do in the middle of it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections
from redis import Redis

from plugspace_queue import errors, processor, queue_manager, signals
from plugspace_queue.broker import keys, scripts
from plugspace_queue.broker.scripts import Call, Command, Reading
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Task
from tests.factories import arguments, make_organization
from tests.support import patient

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def acme() -> None:
    make_organization()


def in_a_thread(call: Callable[[], Any]) -> Any:
    """Call it on connections of its own; what it returned."""
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append(call())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=patient(20))
    assert not thread.is_alive()
    return answers[0]


@contextmanager
def once_after(words: str, act: Callable[[], object]) -> Iterator[list[str]]:
    """Act when this thread has sent its first UPDATE that holds these words."""
    met: list[str] = []

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        answer = execute(sql, params, many, context)
        if not met and sql.startswith("UPDATE") and words in sql:
            met.append(sql)
            act()
        return answer

    with connection.execute_wrapper(wrapper):
        yield met


def test_a_cancel_that_somebody_else_finishes_after_its_mark_is_told_as_cancelled(acme):
    task = queue_manager.add_task(**arguments())

    # The other one does what upkeep does with a marked row: it ends it before it is read again.
    with once_after("cancel_requested_at", lambda: in_a_thread(lambda: other(task))) as met:
        answer = queue_manager.cancel(task.pk)

    assert met
    assert answer == State.CANCELLED
    with pytest.raises(errors.InvalidState):
        queue_manager.cancel(task.pk)


def other(task: Task) -> State:
    return queue_manager.cancel(task.pk)


def test_a_cancel_that_came_too_late_for_a_task_that_expired_says_so(acme):
    task = queue_manager.add_task(**arguments())

    def expire() -> None:
        Task.objects.move(task.pk, State.WAITING, State.EXPIRED, completed_at=task.queued_at)

    with (
        once_after("cancel_requested_at", lambda: in_a_thread(expire)),
        pytest.raises(errors.InvalidState, match="expired"),
    ):
        queue_manager.cancel(task.pk)


def test_what_fails_after_the_commit_of_a_cancel_is_logged_and_no_error_of_the_caller(
    acme, caplog, monkeypatch: pytest.MonkeyPatch
):
    parent = queue_manager.add_task(**arguments())
    child = queue_manager.add_task(**arguments(type="DESIGN", depends_on=[parent]))

    def fail(*args: object, **kwargs: object) -> None:
        raise LookupError("nobody expects it")

    # A blocked task is in no line: Redis is asked after the commit only.
    monkeypatch.setattr(Reading, "replies", fail)
    assert queue_manager.cancel(child.pk) == State.CANCELLED

    told = [record.getMessage() for record in caplog.records]
    assert any("on_commit" in words and "_withdraw_after_commit" in words for words in told), told


def test_a_cancel_is_done_where_the_line_of_its_queue_is_damaged(acme, redis: Redis):
    parent = queue_manager.add_task(**arguments())
    child = queue_manager.add_task(**arguments(type="DESIGN", depends_on=[parent]))
    redis.set(keys.idx("design"), "x")

    assert queue_manager.cancel(child.pk) == State.CANCELLED


class Receiver:
    """A receiver of signals without a name."""

    def __call__(self, **kwargs: Any) -> None:
        raise LookupError("a receiver's own trouble")


def named(wanted: str, **kwargs: Any) -> None:
    raise LookupError(wanted)


@pytest.mark.parametrize("receiver", [partial(named, "a receiver's own trouble"), Receiver()])
def test_a_receiver_without_a_name_that_raises_keeps_no_other_from_its_signal(
    acme, caplog, receiver
):
    heard: list[str] = []

    def last(payload: dict[str, Any], **kwargs: Any) -> None:
        heard.append(payload["jobId"])

    signals.task_added.connect(receiver)
    signals.task_added.connect(last)
    try:
        task = queue_manager.add_task(**arguments())
    finally:
        signals.task_added.disconnect(receiver)
        signals.task_added.disconnect(last)

    assert heard == [str(task.pk)]
    (record,) = [one for one in caplog.records if "a receiver's own trouble" in str(one.exc_info)]
    assert record.name == "plugspace_queue.events"
    assert not [one for one in caplog.records if "on_commit" in one.getMessage()]


def work(site: str, context: Any) -> Any:
    return {"site": site}


def test_a_second_registration_beside_a_partial_names_the_function_inside(acme):
    processor("EXPORT", output=Any, replace=True)(partial(work, "a"))

    with pytest.raises(errors.ProcessorConflict, match=r"test_said_so\.work"):
        queue_manager.register_worker("EXPORT", partial(work, "b"))


@pytest.mark.slow
def test_scripts_that_are_flushed_again_and_again_reach_no_caller_as_an_error(acme, redis: Redis):
    over = threading.Event()

    def flush() -> None:
        while not over.is_set():
            pipe = redis.pipeline(transaction=False)
            for _ in range(20):
                pipe.script_flush()
            pipe.execute()

    flushers = [threading.Thread(target=flush) for _ in range(2)]
    for thread in flushers:
        thread.start()
    try:
        tasks = [queue_manager.add_task(**arguments(limit_requests=False)) for _ in range(40)]
        states = [queue_manager.cancel(task.pk) for task in tasks[:20]]
    finally:
        over.set()
        for thread in flushers:
            thread.join(timeout=patient(10))

    assert states == [State.CANCELLED] * 20
    assert redis.llen(keys.wait("architect")) == 20


def test_a_server_that_forgets_its_scripts_before_each_round_trip_runs_them_all_the_same(
    redis: Redis,
):
    def send(commands: list[Command]) -> list[Any]:
        redis.script_flush()
        pipe = redis.pipeline(transaction=False)
        for command in commands:
            # Between two commands of one pipeline as well.
            pipe.execute_command(*command)
            pipe.script_flush()
        return pipe.execute(raise_on_error=False)[::2]

    calls = [Call("lock", (f"plugspace:lock:{n}",), ("me", 1000), int) for n in range(2)]

    assert scripts.answers(send, calls) == [1, 1]  # type: ignore[arg-type]
