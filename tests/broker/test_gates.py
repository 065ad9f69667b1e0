"""Gates: pause, concurrency, limiter, caps; shut gates burn nothing, open ones wake a worker."""

from typing import Any

import pytest

from plugspace_queue.broker import keys, task_store
from tests.broker.tools import QUEUE, Line
from tests.support import wait_until


def test_a_paused_queue_grants_nothing_and_wakes_a_worker_when_it_goes_on(line: Line) -> None:
    line.configure(paused=True)
    line.submit("a")
    assert not line.is_marked()

    grant = line.acquire()
    line.configure(paused=False)

    assert (grant.status, grant.retry_ms, grant.leases) == ("paused", 0, [])
    assert line.is_marked()
    assert line.take() == ["a"]


def test_a_paused_organization_waits_and_the_others_go_on(line: Line) -> None:
    line.submit("a1", "a2", organization_id="a")
    line.submit("b1", organization_id="b")
    line.pause_organization("a")
    assert line.redis.zcard(keys.parked(QUEUE)) == 1

    assert line.take(5) == ["b1"]
    line.submit("a3", organization_id="a")
    line.submit("a0", band=0, organization_id="a")
    assert line.take(5) == []
    line.check()

    line.unmark()
    line.pause_organization("a", False)
    assert line.is_marked()
    assert line.take(5) == ["a0", "a1", "a2", "a3"]


def test_a_pause_holds_in_queues_that_were_not_told(line: Line) -> None:
    line.submit("a1", organization_id="a")
    Line(line.redis, "design").pause_organization("a")

    assert line.take() == []
    line.pause_organization("a", False)
    assert line.take() == ["a1"]


def test_ending_an_attempt_does_not_let_a_paused_organization_go_on(line: Line) -> None:
    line.submit("a1", "a2", organization_id="a")
    lease = line.acquire().leases[0]
    line.pause_organization("a")

    line.settle(lease)

    assert line.take() == []
    line.check()


def test_the_queue_never_runs_more_than_its_concurrency(line: Line) -> None:
    line.configure(concurrency=3)
    line.submit(*[f"t{n}" for n in range(6)])
    grant = line.acquire(5)
    assert len(grant.leases) == 3
    assert line.acquire(5).status == "full"

    line.unmark()
    line.settle(grant.leases[0])

    assert line.is_marked()
    assert len(line.take(5)) == 1


def test_the_limiter_counts_starts_in_any_window(line: Line) -> None:
    line.configure(limiter_max=3, limiter_ms=300)
    line.submit(*[f"t{n}" for n in range(8)])

    first = line.acquire(5)
    held = line.acquire(5)

    assert len(first.leases) == 3
    assert 0 < first.retry_ms <= 300
    assert (held.status, held.leases) == ("limited", [])
    assert 0 < held.retry_ms <= 300
    assert len(wait_until(lambda: line.take(5))) == 3
    assert line.redis.llen(keys.limiter(QUEUE)) == 3


def test_a_limited_queue_without_tasks_is_just_empty(line: Line) -> None:
    line.configure(limiter_max=1)
    line.submit("a")
    line.take()

    assert line.acquire().status == "empty"


def test_a_lower_limit_counts_the_starts_of_before(line: Line) -> None:
    line.submit(*[f"t{n}" for n in range(6)])
    line.configure(limiter_max=4)
    line.take(4)

    line.configure(limiter_max=2)

    assert line.acquire().status == "limited"
    line.configure(limiter_max=0)
    assert len(line.take(5)) == 2


def test_an_organization_never_runs_more_than_its_cap(line: Line) -> None:
    line.configure(organization_cap=2)
    line.submit(*[f"a{n}" for n in range(5)], organization_id="a")
    line.submit("a-high", band=0, organization_id="a")
    line.submit("b0", organization_id="b")
    grant = line.acquire(7)
    assert [lease.task_id for lease in grant.leases] == ["a-high", "a0", "b0"]
    line.check()

    line.unmark()
    line.settle(grant.leases[0])

    assert line.is_marked()
    assert line.take(7) == ["a1"]
    line.check()


def test_a_higher_cap_lets_parked_lanes_go_on(line: Line) -> None:
    line.configure(organization_cap=1)
    line.submit("a0", "a1", organization_id="a")
    line.take(2)
    line.take(2)
    line.unmark()

    line.configure(organization_cap=2)

    assert line.is_marked()
    assert line.take(2) == ["a1"]


def test_a_lane_that_was_held_does_not_catch_up_on_the_others(line: Line) -> None:
    line.submit(*[f"a{n}" for n in range(9)], organization_id="a")
    line.submit(*[f"b{n}" for n in range(9)], organization_id="b")
    line.pause_organization("a")
    line.take(5)
    line.pause_organization("a", False)

    assert sum(task_id.startswith("a") for task_id in line.take(8)) <= 5


def test_more_held_lanes_than_one_call_passes_are_passed_by_the_next(line: Line) -> None:
    for number in range(250):
        line.submit(f"t{number:03}", organization_id=f"o{number:03}")
    line.redis.sadd(keys.paused_organizations(), *[f"o{n:03}" for n in range(240)])

    first, second = line.acquire(20), line.acquire(20)

    assert first.leases == []
    assert line.redis.zcard(keys.parked(QUEUE)) == 240
    assert len(second.leases) == 10


