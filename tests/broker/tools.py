"""Helpers that put tasks into a queue and take them out, and the invariants of a queue in Redis."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX

from plugspace_queue.broker import keys, scripts, task_store
from plugspace_queue.broker.scripts import Call
from plugspace_queue.broker.types import Entry, Grant, Lease, Settlement, Tick

QUEUE = "code"
WORKER = "w1"
LEASE_MS = 10_000


def entry(task_id: str, organization_id: str = "acme", band: int = 2, **extra: Any) -> Entry:
    return Entry(
        task_id=task_id,
        band=band,
        organization_id=organization_id,
        snapshot=json.dumps({"id": task_id}),
        timeout=900,
        created_at="2026-01-02T03:04:05.678000Z",
        description=f"CODE for {organization_id}",
        **extra,
    )


def started_us(lease: Lease) -> int:
    """When it was granted (us since 1970, server clock), from the name of its execution."""
    return int(lease.execution_id[:16], 16)


class Line:
    """One queue in Redis, with the calls of submits and of workers."""

    def __init__(self, redis: Redis, queue: str = QUEUE) -> None:
        self.redis = redis
        self.queue = queue

    def run(self, call: Call[Any]) -> Any:
        return scripts.run(self.redis, [call])[0]

    def submit(self, *task_ids: str, **extra: Any) -> int:
        return int(self.put([entry(task_id, **extra) for task_id in task_ids]))

    def put(self, entries: Sequence[Entry]) -> int:
        return int(self.run(task_store.submit(self.queue, entries)))

    def acquire(self, want: int = 1, *, worker: str = WORKER, lease_ms: int = LEASE_MS) -> Grant:
        call = task_store.acquire(self.queue, worker=worker, want=want, lease_ms=lease_ms)
        grant: Grant = self.run(call)
        return grant

    def take(self, want: int = 1, **extra: Any) -> list[str]:
        return [lease.task_id for lease in self.acquire(want, **extra).leases]

    def settle(self, lease: Lease, outcome: Any = "ok", **extra: Any) -> bool:
        settlement = Settlement(
            task_id=lease.task_id, fence=lease.fence, outcome=outcome, task_type="CODE", **extra
        )
        return bool(self.run(task_store.settle(self.queue, [settlement]))[0])

    def tick(
        self,
        held: Iterable[Lease] = (),
        *,
        worker: str = WORKER,
        reap: bool = False,
        lease_ms: int = LEASE_MS,
    ) -> Tick:
        known = {lease.task_id: lease.fence for lease in held}
        call = task_store.tick(self.queue, worker=worker, held=known, lease_ms=lease_ms, reap=reap)
        tick: Tick = self.run(call)
        return tick

    def places(self, *task_ids: str) -> list[str]:
        return list(self.run(task_store.places(self.queue, task_ids)))

    def configure(self, **changed: Any) -> None:
        gates: dict[str, Any] = {
            "paused": False,
            "concurrency": 0,
            "limiter_max": 0,
            "limiter_ms": 60_000,
            "organization_cap": 0,
            "weighted": False,
            "version": 0,
        }
        self.run(task_store.configure(self.queue, **(gates | changed)))

    def pause_organization(self, organization_id: str, paused: bool = True) -> None:
        self.run(task_store.pause_organization(self.queue, organization_id, paused))

    def expire_lease(self, task_id: str, ms: int = 1) -> None:
        """As if the worker had been silent until `ms` after the end of the lease."""
        self.redis.zadd(keys.lease(self.queue), {task_id: self.now_ms() - ms}, xx=True)

    def make_due(self, task_id: str) -> None:
        self.redis.zadd(self.rq("scheduled"), {task_id: self.now_ms() / 1000 - 1}, xx=True)

    def now_ms(self) -> int:
        seconds, microseconds = self.redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def rq(self, name: str, key: str | None = None) -> str:
        return f"{RQ_KEY_PREFIX}:{name}:{key or self.queue}"

    def waits(self) -> list[str]:
        return texts(self.redis.lrange(keys.wait(self.queue), 0, -1))

    def runs(self) -> list[str]:
        return texts(self.redis.lrange(keys.active(self.queue), 0, -1))

    def lanes(self) -> dict[str, list[str]]:
        prefix = f"{keys.queue(self.queue)}:lane:"
        found = sorted(texts(self.redis.keys(f"{prefix}*")))
        with self.redis.pipeline(transaction=False) as pipe:
            for key in found:
                pipe.lrange(key, 0, -1)
            lines = pipe.execute()
        return {key[len(prefix) :]: texts(line) for key, line in zip(found, lines, strict=True)}

    def is_marked(self) -> bool:
        return bool(self.redis.zcard(keys.marker(self.queue)))

    def unmark(self) -> None:
        self.redis.delete(keys.marker(self.queue))

    def check(self) -> None:
        """Assert the invariants, which hold after every step."""
        waiting, running, lanes = self.waits(), self.runs(), self.lanes()
        queued = [task_id for lane in lanes.values() for task_id in lane]
        assert sorted(waiting) == sorted(queued)
        assert sorted(waiting) == sorted(self._indexed(waiting, lanes))
        ring = set(texts(self.redis.zrange(keys.queue(self.queue), 0, -1)))
        parked = set(texts(self.redis.zrange(keys.parked(self.queue), 0, -1)))
        assert not ring & parked
        assert ring | parked == set(lanes)
        assert sorted(running) == sorted(texts(self.redis.hkeys(keys.own(self.queue))))
        leases = texts(self.redis.zrange(keys.lease(self.queue), 0, -1))
        assert sorted(running) == sorted(leases)
        delayed = texts(self.redis.zrange(self.rq("scheduled"), 0, -1))
        everywhere = waiting + running + delayed
        assert len(everywhere) == len(set(everywhere))
        assert self._running_counts() == self._counted_owners()
        assert self.redis.zcard(self.rq("wip")) == len(running)

    def _indexed(self, waiting: list[str], lanes: dict[str, list[str]]) -> list[str]:
        index = self.redis.hgetall(keys.idx(self.queue))
        for task_id, place in index.items():
            position, lane = place.decode().split("|")
            assert waiting[int(position)] == task_id.decode()
            assert task_id.decode() in lanes[lane]
        return texts(index)

    def _running_counts(self) -> dict[str, int]:
        counts = self.redis.hgetall(keys.running(self.queue))
        return {key.decode(): int(value) for key, value in counts.items()}

    def _counted_owners(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for owner in self.redis.hvals(keys.own(self.queue)):
            organization = owner.decode().split("|")[1].split(":")[1]
            counts[organization] = counts.get(organization, 0) + 1
        return counts


def texts(values: Iterable[Any]) -> list[str]:
    return [value.decode() for value in values]
