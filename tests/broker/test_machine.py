"""Whatever happens in whatever order: exact counts, no id twice, no gate overrun, fair turns."""

import json

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)
from redis import Redis

from plugspace_queue import embedded_redis
from plugspace_queue.broker import keys, task_store
from plugspace_queue.broker.types import Lease
from tests.broker.tools import QUEUE, Line, entry

ORGANIZATIONS = st.sampled_from(["a", "b", "c"])
BANDS = st.integers(0, 3)
WORKERS = st.sampled_from(["w1", "w2"])
LONG = 600_000


class Machine(RuleBasedStateMachine):
    """Two workers and a submitting process at one queue, with a model of their answers."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0
        self.held: dict[str, dict[str, Lease]] = {"w1": {}, "w2": {}}
        self.last_fence = 0
        self.gates = {"concurrency": 0, "organization_cap": 0, "limiter_max": 0}
        self.is_paused = False
        self.weighted = False
        self.paused: set[str] = set()
        self.starts: list[str] = []
        self.served_since: dict[str, dict[str, int]] = {}

    @initialize()
    def begin(self) -> None:
        embedded_redis.ensure_running()
        self.redis = Redis(unix_socket_path=embedded_redis.socket_path())
        self.redis.flushall()
        self.line = Line(self.redis)

    def teardown(self) -> None:
        self.redis.flushall()
        self.redis.close()

    # Submits.

    @rule(organization=ORGANIZATIONS, band=BANDS, count=st.integers(1, 4), front=st.booleans())
    def submit(self, organization: str, band: int, count: int, front: bool) -> None:
        ids = [f"t{self.made + number}" for number in range(count)]
        self.made += count
        self._came(organization, band)
        entries = [entry(task_id, organization, band, front=front) for task_id in ids]
        assert self.line.put(entries) == count

    @rule(organization=ORGANIZATIONS, band=BANDS)
    def submit_for_later(self, organization: str, band: int) -> None:
        self.made += 1
        due = self.line.now_ms() + LONG
        self.line.submit(f"t{self.made - 1}", organization_id=organization, band=band, due_ms=due)

    @rule(number=st.integers(0, 40))
    def submit_again(self, number: int) -> None:
        if number < self.made and self.line.places(f"t{number}") != ["absent"]:
            assert self.line.submit(f"t{number}") == 0

    @rule(numbers=st.lists(st.integers(0, 40), max_size=3, unique=True))
    def withdraw(self, numbers: list[int]) -> None:
        ids = [f"t{number}" for number in numbers]
        before = self.line.places(*ids)
        places = self.line.run(task_store.withdraw(QUEUE, ids))
        expected = {"waiting": "removed", "delayed": "removed", "running": "running"}
        assert [place.name for place in places] == [expected.get(b, "absent") for b in before]
        self._forget_rounds()

    @rule(number=st.integers(0, 40))
    def time_passes_for_a_delayed_one(self, number: int) -> None:
        self.line.make_due(f"t{number}")
        self._forget_rounds()

    # Operators.

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.is_paused = paused
        self._configure()

    @rule(organization=ORGANIZATIONS, paused=st.booleans())
    def pause_organization(self, organization: str, paused: bool) -> None:
        (self.paused.add if paused else self.paused.discard)(organization)
        self.line.pause_organization(organization, paused)
        self._forget_rounds()

    @rule(concurrency=st.integers(0, 4), cap=st.integers(0, 3), limiter=st.sampled_from([0, 3, 9]))
    def change_gates(self, concurrency: int, cap: int, limiter: int) -> None:
        self.gates = {
            "concurrency": concurrency,
            "organization_cap": cap,
            "limiter_max": limiter,
        }
        self._configure()

    @rule(weighted=st.booleans())
    def change_policy(self, weighted: bool) -> None:
        self.weighted = weighted
        self._configure()

    def _configure(self) -> None:
        self.line.configure(
            paused=self.is_paused, weighted=self.weighted, limiter_ms=LONG, **self.gates
        )
        self._forget_rounds()

    # Workers.

    @rule(worker=WORKERS, want=st.integers(1, 5))
    def acquire(self, worker: str, want: int) -> None:
        room = self._room()
        running = self._running_by_organization()
        grant = self.line.acquire(want, worker=worker, lease_ms=LONG)
        assert len(grant.leases) <= min(want, room)
        if self.is_paused:
            assert (grant.status, grant.leases) == ("paused", [])
        for lease in grant.leases:
            self._granted(worker, lease, running)

    def _granted(self, worker: str, lease: Lease, running: dict[str, int]) -> None:
        assert lease.fence > self.last_fence
        assert lease.organization_id not in self.paused
        running[lease.organization_id] = running.get(lease.organization_id, 0) + 1
        cap = self.gates["organization_cap"]
        assert not cap or running[lease.organization_id] <= cap
        self.last_fence = lease.fence
        self.held[worker][lease.task_id] = lease
        self._served(lease)

    def _room(self) -> int:
        room = 1000
        if concurrency := self.gates["concurrency"]:
            room = max(concurrency - len(self.line.runs()), 0)
        if limiter := self.gates["limiter_max"]:
            room = min(room, max(limiter - self.redis.llen(keys.limiter(QUEUE)), 0))
        return room

    def _running_by_organization(self) -> dict[str, int]:
        counts = self.redis.hgetall(keys.running(QUEUE))
        return {name.decode(): int(value) for name, value in counts.items()}

    @rule(
        worker=WORKERS,
        outcome=st.sampled_from(["ok", "fail", "retry", "back", "stopped", "drop"]),
        later=st.booleans(),
        pick=st.randoms(use_true_random=False),
    )
    def settle(self, worker: str, outcome: str, later: bool, pick) -> None:
        if not self.held[worker]:
            return
        lease = self.held[worker].pop(pick.choice(sorted(self.held[worker])))
        owner = self.redis.hget(keys.own(QUEUE), lease.task_id)
        is_mine = bool(owner) and owner.startswith(f"{lease.fence}|".encode())
        due = self.line.now_ms() + LONG if later else 0
        answer = self.line.settle(lease, outcome, due_ms=due, result=json.dumps([]))
        assert answer == is_mine
        self._forget_rounds()

    @rule(worker=WORKERS, loses=st.booleans())
    def tick(self, worker: str, loses: bool) -> None:
        held = self.held[worker]
        gone = [lease for lease in held.values() if not self._owns(lease)]
        if loses and held:
            # An answer that got lost: the worker forgets, and two seconds pass.
            task_id = sorted(held)[0]
            del held[task_id]
            self.redis.zadd(keys.lease(QUEUE), {task_id: -3000}, incr=True, xx=True)
        tick = self.line.tick(held.values(), worker=worker, lease_ms=LONG)
        assert set(tick.lost) == {lease.task_id for lease in gone} & set(held)
        for task_id in tick.lost:
            del held[task_id]
        self._forget_rounds()

    @rule(worker=WORKERS)
    def worker_dies(self, worker: str) -> None:
        mine = [lease for lease in self.held[worker].values() if self._owns(lease)]
        for lease in mine:
            self.line.expire_lease(lease.task_id)
        other = "w2" if worker == "w1" else "w1"
        tick = self.line.tick(self.held[other].values(), worker=other, reap=True, lease_ms=LONG)
        assert {reaped.task_id for reaped in tick.reaped} == {lease.task_id for lease in mine}
        # It does not know: what it still holds is refused from now on.
        self._forget_rounds()

    def _owns(self, lease: Lease) -> bool:
        owner = self.redis.hget(keys.own(QUEUE), lease.task_id)
        return bool(owner) and owner.startswith(f"{lease.fence}|".encode())

    @rule()
    def everything_is_lost(self) -> None:
        self.redis.flushall()
        self.held = {"w1": {}, "w2": {}}
        self.paused = set()
        self._configure()

    @rule()
    def scripts_are_forgotten(self) -> None:
        self.redis.script_flush()

    # One round: while a lane waits for its first turn, no other lane of its band has two.

    def _came(self, organization: str, band: int) -> None:
        lane = f"{band}:{organization}"
        if not self.redis.exists(keys.lane(QUEUE, band, organization)):
            self.served_since[lane] = {}

    def _served(self, lease: Lease) -> None:
        lane = f"{lease.band}:{lease.organization_id}"
        self.served_since.pop(lane, None)
        if self.weighted or self.gates["organization_cap"] or self.paused:
            return
        for waiting, others in self.served_since.items():
            if waiting[0] == lane[0]:
                others[lane] = others.get(lane, 0) + 1
                assert others[lane] <= 1, f"{lane} had two turns while {waiting} waited"

    def _forget_rounds(self) -> None:
        self.served_since = {}

    @invariant()
    def line_is_consistent(self) -> None:
        if hasattr(self, "line"):
            self.line.check()


Machine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestMachine = Machine.TestCase