def test_a_worker_is_woken_for_what_another_one_left(line: Line) -> None:
    line.submit("a", "b")
    assert line.is_marked()
    line.unmark()

    line.take(1)
    assert line.is_marked()
    line.unmark()

    line.take(1)
    assert not line.is_marked()


def test_a_delayed_task_starts_when_it_is_due(line: Line) -> None:
    line.submit("later", due_ms=line.now_ms() + 150)
    assert line.is_marked()
    line.unmark()

    grant = line.acquire()
    assert grant.leases == []
    assert 0 < grant.retry_ms <= 150

    assert wait_until(line.take) == ["later"]
    line.check()


def test_only_an_earlier_due_time_wakes_a_worker(line: Line) -> None:
    now = line.now_ms()
    line.submit("first", due_ms=now + 60_000)
    line.unmark()

    line.submit("second", due_ms=now + 90_000)
    assert not line.is_marked()
    line.submit("third", due_ms=now + 30_000)
    assert line.is_marked()


def test_due_tasks_come_in_by_hundreds_until_none_is_left(line: Line) -> None:
    due = line.now_ms() + 60_000
    for number in range(0, 250, 50):
        line.submit(*[f"t{n}" for n in range(number, number + 50)], due_ms=due)
    for task_id in [f"t{n}" for n in range(250)]:
        line.make_due(task_id)

    assert line.acquire(1).retry_ms == 1
    line.tick()
    line.tick()

    assert line.run(task_store.counts(QUEUE)) == task_store.Counts(waiting=249, active=1, delayed=0)
    line.check()


def test_what_is_due_comes_into_line_though_the_queue_is_paused(line: Line) -> None:
    line.submit("due", "too")
    line.submit("later", due_ms=line.now_ms() + 60_000)
    line.submit("now", due_ms=line.now_ms() + 90_000)
    line.configure(paused=True)
    line.make_due("now")

    next_ms, foreign = line.run(task_store.promote_due(QUEUE))

    assert line.waits() == ["due", "too", "now"]
    assert 50_000 < next_ms <= 60_000
    assert foreign == []
    line.check()


@pytest.mark.parametrize("window_ms", [60_000])
def test_a_full_window_refuses_the_next_request(line: Line, window_ms: int) -> None:
    hits = [line.run(task_store.hit_request_window("acme", 2, window_ms)) for _ in range(3)]

    assert [(hit.allowed, hit.used) for hit in hits] == [(True, 1), (True, 2), (False, 2)]
    assert all(0 < hit.reset_ms <= window_ms for hit in hits)
    assert line.redis.get(keys.ratelimit("acme")) == b"2"


def test_a_window_opens_again_and_one_without_an_end_is_repaired(line: Line) -> None:
    line.run(task_store.hit_request_window("acme", 1, 50))
    wait_until(lambda: line.run(task_store.hit_request_window("acme", 1, 50)).allowed)

    line.redis.set(keys.ratelimit("beta"), 5)
    hit = line.run(task_store.hit_request_window("beta", 5, 60_000))

    assert not hit.allowed
    assert 0 < line.redis.pttl(keys.ratelimit("beta")) <= 60_000


def test_a_limit_of_nothing_refuses_everything(line: Line) -> None:
    hit = line.run(task_store.hit_request_window("acme", 0, 1000))

    assert (hit.allowed, hit.used, hit.reset_ms) == (False, 0, 1000)


def test_an_older_count_never_overwrites_a_newer_one(line: Line) -> None:
    account = ("acme", "CODE", "2026-01")
    key = keys.usage(*account)

    assert line.run(task_store.mirror_usage(account, 2, version=7)) is True
    assert line.run(task_store.mirror_usage(account, 1, version=6)) is False
    assert line.redis.get(key) == b"2"
    ttls = [line.redis.ttl(name) for name in (key, keys.usage_version(*account))]
    assert all(61 * 86_400 < ttl <= 62 * 86_400 for ttl in ttls)

    line.redis.delete(key)
    assert line.run(task_store.mirror_usage(account, 1, version=6)) is True


def test_a_server_that_lost_its_data_grants_nothing(line: Line) -> None:
    line.redis.flushall()
    line.submit("a")

    grant = line.acquire()

    assert (grant.status, grant.retry_ms, grant.leases) == ("unconfigured", 250, [])


def test_a_tick_wakes_a_worker_for_what_waits_behind_open_gates(line: Line) -> None:
    line.submit("a", "b")
    line.unmark()

    line.tick()

    assert line.is_marked()


@pytest.mark.parametrize(
    "gates", [{"paused": True}, {"concurrency": 1}, {"limiter_max": 1}], ids=str
)
def test_a_tick_wakes_nobody_for_a_gate_that_is_shut(line: Line, gates: dict[str, Any]) -> None:
    line.configure(**{"limiter_max": 1} | gates)
    line.submit("a", "b")
    line.acquire()
    line.configure(**gates)
    line.unmark()

    line.tick()

    assert not line.is_marked()


def test_older_gates_never_win_over_newer_ones(line: Line) -> None:
    line.configure(paused=True, version=2)

    line.configure(paused=False, version=1)
    assert line.acquire().status == "paused"

    line.configure(paused=False, version=2)
    assert line.acquire().status == "empty"
