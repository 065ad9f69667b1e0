"""Submit, acquire, withdraw: tasks come in once, go out in fair order, and every count is exact."""

import json

import pytest
from redis.exceptions import ResponseError

from plugspace_queue.broker import keys, scripts, task_store
from tests.broker.tools import LEASE_MS, QUEUE, WORKER, Line, entry


def test_a_submitted_task_waits_in_its_lane_and_in_every_count(line: Line) -> None:
    assert line.submit("a", "b") == 2

    assert line.waits() == ["a", "b"]
    assert line.lanes() == {"2:acme": ["a", "b"]}
    assert line.redis.get(keys.task("a")) == b'{"id": "a"}'
    assert line.places("a", "nobody") == ["waiting", "absent"]
    assert line.run(task_store.counts(QUEUE)) == task_store.Counts(waiting=2, active=0, delayed=0)
    line.check()


def test_a_task_is_accepted_once_wherever_it_is(line: Line) -> None:
    soon = line.now_ms() + 60_000
    line.submit("waits", "runs")
    line.submit("delayed", due_ms=soon)
    line.run(task_store.withdraw(QUEUE, ["waits"]))
    lease = line.acquire().leases[0]
    line.submit("waits")

    assert line.submit("waits", "runs", "delayed") == 0

    assert lease.task_id == "runs"
    assert line.places("waits", "runs", "delayed") == ["waiting", "running", "delayed"]
    line.check()


def test_a_second_submit_renews_the_snapshot_unless_the_task_runs(line: Line) -> None:
    line.submit("runs")
    line.acquire()
    line.submit("waits")
    newer = [
        task_store.Entry(
            task_id=task_id,
            band=2,
            organization_id="acme",
            snapshot='{"newer": true}',
            timeout=1,
            created_at="2026-01-01T00:00:00Z",
            description="",
        )
        for task_id in ("runs", "waits")
    ]

    assert line.put(newer) == 0

    assert line.redis.get(keys.task("runs")) == b'{"id": "runs"}'
    assert line.redis.get(keys.task("waits")) == b'{"newer": true}'


@pytest.mark.parametrize(
    "bad",
    [{"band": 4}, {"organization_id": ""}, {"organization_id": "a:b"}, {"due_ms": "soon"}],
    ids=str,
)
def test_one_invalid_entry_leaves_the_whole_submit_unwritten(line: Line, bad: dict) -> None:
    before = line.redis.dbsize()

    with pytest.raises(ResponseError, match="entry 1 is not valid"):
        line.put([entry("good"), entry("bad", **bad)])

    assert line.redis.dbsize() == before


def test_more_than_five_hundred_entries_go_in_several_calls(line: Line) -> None:
    entries = [entry(f"t{number}") for number in range(1001)]

    with pytest.raises(ValueError, match="submit_all"):
        task_store.submit(QUEUE, entries)
    assert scripts.run(line.redis, task_store.submit_all(QUEUE, entries)) == [500, 500, 1]

    assert len(line.waits()) == 1001
    line.check()


def test_the_newest_tasks_of_an_organization_are_kept(line: Line, settings) -> None:
    settings.PLUGSPACE_QUEUE = {"ORG_TASKS_MAXLEN": 2}
    for number in range(3):
        entries = [entry(f"t{number}")]
        entries[0] = task_store.Entry(
            **{name: getattr(entries[0], name) for name in task_store.Entry.__slots__}
            | {"created_at": f"2026-01-01T00:00:0{number}Z"}
        )
        line.put(entries)

    assert line.redis.zrange(keys.organization_tasks("acme"), 0, -1) == [b"t1", b"t2"]


def test_a_lease_names_the_task_its_lane_and_a_token(line: Line) -> None:
    line.submit("a", band=1)

    grant = line.acquire(want=5)

    lease = grant.leases[0]
    assert grant.status == "ok"
    assert (lease.task_id, lease.organization_id, lease.band) == ("a", "acme", 1)
    assert len(str(lease.fence)) == 16
    assert line.redis.hget(keys.own(QUEUE), "a") == (
        f"{lease.fence}|1:acme|{WORKER}|{lease.execution_id}".encode()
    )
    end = line.redis.zscore(keys.lease(QUEUE), "a")
    assert 0 <= line.now_ms() + LEASE_MS - end < 1000
    line.check()


