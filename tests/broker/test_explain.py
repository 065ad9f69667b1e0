"""The dry run: what it says of the gates and the order is what a worker that asks then gets."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugspace_queue.broker import inspection, keys, presence
from plugspace_queue.broker.inspection import View
from plugspace_queue.broker.types import Lease
from tests.broker.tools import LEASE_MS, QUEUE, Line, entry, texts
from tests.support import wait_until

GATES = [
    "queue_paused",
    "organization_paused",
    "queue_concurrency",
    "queue_limiter",
    "organization_concurrency",
]


def look(line: Line, task_id: str, organization_id: str = "acme", band: int = 2) -> View:
    call = inspection.explain(
        QUEUE, task_id, organization_id=organization_id, band=band, alive_ms=LEASE_MS
    )
    seen: View = line.run(call)
    return seen


def shut(seen: View) -> list[str]:
    return [gate.name for gate in seen.gates if not gate.is_open]


def test_the_gates_are_told_in_their_order_with_what_they_count(line: Line) -> None:
    line.configure(concurrency=4, limiter_max=3, limiter_ms=60_000, organization_cap=2)
    line.submit("a", "b", "c")
    line.take(1)

    seen = look(line, "c")

    assert [gate.name for gate in seen.gates] == GATES
    assert shut(seen) == []
    assert [(gate.current, gate.limit) for gate in seen.gates] == [
        (None, None),
        (None, None),
        (1, 4),
        (1, 3),
        (1, 2),
    ]


@pytest.mark.parametrize(
    ("gates", "name", "answer"),
    [
        ({"paused": True}, "queue_paused", "paused"),
        ({"concurrency": 1}, "queue_concurrency", "full"),
        ({"limiter_max": 1}, "queue_limiter", "limited"),
        ({"organization_cap": 1}, "organization_concurrency", "ok"),
    ],
)
def test_a_shut_gate_is_named(line: Line, gates: dict[str, Any], name: str, answer: str) -> None:
    line.submit("a", "b")
    line.configure(limiter_max=9)
    line.take(1)
    line.configure(**gates)

    seen = look(line, "b")

    assert (shut(seen), seen.answer) == ([name], answer)
    assert (seen.opens_in > 0) == (name == "queue_limiter")


def test_a_paused_organization_is_named_also_where_its_lane_was_not_told(line: Line) -> None:
    line.submit("a1", organization_id="a")
    Line(line.redis, "design").pause_organization("a")

    assert shut(look(line, "a1", "a")) == ["organization_paused"]
    assert shut(look(line, "b1", "b")) == []


def test_the_limiter_tells_when_it_opens_and_forgets_what_is_over(line: Line) -> None:
    line.configure(limiter_max=2, limiter_ms=400)
    line.submit("a", "b", "c")
    line.take(2)
    opens_in = look(line, "c").gates[3].opens_in
    assert 0 < opens_in <= 400

    wait_until(lambda: look(line, "c").gates[3].is_open)

    assert look(line, "c").gates[3].current in (0, 1)
    assert line.redis.llen(keys.limiter(QUEUE)) == 2
    assert line.take() == ["c"]


def test_a_full_window_holds_up_no_queue_whose_lanes_are_all_held_back(line: Line) -> None:
    line.configure(limiter_max=1)
    line.submit("held", organization_id="a")
    line.submit("first", organization_id="b")
    line.pause_organization("a")
    line.take(1)

    seen = look(line, "held", "a")

    assert shut(seen) == ["organization_paused", "queue_limiter"]
    assert (seen.answer, seen.opens_in) == ("ok", 0)
    assert (line.acquire().status, line.acquire().retry_ms) == ("empty", 0)


def test_a_server_that_lost_its_data_is_told(line: Line) -> None:
    line.redis.flushall()

    seen = look(line, "a")

    assert (seen.place, seen.answer, seen.opens_in) == ("absent", "unconfigured", 250)


def test_every_place_is_told(line: Line) -> None:
    due = line.now_ms() + 60_123
    line.submit("later", due_ms=due)
    line.submit("runs", "waits")
    line.take(1)

    assert [look(line, i).place for i in ("later", "runs", "waits", "gone")] == [
        "delayed",
        "running",
        "waiting",
        "absent",
    ]
    lease = look(line, "runs").lease
    assert lease and (lease.task_id, lease.worker, lease.organization_id) == ("runs", "w1", "acme")
    assert look(line, "waits").lease is None
    assert look(line, "later").due_ms == due
    assert look(line, "later").position is None


def test_what_stands_before_a_task_is_counted(line: Line) -> None:
    line.submit("a1", "a2", "a3", organization_id="a")
    line.submit("b1", organization_id="b")
    line.submit("c1", organization_id="c")
    line.submit("d1", organization_id="d", band=0)

    seen = look(line, "a3", "a").position
    first = look(line, "d1", "d", band=0).position

    assert seen == inspection.Position(2, tasks=2, at_least=False, lanes=0, stricter_lanes=1)
    assert look(line, "c1", "c").position == inspection.Position(2, 0, False, 2, 1)
    assert first == inspection.Position(0, 0, False, 0, 0)


def test_a_parked_lane_is_counted_as_if_it_came_back(line: Line) -> None:
    line.submit("a1", organization_id="a")
    line.submit("b1", organization_id="b")
    line.pause_organization("b")

    assert look(line, "b1", "b").position == inspection.Position(2, 0, False, 1, 0)


def test_a_very_long_lane_is_not_walked_to_its_end(line: Line) -> None:
    for start in range(0, 10_500, 500):
        line.put([entry(f"t{number}") for number in range(start, start + 500)])

    near, far = look(line, "t9999").position, look(line, "t10400").position

    assert near and (near.tasks, near.at_least) == (9999, False)
    assert far and (far.tasks, far.at_least) == (10_000, True)


def test_holders_are_the_longest_running_ones_the_own_organizations_first(line: Line) -> None:
    line.submit(*[f"a{n}" for n in range(30)], organization_id="a", band=0)
    line.submit("b1", "b2", organization_id="b")
    line.take(16)
    line.take(16, worker="w2")

    seen = look(line, "b2", "b")

    assert (seen.running, seen.concurrency) == (32, 0)
    assert [holder.task_id for holder in seen.holders[:3]] == ["b1", "b2", "a0"]
    assert len(seen.holders) == 20
    first = seen.holders[0]
    assert (first.organization_id, first.worker) == ("b", "w2")
    assert first.lease_end_ms > seen.now_ms
    assert first.started_at and first.started_at.endswith("Z")


def test_workers_that_were_seen_a_moment_ago_are_counted_with_their_slots(line: Line) -> None:
    line.run(presence.heartbeat(QUEUE, worker="w1", slots=3))
    line.run(presence.heartbeat(QUEUE, worker="w2", slots=0))
    line.run(presence.heartbeat(QUEUE, worker="w3", slots=5))
    line.run(presence.heartbeat(QUEUE, worker="w4", slots=5))
    line.run(presence.leave(QUEUE, worker="w3"))
    line.redis.zadd(keys.workers(QUEUE), {"w4": line.now_ms() - LEASE_MS - 1})

    assert look(line, "a").workers == inspection.Workers(
        serving=1, slots=3, idle=1, suspended=False
    )
    line.redis.set("rq:suspended", 1)
    assert look(line, "a").workers.suspended


def test_workers_that_died_long_ago_are_forgotten(line: Line) -> None:
    line.run(presence.heartbeat(QUEUE, worker="old", slots=3))
    line.redis.zadd(keys.workers(QUEUE), {"old": line.now_ms() - 3_600_001})

    line.run(presence.heartbeat(QUEUE, worker="new", slots=3))

    assert texts(line.redis.zrange(keys.workers(QUEUE), 0, -1)) == ["new"]
    assert texts(line.redis.hkeys(keys.slots(QUEUE))) == ["new"]


def test_looking_changes_nothing(line: Line) -> None:
    line.configure(limiter_max=2, limiter_ms=1)
    line.submit("a", "b", "c")
    line.take(2)
    line.pause_organization("acme")
    before = {key: line.redis.dump(key) for key in texts(line.redis.keys())}

    look(line, "c")

    assert {key: line.redis.dump(key) for key in texts(line.redis.keys())} == before


def test_a_full_server_still_hears_of_workers_and_explains(line: Line) -> None:
    line.submit("a")
    line.redis.config_set("maxmemory", 1)
    try:
        line.run(presence.heartbeat(QUEUE, worker="w1", slots=3))

        assert look(line, "a").workers.serving == 1
    finally:
        line.redis.config_set("maxmemory", 0)


ORGANIZATIONS = st.sampled_from("abc")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), ORGANIZATIONS, st.integers(0, 3), st.integers(1, 3)),
        st.tuples(st.just("take"), st.integers(1, 3)),
        st.tuples(st.just("settle"), st.integers(0, 9), st.sampled_from(["ok", "back"])),
        st.tuples(st.just("pause"), st.booleans()),
        st.tuples(st.just("hold"), ORGANIZATIONS, st.booleans()),
        st.tuples(
            st.just("gates"),
            st.integers(0, 4),
            st.integers(0, 3),
            st.sampled_from([0, 3, 9]),
            st.booleans(),
        ),
        st.just(("ask",)),
    ),
    min_size=5,
    max_size=40,
)


class Story:
    """A queue that lives through steps; before each grant the dry run tells it."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.line.redis.flushall()
        self.homes: dict[str, tuple[str, int]] = {}
        self.leases: list[Lease] = []
        self.gates: dict[str, Any] = {"paused": False, "limiter_ms": 600_000}
        self.line.configure(**self.gates)

    def submit(self, organization: str, band: int, count: int) -> None:
        ids = [f"t{len(self.homes) + number}" for number in range(count)]
        self.homes |= dict.fromkeys(ids, (organization, band))
        self.line.submit(*ids, organization_id=organization, band=band)

    def take(self, want: int) -> None:
        for _ in range(want):
            self.ask()

    def settle(self, which: int, outcome: str) -> None:
        if self.leases:
            self.line.settle(self.leases.pop(which % len(self.leases)), outcome)

    def pause(self, paused: bool) -> None:
        self.gates["paused"] = paused
        self.line.configure(**self.gates)

    def hold(self, organization: str, paused: bool) -> None:
        self.line.pause_organization(organization, paused)

    def gates_of(self, concurrency: int, cap: int, limiter: int, weighted: bool) -> None:
        self.gates |= {
            "concurrency": concurrency,
            "organization_cap": cap,
            "limiter_max": limiter,
            "weighted": weighted,
        }
        self.line.configure(**self.gates)

    def ask(self) -> None:
        """The next grant is what the dry run of all waiting tasks says."""
        waiting = self.line.waits()
        seen = {task_id: look(self.line, task_id, *self.homes[task_id]) for task_id in waiting}
        grant = self.line.acquire(1)
        granted = [lease.task_id for lease in grant.leases]
        self.leases += grant.leases
        if not seen:
            assert granted == []
            return
        answer = next(iter(seen.values())).answer
        may_start = [task_id for task_id in waiting if not shut(seen[task_id])]
        assert granted == sorted(may_start, key=lambda i: order(seen[i]))[:1]
        assert grant.status == (answer if answer != "ok" else "ok" if granted else "empty")


def order(seen: View) -> tuple[int, int]:
    assert seen.place == "waiting" and seen.position
    return seen.position.stricter_lanes + seen.position.lanes, seen.position.tasks


@given(steps=STEPS)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_the_dry_run_says_starts_next_is_what_a_worker_is_given(
    line: Line, steps: list[tuple[Any, ...]]
) -> None:
    story = Story(line)
    for name, *words in [*steps, ("ask",)]:
        getattr(story, "gates_of" if name == "gates" else name)(*words)
