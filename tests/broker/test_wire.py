"""The pump's connection: kept while it is busy, made anew when it broke, never half read."""

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError, TimeoutError

from plugspace_queue.broker import connection, kept_connection, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.broker.kept_connection import Wire
from tests.broker.tools import QUEUE, Line


@pytest.fixture
def kept(line: Line) -> Iterator[Wire]:
    connection.forget_clients()
    made = Wire(client(purpose="worker"))
    yield made
    made.close()
    connection.forget_clients()


def count(kept: Wire) -> Any:
    """One call that any state of the queue answers."""
    (answer,) = kept.run_each([task_store.counts(QUEUE)])
    return answer


def identity(kept: Wire) -> int:
    """The server's number of the connection that the last call went through."""
    kept._connection.send_command("CLIENT", "ID")
    return int(kept._connection.read_response())


def test_calls_that_follow_each_other_share_a_connection(kept: Wire) -> None:
    count(kept)
    first = identity(kept)
    count(kept)

    assert identity(kept) == first


def test_a_script_that_the_server_forgot_is_loaded_again(kept: Wire, redis: Redis) -> None:
    count(kept)
    redis.script_flush()

    assert count(kept) == task_store.Counts(0, 0, 0)


def test_a_refused_call_is_told_in_its_place_and_the_answers_beside_it_are_read(
    kept: Wire,
) -> None:
    wrong = task_store.Call("counts", ("no-queue",), ("code",), lambda reply: reply)

    refused, answer = kept.run_each([wrong, task_store.counts(QUEUE)])

    assert isinstance(refused, RedisError)
    assert answer == task_store.Counts(0, 0, 0)
    assert count(kept) == task_store.Counts(0, 0, 0)


def test_a_connection_that_was_cut_fails_one_call_and_is_made_anew(
    kept: Wire, redis: Redis
) -> None:
    count(kept)
    redis.client_kill_filter(_id=str(identity(kept)))

    with pytest.raises(RedisError):
        count(kept)
    assert count(kept) == task_store.Counts(0, 0, 0)


def test_after_a_rest_a_connection_that_was_cut_meanwhile_fails_no_call(
    kept: Wire, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    count(kept)
    redis.client_kill_filter(_id=str(identity(kept)))
    monkeypatch.setattr(kept_connection, "IDLE", 0.0)

    assert count(kept) == task_store.Counts(0, 0, 0)


def test_an_answer_that_comes_too_late_is_nobody_elses(kept: Wire, redis: Redis) -> None:
    count(kept)
    redis.client_pause(1500)
    with pytest.raises(TimeoutError):
        kept.run_each([task_store.bump_fence(QUEUE, 1)])
    redis.client_unpause()

    assert count(kept) == task_store.Counts(0, 0, 0)