def test_an_empty_queue_answers_so(line: Line) -> None:
    grant = line.acquire()

    assert (grant.status, grant.retry_ms, grant.leases) == ("empty", 0, [])


def test_a_worker_name_may_hold_any_sign(line: Line) -> None:
    line.submit("a")

    line.acquire(worker="host|7:x y")

    assert line.run(task_store.withdraw(QUEUE, ["a"])) == [
        task_store.Place("running", "host|7:x y")
    ]


def test_higher_bands_are_served_first(line: Line) -> None:
    for band in (3, 1, 0, 2):
        line.submit(f"b{band}", band=band, organization_id=f"o{band}")

    assert line.take(4) == ["b0", "b1", "b2", "b3"]


def test_organizations_of_a_band_take_turns(line: Line) -> None:
    line.submit("a1", "a2", "a3", organization_id="a")
    line.submit("b1", "b2", organization_id="b")

    assert line.take(5) == ["a1", "b1", "a2", "b2", "a3"]


def test_ten_small_organizations_are_not_behind_ten_thousand_tasks(line: Line) -> None:
    scripts.run(
        line.redis, task_store.submit_all(QUEUE, [entry(f"big{n}", "big") for n in range(10_000)])
    )
    line.take(16)
    for number in range(10):
        line.submit(f"small{number}", organization_id=f"small{number}")

    assert sum(task_id.startswith("small") for task_id in line.take(11)) == 10


def test_a_lane_that_ran_empty_does_not_overtake_by_coming_back(line: Line) -> None:
    line.submit(*[f"flood{n}" for n in range(20)], organization_id="flood")
    line.submit("single0", organization_id="single")
    order = []
    for number in range(1, 13):
        order += line.take()
        if order[-1].startswith("single"):
            line.submit(f"single{number}", organization_id="single")

    assert sum(task_id.startswith("single") for task_id in order) == 6


def test_a_lane_starts_after_one_task_at_most_of_each_other_lane(line: Line) -> None:
    line.submit("x0", "x1", organization_id="a-first-by-name")
    line.submit("l0", organization_id="late")
    line.take(2)
    line.submit("l1", organization_id="late")

    assert line.take(2) in (["x1", "l1"], ["l1", "x1"])


def test_cancelling_and_asking_again_does_not_jump_the_line(line: Line) -> None:
    line.submit("a0", "a1", organization_id="a")
    line.submit("b0", "b1", organization_id="b")
    assert line.take(1) == ["a0"]
    line.run(task_store.withdraw(QUEUE, ["a1"]))
    line.submit("a2", organization_id="a")

    assert line.take(1) == ["b0"]


def test_weighted_bands_share_eight_to_four_to_two_to_one(line: Line) -> None:
    line.configure(weighted=True)
    for band in range(4):
        line.submit(*[f"{band}-{n}" for n in range(100)], band=band, organization_id=f"o{band}")

    order = line.take(15) + line.take(15) + line.take(15)

    shares = [sum(task_id.startswith(f"{band}-") for task_id in order) for band in range(4)]
    assert shares == [24, 12, 6, 3]


def test_the_policy_changes_while_tasks_wait(line: Line) -> None:
    for band in range(4):
        line.submit(*[f"{band}-{n}" for n in range(40)], band=band, organization_id=f"o{band}")
    assert {task_id[0] for task_id in line.take(16)} == {"0"}

    line.configure(weighted=True)
    assert {task_id[0] for task_id in line.take(15)} == {"0", "1", "2", "3"}
    line.check()

    line.configure(weighted=False)
    assert {task_id[0] for task_id in line.take(10)} == {"0"}
    line.check()


