"""Settle and tick: an attempt has one owner and one end; what is lost runs again, in front."""

import json

import pytest
from redis.exceptions import ResponseError

from plugspace_queue.broker import keys, task_store
from tests.broker.tools import QUEUE, WORKER, Line, texts


def test_a_finished_attempt_leaves_its_result_and_nothing_of_its_run(line: Line) -> None:
    line.submit("a")
    lease = line.acquire().leases[0]

    assert line.settle(lease, result='{"x": []}', snapshot="{}", snapshot_ttl=60, event='{"e": 1}')

    assert line.redis.get(keys.result("a", "CODE")) == b'{"x": []}'
    assert line.redis.get(keys.task("a")) == b"{}"
    assert 0 < line.redis.ttl(keys.task("a")) <= 60
    assert line.redis.hget(keys.meta(QUEUE), "completed") == b"1"
    assert line.redis.xrange(keys.events())[0][1] == {b"event": b'{"e": 1}'}
    assert line.places("a") == ["absent"]
    line.check()


@pytest.mark.parametrize("outcome", ["ok", "fail", "retry", "back", "stopped", "drop"])
def test_a_token_that_no_longer_owns_the_task_writes_nothing(line: Line, outcome: str) -> None:
    line.submit("a")
    old = line.acquire().leases[0]
    line.expire_lease("a")
    line.tick(worker="other", reap=True)
    new = line.acquire(worker="other").leases[0]
    before = {key: line.redis.dump(key) for key in texts(line.redis.keys())}

    assert line.settle(old, outcome, result="1", snapshot="{}", event="{}") is False
    assert {key: line.redis.dump(key) for key in texts(line.redis.keys())} == before

    assert line.settle(new) is True
    assert line.settle(new) is False


def test_one_wrong_settlement_leaves_the_whole_call_unwritten(line: Line) -> None:
    line.submit("a", "b")
    first, second = line.acquire(2).leases
    settlements = [
        task_store.Settlement(task_id=first.task_id, fence=first.fence, outcome="ok"),
        task_store.Settlement(task_id=second.task_id, fence=second.fence, outcome="eh"),  # type: ignore
    ]

    with pytest.raises(ResponseError, match="attempt 1 is not valid"):
        line.run(task_store.settle(QUEUE, settlements))

    assert line.runs() == ["a", "b"]


def test_handing_back_puts_a_task_to_the_front_of_its_lane(line: Line) -> None:
    line.submit("a", "b", "c")
    lease = line.acquire().leases[0]

    line.settle(lease, "back")

    assert line.lanes() == {"2:acme": ["a", "b", "c"]}
    assert line.is_marked()
    assert line.redis.hget(keys.meta(QUEUE), "failed") is None
    line.check()


def test_a_retry_waits_for_its_time_and_then_goes_first(line: Line) -> None:
    line.submit("a", "b", "c")
    lease = line.acquire().leases[0]
    line.unmark()

    line.settle(lease, "retry", due_ms=line.now_ms() + 60_000)

    assert line.places("a") == ["delayed"]
    assert line.is_marked()
    line.make_due("a")
    assert line.take(2) == ["a", "b"]
    line.check()


def test_a_retry_without_a_time_goes_at_once(line: Line) -> None:
    line.submit("a", "b")

    line.settle(line.acquire().leases[0], "retry")

    assert line.take() == ["a"]


def test_failures_and_completions_are_counted_unless_told_otherwise(line: Line) -> None:
    line.submit("a", "b", "c", "d")
    ok, fail, uncounted, stopped = line.acquire(4).leases

    line.settle(ok)
    line.settle(fail, "fail", error="it broke")
    line.settle(uncounted, "fail", counted=False)
    line.settle(stopped, "stopped")

    meta = line.redis.hgetall(keys.meta(QUEUE))
    assert (meta[b"completed"], meta[b"failed"]) == (b"1", b"1")


