"""What somebody else wrote into the line is found, named and put right; work goes on around it."""

import io

import pytest
from django.core.management import call_command

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from tests.broker.tools import texts
from tests.maintenance.scene import Scene, kinds_found, reconcile
from tests.support import alike

NO_PLACES = ["here", "", "7", "|1:acme", "0|nolane", "0|9:acme", "9" * 20 + "|1:acme", b"\xff"]
NO_LANES = ["nolane", "", "7:acme", "1:a b", b"\xff\xfe"]


@pytest.mark.parametrize("place", alike(NO_PLACES, quick=2))
def test_an_entry_of_idx_that_is_no_place_is_found_and_put_right(scene: Scene, place: str | bytes):
    scene.redis.hset(keys.idx("code"), scene.id(0), place)

    found = kinds_found()
    code, told = reconcile("--fix")
    scene.renew()

    assert found == {"torn", "lane_strays"}
    assert code == 0
    assert scene.id(0) in {one["key"] for one in told["repaired"]}
    assert kinds_found() == set()
    assert texts(scene.redis.lrange(scene.lane(0), 0, -1)) == [scene.id(0), scene.id(1)]
    scene.line.check()


@pytest.mark.parametrize("name", ["nobody", b"\xff\xfe"])
def test_an_entry_of_idx_that_is_no_task_is_taken_out(scene: Scene, name: str | bytes):
    scene.redis.hset(keys.idx("code"), name, "here")

    assert kinds_found() >= {"ghost", "wait_differs"}
    assert reconcile("--fix")[0] == 0
    scene.renew()

    assert not scene.redis.hexists(keys.idx("code"), name)
    assert kinds_found() == set()
    scene.line.check()


@pytest.mark.parametrize("place", NO_PLACES)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_tasks_are_taken_in_spite_of_an_entry_that_is_no_place(
    scene: Scene, place: str | bytes, number: int
):
    waiting = {scene.id(0), scene.id(1), scene.id(2)}
    scene.redis.hset(keys.idx("code"), scene.id(number), place)

    assert waiting <= set(scene.line.take(9))

    scene.renew()
    assert not scene.redis.exists(keys.idx("code"), keys.wait("code"), scene.lane(0))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_task_whose_entry_is_no_place_can_be_cancelled(scene: Scene, number: int):
    scene.redis.hset(keys.idx("code"), scene.id(number), "here")

    assert queue_manager.cancel(scene.waiting[number].pk) == "cancelled"

    assert not scene.redis.hexists(keys.idx("code"), scene.id(number))
    assert scene.id(number) not in texts(scene.redis.lrange(keys.wait("code"), 0, -1))
    scene.line.check()


@pytest.mark.parametrize("key", [keys.queue("code"), keys.parked("code")])
@pytest.mark.parametrize("name", alike(NO_LANES, quick=1))
def test_a_member_of_the_order_that_is_no_lane_is_found_and_taken_out(
    scene: Scene, name: str | bytes, key: str
):
    scene.redis.zadd(key, {name: 1})

    assert kinds_found() == {"lane_strange"}
    code, told = reconcile("--fix")
    scene.renew()

    assert code == 0
    assert [one["kind"] for one in told["repaired"]] == ["lane_strange"]
    assert scene.redis.zscore(key, name) is None
    assert kinds_found() == set()
    scene.line.check()


def test_the_member_that_is_no_lane_is_named(scene: Scene):
    scene.redis.zadd(keys.queue("code"), {"nolane": 1, b"\xff": 2})
    out = io.StringIO()

    with pytest.raises(SystemExit):
        call_command("queue_reconcile", stdout=out, stderr=io.StringIO())

    assert "lane_strange  2: a lane contradicts idx" in out.getvalue()
    assert "nolane" in out.getvalue()
    assert out.getvalue().encode()


@pytest.mark.parametrize("name", NO_LANES)
def test_tasks_are_taken_in_spite_of_a_member_that_is_no_lane(scene: Scene, name: str | bytes):
    scene.redis.zadd(keys.queue("code"), {name: 0})
    scene.redis.rpush(
        b"plugspace:code:lane:" + (name if isinstance(name, bytes) else name.encode()), "x"
    )

    assert {scene.id(0), scene.id(1), scene.id(2)} <= set(scene.line.take(9))


@pytest.mark.parametrize("key", [keys.queue("code"), keys.parked("code")])
def test_the_policy_changes_in_spite_of_a_member_that_is_no_lane(scene: Scene, key: str):
    scene.redis.zadd(key, {"nolane": 1})
    scene.redis.hset(keys.virtual_time("code"), "0", "late")

    scene.line.configure(weighted=True, version=2**50)

    assert {scene.id(0), scene.id(1), scene.id(2)} <= set(scene.line.take(9))


def test_a_list_of_newest_tasks_of_a_wrong_type_is_found_and_written_again(scene: Scene):
    name = keys.organization_tasks("acme")
    before = scene.redis.zrange(name, 0, -1)
    scene.redis.delete(name)
    scene.redis.set(name, "somebody else's")

    assert kinds_found() == {"newest_missing"}
    assert reconcile("--fix")[0] == 0
    scene.renew()

    assert scene.redis.zrange(name, 0, -1) == before
    assert kinds_found() == set()