def test_a_policy_change_moves_thousands_of_lanes(line: Line) -> None:
    entries = [entry(f"t{n}", f"o{n}", band=n % 4) for n in range(2500)]
    scripts.run(line.redis, task_store.submit_all(QUEUE, entries))

    line.configure(weighted=True)

    assert line.redis.zcard(keys.queue(QUEUE)) == 2500
    line.check()


def test_fences_rise_beyond_a_flush(line: Line) -> None:
    line.submit("a", "b")
    before = [lease.fence for lease in line.acquire(2).leases]
    assert before == sorted(set(before))

    line.redis.flushall()
    line.configure()
    line.submit("a")

    assert line.acquire().leases[0].fence > before[-1]


def test_fences_rise_above_one_that_a_row_has(line: Line) -> None:
    ahead = line.now_ms() * 1000 + 60_000_000
    line.run(task_store.bump_fence(QUEUE, ahead))
    line.run(task_store.bump_fence(QUEUE, 5))
    line.submit("a", "b")

    assert [lease.fence for lease in line.acquire(2).leases] == [ahead + 1, ahead + 2]


def test_withdraw_takes_out_what_waits_and_names_who_runs_it(line: Line) -> None:
    line.submit("runs")
    line.acquire()
    line.submit("waits", "stays")
    line.submit("delayed", due_ms=line.now_ms() + 60_000)

    places = line.run(task_store.withdraw(QUEUE, ["waits", "runs", "delayed", "nobody"]))

    assert [place.name for place in places] == ["removed", "running", "removed", "absent"]
    assert places[1].worker == WORKER
    assert line.waits() == ["stays"]
    line.check()


def test_emptying_takes_the_waiting_ones_only(line: Line) -> None:
    line.submit("runs")
    line.acquire()
    line.submit(*[f"t{n}" for n in range(5)])
    line.submit("delayed", due_ms=line.now_ms() + 60_000)

    assert sorted(line.run(task_store.empty(QUEUE))) == [f"t{n}" for n in range(5)]
    assert line.run(task_store.empty(QUEUE)) == []

    assert line.places("runs", "delayed") == ["running", "delayed"]
    line.check()


def test_a_task_that_rq_deleted_behind_our_back_is_passed_over(line: Line) -> None:
    line.submit("gone", "listed", "next")
    line.redis.delete(line.rq("job", "gone"))
    line.redis.lrem(keys.wait(QUEUE), 1, "gone")

    assert line.take(3) == ["listed", "next"]
    line.check()


def test_what_stands_in_the_place_of_a_job_is_passed_over_and_the_next_one_starts(
    line: Line,
) -> None:
    line.submit("spoilt", "next", "last")
    line.redis.set(line.rq("job", "spoilt"), "no job")

    assert line.take(2) == ["next", "last"]
    assert line.redis.get(line.rq("job", "spoilt")) == b"no job"
    line.check()


def test_an_id_that_is_twice_in_its_lane_starts_once(line: Line) -> None:
    line.submit("a", "b")
    line.redis.rpush(keys.lane(QUEUE, 2, "acme"), "a")

    assert line.take(3) == ["a", "b"]
    line.check()


def test_equal_turns_go_by_the_bytes_of_the_name_as_redis_orders_them(line: Line) -> None:
    names = ["b", "A", "a-z", "a_b", "Ab", "aa"]
    for name in names:
        line.submit(f"{name}0", f"{name}1", organization_id=name)

    first = [f"{name}{turn}" for turn in (0, 1) for name in sorted(names)]
    assert line.take(len(first)) == first
    line.check()


def test_a_foreign_id_in_the_waiting_list_is_dropped(line: Line) -> None:
    line.submit("a", "b")
    line.redis.rpush(keys.wait(QUEUE), "phantom")

    assert line.take(1) == ["a"]
    assert line.waits() == ["b"]
    line.check()


def test_a_snapshot_outlives_nothing_but_its_time(line: Line) -> None:
    line.run(task_store.snapshot("t", json.dumps({"id": "t"}), 60))
    assert 0 < line.redis.ttl(keys.task("t")) <= 60

    line.run(task_store.snapshot("t", "{}"))
    assert line.redis.ttl(keys.task("t")) == -1