def test_a_dropped_task_is_forgotten_everywhere(line: Line) -> None:
    line.submit("a")

    line.settle(line.acquire().leases[0], "drop")

    left = set(texts(line.redis.keys("*:a*")))
    assert left == {keys.task("a")} | {key for key in left if "org:" in key}
    line.check()


def test_a_tick_renews_what_is_held_and_names_what_is_lost(line: Line) -> None:
    line.submit("a", "b", "c")
    a, b, c = line.acquire(3).leases
    line.settle(b)
    line.expire_lease("a")

    tick = line.tick([a, b, c], lease_ms=50_000)

    assert tick == task_store.Tick(lost=["b"], reaped=[], handed_back=[], foreign=[], due_ms=0)
    assert line.redis.zscore(keys.lease(QUEUE), "a") > line.now_ms() + 40_000


def test_an_expired_lease_of_mine_is_renewed_before_it_is_reaped(line: Line) -> None:
    line.submit("a")
    lease = line.acquire().leases[0]
    line.expire_lease("a")

    tick = line.tick([lease], reap=True)

    assert (tick.lost, tick.reaped) == ([], [])
    assert line.runs() == ["a"]


def test_the_task_of_a_dead_worker_goes_to_the_front_of_its_lane(line: Line) -> None:
    line.submit("a", "b")
    lease = line.acquire().leases[0]
    line.expire_lease("a")
    assert line.tick(worker="other").reaped == []
    line.unmark()

    tick = line.tick(worker="other", reap=True)

    assert tick.reaped == [task_store.Reaped("a", lease.fence, WORKER)]
    assert line.is_marked()
    assert line.take(2, worker="other") == ["a", "b"]
    assert line.tick([lease]).lost == ["a"]
    line.check()


def test_a_hundred_leases_are_reaped_at_a_time(line: Line) -> None:
    line.submit(*[f"t{n}" for n in range(120)])
    for _ in range(8):
        line.acquire(16)
    for task_id in line.runs():
        line.expire_lease(task_id)

    assert [len(line.tick(worker="other", reap=True).reaped) for _ in range(3)] == [100, 20, 0]
    line.check()


def test_a_grant_whose_answer_was_lost_is_handed_back_uncounted(line: Line) -> None:
    line.submit("a", "b")
    line.acquire()
    known = line.acquire().leases

    assert line.tick(known).handed_back == []
    line.redis.zincrby(keys.lease(QUEUE), -2500, "a")
    line.redis.zincrby(keys.lease(QUEUE), -2500, "b")
    tick = line.tick(known)

    assert tick.handed_back == ["a"]
    assert line.lanes() == {"2:acme": ["a"]}
    line.check()


def test_a_worker_hands_back_only_what_is_its_own(line: Line) -> None:
    line.submit("a")
    line.acquire(worker="other")
    line.redis.zincrby(keys.lease(QUEUE), -5000, "a")

    assert line.tick().handed_back == []


def test_news_of_a_running_task_are_told_and_late_ones_undo_nothing(line: Line) -> None:
    line.submit("a")
    lease = line.acquire().leases[0]
    line.run(task_store.announce(QUEUE, [task_store.Note("a", '{"progress": 1}', '{"e": 1}')]))
    assert line.redis.get(keys.task("a")) == b'{"progress": 1}'

    line.settle(lease, snapshot='{"end": true}', snapshot_ttl=60)
    line.run(
        task_store.announce(QUEUE, [task_store.Note("a", '{"progress": 2}'), task_store.Note("a")])
    )

    assert line.redis.get(keys.task("a")) == b'{"end": true}'
    assert line.redis.xlen(keys.events()) == 1


