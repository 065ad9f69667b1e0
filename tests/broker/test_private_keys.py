"""A key of one task, lane or worker is of another type: no other task loses its ending for that."""

import json
from collections.abc import Callable

import pytest

from plugspace_queue.broker import keys, presence, task_store
from plugspace_queue.broker.types import Lease, Settlement
from tests.broker.tools import QUEUE, WORKER, Line

STRANGE = "somebody else's"

Damage = Callable[[Line, Lease], str]
"""What is damaged, for a task that runs; the key."""

PRIVATE: dict[str, Damage] = {
    "its results": lambda line, lease: line.rq("results", lease.task_id),
    "its copy": lambda line, lease: keys.task(lease.task_id),
    "its result": lambda line, lease: keys.result(lease.task_id, "CODE"),
    "its job": lambda line, lease: line.rq("job", lease.task_id),
    "its executions": lambda line, lease: line.rq("executions", lease.task_id),
    "its execution": lambda line, lease: line.rq(
        "execution", f"{lease.task_id}:{lease.execution_id}"
    ),
    "its lane": lambda line, lease: f"{keys.queue(QUEUE)}:lane:2:acme",
    "the places of lanes that ran empty": lambda line, lease: f"{keys.queue(QUEUE)}:fin:2",
    "its worker's executions": lambda line, lease: line.rq("worker", f"{WORKER}:executions"),
    "the workers": lambda line, lease: keys.workers(QUEUE),
}


@pytest.fixture(params=PRIVATE)
def leases(request: pytest.FixtureRequest, line: Line) -> tuple[Lease, ...]:
    """Three tasks that run, of which the first has a key of another type."""
    line.submit("a")
    line.submit("b", "c", organization_id="zeta")
    leases = tuple(line.acquire(3).leases)
    assert [one.task_id for one in leases] == ["a", "b", "c"]
    key = PRIVATE[request.param](line, leases[0])
    line.redis.delete(key)
    line.redis.set(key, STRANGE)
    return leases


def ending(lease: Lease, outcome: str) -> Settlement:
    return Settlement(
        task_id=lease.task_id,
        fence=lease.fence,
        outcome=outcome,  # type: ignore[arg-type]
        task_type="CODE",
        result=json.dumps(lease.task_id),
        tells_result=True,
        snapshot='{"id":1}',
        snapshot_ttl=60,
        event=json.dumps({"of": lease.task_id}, separators=(",", ":")),
    )


def events(line: Line) -> list[str]:
    found = [json.loads(entry[b"event"]) for _, entry in line.redis.xrange(keys.events())]
    return [one["of"] for one in found if "of" in one]


@pytest.mark.parametrize("outcome", ["ok", "fail", "stopped", "back", "retry"])
def test_one_settle_ends_all_of_its_attempts(
    line: Line, leases: tuple[Lease, ...], outcome: str
) -> None:
    settlements = [ending(one, outcome) for one in leases]

    assert line.run(task_store.settle(QUEUE, settlements)) == [True, True, True]

    assert line.runs() == []
    assert events(line) == ["a", "b", "c"]
    for lease in leases:
        assert json.loads(line.redis.get(keys.task(lease.task_id)) or "")["id"] == 1
        if outcome == "ok":
            assert line.redis.exists(keys.result(lease.task_id, "CODE"))
        if outcome in ("ok", "fail", "stopped"):
            assert line.redis.xlen(line.rq("results", lease.task_id)) == 1
    if outcome in ("back", "retry"):
        assert line.places("b", "c") == ["waiting", "waiting"]


def test_one_tick_puts_all_lost_attempts_back(line: Line, leases: tuple[Lease, ...]) -> None:
    for one in leases:
        line.expire_lease(one.task_id)

    tick = line.tick(worker="other", reap=True)

    assert sorted(one.task_id for one in tick.reaped) == ["a", "b", "c"]
    assert line.runs() == []
    assert line.places("b", "c") == ["waiting", "waiting"]


def test_one_tick_renews_all_leases(line: Line, leases: tuple[Lease, ...]) -> None:
    tick = line.tick(leases, lease_ms=60_000)

    assert tick.lost == []
    ends = line.redis.zrange(keys.lease(QUEUE), 0, -1, withscores=True)
    assert len(ends) == 3 and all(end > line.now_ms() + 30_000 for _, end in ends)


def test_a_heartbeat_writes_the_workers_anew(line: Line) -> None:
    for key in (keys.workers(QUEUE), f"{keys.queue(QUEUE)}:slots"):
        line.redis.set(key, STRANGE)

    line.run(presence.heartbeat(QUEUE, worker=WORKER, slots=3))

    assert line.redis.zrange(keys.workers(QUEUE), 0, -1) == [WORKER.encode()]
    line.run(presence.leave(QUEUE, worker=WORKER))
    assert not line.redis.exists(keys.workers(QUEUE))
