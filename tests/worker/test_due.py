"""A worker lets delayed tasks in at their time, whatever else keeps it."""

import pytest
from redis import Redis

from plugspace_queue.worker.leases import SPACING, DelayedPromoter
from tests.broker.tools import Line
from tests.support import wait_until

LONG = 60.0


def told(due: DelayedPromoter, line: Line) -> None:
    """What the next tick says."""
    due.set(line.queue, line.tick().due_ms)


def delay(line: Line, count: int, ms: int) -> None:
    moment = line.now_ms() + ms
    for first in range(0, count, 50):
        line.submit(*[f"{ms}-{first + n}" for n in range(50)], due_ms=moment)


@pytest.mark.slow
def test_all_that_is_due_comes_in_and_the_next_time_is_known(redis: Redis) -> None:
    line, due = Line(redis), DelayedPromoter(redis)
    # Not so soon that a busy machine lets them in before it is told of them.
    delay(line, 350, 2_000)
    delay(line, 50, 30_000)
    told(due, line)
    assert 0 < due.within(LONG) <= 2

    wait_until(lambda: not due.within(LONG))
    due.promote_due()

    assert redis.zcard(line.rq("scheduled")) == 50
    assert len(line.waits()) == 350
    assert 25 < due.within(LONG) <= 30
    line.check()


def test_each_queue_has_its_own_time(redis: Redis) -> None:
    one, other, due = Line(redis), Line(redis, "design"), DelayedPromoter(redis)
    delay(one, 50, 20_000)
    delay(other, 50, 10_000)
    told(due, one)
    told(due, other)
    assert 5 < due.within(LONG) <= 10

    redis.delete(other.rq("scheduled"))
    told(due, other)

    assert 15 < due.within(LONG) <= 20


def test_nothing_delayed_is_nothing_to_wake_for(redis: Redis) -> None:
    line, due = Line(redis), DelayedPromoter(redis)
    told(due, line)

    due.promote_due()

    assert due.within(LONG) == LONG


def test_many_times_in_a_row_are_one_look_at_a_time(redis: Redis) -> None:
    due = DelayedPromoter(redis)

    due.set("code", 1)

    assert SPACING / 2 < due.within(LONG) <= SPACING


@pytest.mark.slow
def test_while_redis_is_away_nothing_is_asked_again_until_a_tick_tells() -> None:
    with Redis(unix_socket_path="/nowhere/redis.sock") as away:
        due = DelayedPromoter(away)
        due.set("code", 1)
        due.set("design", 1)
        wait_until(lambda: not due.within(LONG))

        due.promote_due()

        assert due.within(LONG) == LONG


def test_the_order_is_that_of_the_due_times(redis: Redis) -> None:
    line, due = Line(redis), DelayedPromoter(redis)
    now = line.now_ms()
    line.submit("second", due_ms=now + 1_010)
    line.submit("first", due_ms=now + 1_000)
    told(due, line)

    wait_until(lambda: not due.within(LONG))
    due.promote_due()
    wait_until(lambda: not due.within(LONG) or due.within(LONG) == LONG)
    due.promote_due()

    assert line.waits() == ["first", "second"]