def test_news_of_an_attempt_that_lost_its_lease_tell_nothing_of_the_next_one(line: Line) -> None:
    line.submit("a")
    old = line.acquire().leases[0]
    line.expire_lease("a")
    line.tick(worker="other", reap=True)
    new = line.acquire(worker="other").leases[0]
    notes = [
        task_store.Note(
            "a", f'{{"attempt": {n}}}', f'{{"e": {n}}}', fence=lease.fence, is_bound=True
        )
        for n, lease in ((2, new), (1, old))
    ]

    line.run(task_store.announce(QUEUE, notes))

    assert line.redis.get(keys.task("a")) == b'{"attempt": 2}'
    assert [fields for _, fields in line.redis.xrange(keys.events())] == [{b"event": b'{"e": 2}'}]


def test_finish_tags_that_say_nothing_any_more_are_trimmed(line: Line) -> None:
    for number in range(5):
        line.submit(f"t{number}", organization_id=f"o{number}")
    line.submit("x0", "x1", "x2", organization_id="x")
    line.take(8)
    assert line.redis.zcard(keys.finished_tags(QUEUE, 2)) == 6

    line.tick()

    assert line.redis.zcard(keys.finished_tags(QUEUE, 2)) == 1


def test_an_id_that_rq_pushed_is_adopted_once(line: Line) -> None:
    line.submit("ended")
    line.settle(line.acquire().leases[0], "fail", error="x")
    line.submit("waits")
    assert line.redis.zcard(line.rq("failed")) == 1
    for task_id in ("ended", "waits"):
        line.redis.rpush(line.rq("queue"), task_id)
    assert line.places("ended") == ["waiting"]

    assert line.tick().foreign == []

    assert line.waits() == ["waits", "ended"]
    assert line.redis.zcard(line.rq("failed")) == 0
    assert line.redis.ttl(line.rq("job", "ended")) == -1
    line.check()


def test_a_pushed_id_can_be_withdrawn_before_anybody_saw_it(line: Line) -> None:
    line.submit("ended")
    line.settle(line.acquire().leases[0], "fail")
    line.redis.rpush(line.rq("queue"), "ended")

    assert line.run(task_store.withdraw(QUEUE, ["ended"])) == [task_store.Place("removed", "")]
    assert line.redis.llen(line.rq("queue")) == 0


def test_scripts_write_while_memory_is_full_but_submit_is_refused(line: Line) -> None:
    line.submit("a", "b", "c")
    lease = line.acquire().leases[0]
    line.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(ResponseError, match=r"OOM|maxmemory"):
            line.submit("d")
        assert line.places("d") == ["absent"]
        assert line.settle(lease, result=json.dumps("x"))
        taken = line.acquire().leases
        assert line.tick(taken).lost == []
        assert line.run(task_store.withdraw(QUEUE, ["c"]))[0].name == "removed"
    finally:
        line.redis.config_set("maxmemory", 0)
    line.check()


@pytest.mark.parametrize("outcome", ["retry", "back", "later"])
def test_a_task_whose_band_changed_while_it_ran_comes_back_into_the_new_one(
    line: Line, outcome: str
) -> None:
    line.submit("a")
    lease = line.acquire().leases[0]

    assert line.run(task_store.set_band(QUEUE, "a", 0)) is True
    if outcome == "later":
        line.settle(lease, "retry", due_ms=line.now_ms() + 60_000)
        line.make_due("a")
        line.tick()
    else:
        line.settle(lease, outcome)

    assert line.lanes() == {"0:acme": ["a"]}
    line.check()


def test_a_lost_attempt_comes_back_into_the_band_that_was_set_meanwhile(line: Line) -> None:
    line.submit("a")
    line.acquire()
    line.run(task_store.set_band(QUEUE, "a", 1))
    line.expire_lease("a")

    line.tick(worker="other", reap=True)

    assert line.lanes() == {"1:acme": ["a"]}
    line.check()


def test_the_band_of_what_is_not_there_cannot_be_set(line: Line) -> None:
    assert line.run(task_store.set_band(QUEUE, "a", 1)) is False
    assert not line.redis.exists("rq:job:a")
