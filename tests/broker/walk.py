"""A seeded walk: an operation after the other at one queue, each answer held against the model."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from plugspace_queue.broker import keys, task_store
from plugspace_queue.broker.types import Grant, Lease
from tests.broker.model import Gates, Lane, Model
from tests.broker.tools import QUEUE, Line, entry, started_us, texts

ORGANIZATIONS = ("a", "b", "c", "d")
WORKERS = ("w1", "w2", "w3")
LONG = 600_000
WINDOWS = (20, 60, 200)


class Walk:
    """Three workers, a submitting process and an operator, with a record of their answers."""

    def __init__(self, line: Line, seed: int) -> None:
        self.line = line
        self.model = Model()
        self.steps: list[str] = []
        self.held: dict[str, dict[str, Lease]] = {worker: {} for worker in WORKERS}
        self.starts: list[int] = []
        """When tasks started within the limiter's window, ms of the server's clock."""
        self.granted = 0
        self.refused = 0
        """Settles of leases that had run out."""
        self._made = 0
        self._last_fence = 0
        self._random = random.Random(seed)
        self._retried: set[str] = set()

    def step(self) -> None:
        """One operation."""
        names, weights = zip(*OPERATIONS.items(), strict=True)
        [operation] = self._random.choices(names, weights)
        self.steps.append(operation.__name__)
        operation(self)

    def compare(self) -> None:
        """What Redis holds is what the model holds, lane by lane in order."""
        model = self.model
        lanes = {f"{band}:{name}": line for (band, name), line in model.lines.items()}
        assert self.line.lanes() == lanes
        assert sorted(self.line.waits()) == sorted(model.waiting())
        assert sorted(self.line.runs()) == sorted(model.running)
        delayed = texts(self.line.redis.zrange(self.line.rq("scheduled"), 0, -1))
        assert sorted(delayed) == sorted(model.delayed)
        counted = self.line.redis.hgetall(keys.running(QUEUE))
        organizations = {lane[1] for lane in model.running.values()}
        assert {name.decode(): int(count) for name, count in counted.items()} == {
            name: model.runs_of(name) for name in organizations
        }
        if not model.gates.limiter_max and model.may_start():
            assert self.line.is_marked(), "a task could start and no worker is woken"

    # Submits.

    def submit(self) -> None:
        lane, front = self._any_lane(), self._random.random() < 0.1
        ids = [self._new_id() for _ in range(self._random.randint(1, 3))]
        entries = [entry(task_id, lane[1], lane[0], front=front) for task_id in ids]
        assert self.line.put(entries) == len(ids)
        for task_id in ids:
            self.model.put(task_id, lane, front)

    def submit_for_later(self) -> None:
        lane, task_id = self._any_lane(), self._new_id()
        due = self.line.now_ms() + LONG
        self.line.put([entry(task_id, lane[1], lane[0], due_ms=due)])
        self.model.delayed[task_id] = lane

    def submit_again(self) -> None:
        known = [*self.model.waiting(), *self.model.running, *self.model.delayed]
        if known:
            assert self.line.submit(self._random.choice(known)) == 0

    def cancel(self) -> None:
        ids = [f"t{self._random.randrange(max(self._made, 1))}"]
        ids += self._random.sample(self.model.waiting(), min(len(self.model.waiting()), 1))
        for task_id in ids:
            [place] = self.line.run(task_store.withdraw(QUEUE, [task_id]))
            if task_id in self.model.running:
                assert place.name == "running"
            else:
                assert place.name == ("removed" if self.model.cancel(task_id) else "absent")

    def become_due(self) -> None:
        if self.model.delayed:
            task_id = self._random.choice(sorted(self.model.delayed))
            self.line.make_due(task_id)
            lane = self.model.delayed.pop(task_id)
            self.model.put(task_id, lane, front=task_id in self._retried)
            self._random.choice([self.acquire, self.tick])()

    # Operators.

    def pause(self) -> None:
        # Shut now and then, open most of the time: behind shut gates nothing happens.
        self._configure(paused=self._random.random() < 0.2)

    def pause_organization(self) -> None:
        name = self._random.choice(ORGANIZATIONS)
        is_paused = self._random.random() < 0.4
        self.line.pause_organization(name, is_paused)
        self.model.pause(name, is_paused)

    def change_cap(self) -> None:
        self._configure(organization_cap=self._random.choice([0, 0, 1, 2, 3]))

    def change_concurrency(self) -> None:
        self._configure(concurrency=self._random.choice([0, 0, 2, 4, 8]))

    def change_limiter(self) -> None:
        self._configure(
            limiter_max=self._random.choice([0, 0, 2, 5]), limiter_ms=self._random.choice(WINDOWS)
        )

    def change_policy(self) -> None:
        self._configure(weighted=not self.model.gates.weighted)

    def _configure(self, **changed: Any) -> None:
        before, after = self.model.gates, replace(self.model.gates, **changed)
        self.line.configure(**vars(after))
        self.model.configure(after)
        if not after.limiter_max or after.limiter_ms > before.limiter_ms:
            # Starts are kept for the window that was in force: a longer one begins with fewer.
            self.starts = self._kept_starts(after)

    def _kept_starts(self, gates: Gates) -> list[int]:
        if not gates.limiter_max:
            return []
        return [int(start) for start in self.line.redis.lrange(keys.limiter(QUEUE), 0, -1)]

    # Workers.

    def acquire(self) -> None:
        worker, want = self._random.choice(WORKERS), self._random.randint(1, 6)
        self.line.unmark()
        live = texts(self.line.redis.hkeys(keys.own(QUEUE)))
        before = self.line.now_ms()
        grant = self.line.acquire(want, worker=worker, lease_ms=LONG)
        moment = self._moment(grant) or before
        room = self.model.room(want)
        if limit := self.model.gates.limiter_max:
            room = min(room, max(limit - self._started_since(moment), 0))
        expected = self.model.take(room)
        assert [lease.task_id for lease in grant.leases] == expected
        assert not set(expected) & set(live), "a second live lease"
        for lease in grant.leases:
            self._granted(worker, lease, moment)

    def _granted(self, worker: str, lease: Lease, moment: int) -> None:
        gates = self.model.gates
        assert lease.fence > self._last_fence
        assert lease.organization_id not in self.model.paused
        cap = gates.organization_cap
        assert not cap or self.model.runs_of(lease.organization_id) <= cap
        assert not gates.concurrency or len(self.model.running) <= gates.concurrency
        self._last_fence = lease.fence
        self.granted += 1
        self.held[worker][lease.task_id] = lease
        if gates.limiter_max:
            self.starts.append(moment)
            assert self._started_since(moment) <= gates.limiter_max

    def _owns(self, lease: Lease) -> bool:
        owner = self.line.redis.hget(keys.own(QUEUE), lease.task_id)
        return bool(owner) and owner.startswith(f"{lease.fence}|".encode())

    def _moment(self, grant: Grant) -> int:
        """When it was granted, by the server's clock."""
        if not grant.leases:
            return 0
        return started_us(grant.leases[0]) // 1000

    def _started_since(self, moment: int) -> int:
        window = self.model.gates.limiter_ms
        return sum(start > moment - window for start in self.starts)

    def settle(self) -> None:
        picked = self._pick_lease()
        if picked is None:
            return
        worker, lease = picked
        outcome = self._random.choice(["ok", "ok", "fail", "retry", "back", "stopped", "drop"])
        later = outcome == "retry" and self._random.random() < 0.5
        due = self.line.now_ms() + LONG if later else 0
        is_mine = self._owns(lease)
        del self.held[worker][lease.task_id]
        assert self.line.settle(lease, outcome, due_ms=due, result="[]") == is_mine
        if not is_mine:
            self.refused += 1
            return
        lane = self.model.close(lease.task_id)
        if later:
            self.model.delayed[lease.task_id] = lane
            self._retried.add(lease.task_id)
        elif outcome in ("retry", "back"):
            self.model.put(lease.task_id, lane, front=True)

    def _pick_lease(self) -> tuple[str, Lease] | None:
        leases = [(worker, lease) for worker in WORKERS for lease in self.held[worker].values()]
        return self._random.choice(leases) if leases else None

    def tick(self) -> None:
        worker = self._random.choice(WORKERS)
        leases = self.held[worker]
        gone = {lease.task_id for lease in leases.values() if not self._owns(lease)}
        tick = self.line.tick(leases.values(), worker=worker, lease_ms=LONG, reap=True)
        assert set(tick.lost) == gone
        assert (tick.reaped, tick.handed_back) == ([], [])
        for task_id in gone:
            del leases[task_id]

    def crash(self) -> None:
        """A worker dies; another takes its tasks back. It keeps its leases: it may come back."""
        worker, other = self._random.sample(WORKERS, 2)
        mine = {task_id for task_id, lease in self.held[worker].items() if self._owns(lease)}
        for task_id in mine:
            self.line.expire_lease(task_id)
        known = self.held[other].values()
        tick = self.line.tick(known, worker=other, lease_ms=LONG, reap=True)
        assert {reaped.task_id for reaped in tick.reaped} == mine
        for reaped in tick.reaped:
            self.model.put(reaped.task_id, self.model.close(reaped.task_id), front=True)
        for task_id in tick.lost:
            del self.held[other][task_id]

    def expire(self) -> None:
        """One lease runs out, though its worker lives; it is told."""
        picked = self._pick_lease()
        if picked is None or not self._owns(picked[1]):
            return
        task_id = picked[1].task_id
        self.line.expire_lease(task_id)
        tick = self.line.tick((), worker="reaper", lease_ms=LONG, reap=True)
        assert [reaped.task_id for reaped in tick.reaped] == [task_id]
        self.model.put(task_id, self.model.close(task_id), front=True)

    def _any_lane(self) -> Lane:
        return self._random.randrange(4), self._random.choice(ORGANIZATIONS)

    def _new_id(self) -> str:
        self._made += 1
        return f"t{self._made - 1}"


OPERATIONS: dict[Callable[[Walk], None], int] = {
    Walk.submit: 24,
    Walk.submit_for_later: 3,
    Walk.submit_again: 2,
    Walk.cancel: 5,
    Walk.become_due: 4,
    Walk.pause: 3,
    Walk.pause_organization: 4,
    Walk.change_cap: 3,
    Walk.change_concurrency: 3,
    Walk.change_limiter: 3,
    Walk.change_policy: 2,
    Walk.acquire: 24,
    Walk.settle: 28,
    Walk.tick: 4,
    Walk.crash: 2,
    Walk.expire: 2,
}
"""How often each comes, in proportion."""
