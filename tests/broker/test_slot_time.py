"""A turn is one start, however long it runs; a cap keeps slots for others (decision 13)."""

import heapq
from collections import Counter

import pytest

from plugspace_queue.broker import scripts, task_store
from plugspace_queue.broker.types import Lease
from tests.broker.tools import QUEUE, Line, entry

SLOTS = 10
RUN_TIMES = {"long": 1.0, "short": 0.01}
"""Seconds that a task of each organization runs."""

SECONDS = 5.0


class Day:
    """Slots that never idle, on a clock of their own: the order is that of the scripts."""

    def __init__(self, line: Line) -> None:
        self.now = 0.0
        self.time_in_slots = Counter[str]()
        self.starts = Counter[str]()
        self.widest_gap = Counter[str]()
        """Longest time between two starts of an organization."""
        self._line = line
        self._ends: list[tuple[float, str, Lease]] = []
        self._last_start: dict[str, float] = {}
        self._in_line = Counter[str]()
        self._made = 0

    def run(self, seconds: float) -> None:
        while self.now < seconds:
            self._fill()
            self._start()
            self._end()

    def _fill(self) -> None:
        """Nobody's line runs empty."""
        for name in RUN_TIMES:
            if self._in_line[name] < SLOTS:
                self._made += 200
                ids = [f"{name}-{self._made + number}" for number in range(200)]
                entries = [entry(task_id, name) for task_id in ids]
                scripts.run(self._line.redis, task_store.submit_all(QUEUE, entries))
                self._in_line[name] += 200

    def _start(self) -> None:
        free = SLOTS - len(self._ends)
        for lease in self._line.acquire(free, lease_ms=3_600_000).leases:
            name = lease.organization_id
            self._in_line[name] -= 1
            self.starts[name] += 1
            gap = self.now - self._last_start.get(name, self.now)
            self.widest_gap[name] = max(self.widest_gap[name], gap)
            self._last_start[name] = self.now
            heapq.heappush(self._ends, (self.now + RUN_TIMES[name], lease.task_id, lease))

    def _end(self) -> None:
        self.now = self._ends[0][0]
        while self._ends and self._ends[0][0] <= self.now:
            _, _, lease = heapq.heappop(self._ends)
            assert self._line.settle(lease)
            self.time_in_slots[lease.organization_id] += RUN_TIMES[lease.organization_id]

    def share(self, name: str) -> float:
        """Of the time in slots."""
        return self.time_in_slots[name] / self.time_in_slots.total()


@pytest.fixture
def day(line: Line) -> Day:
    return Day(line)


def test_turns_are_equal_however_long_the_tasks_of_an_organization_run(day: Day) -> None:
    day.run(SECONDS)

    assert abs(day.starts["long"] - day.starts["short"]) <= SLOTS
    assert day.share("long") > 0.95


@pytest.mark.slow
def test_a_cap_of_half_the_slots_shares_the_time_in_halves_and_keeps_slots_free(
    line: Line, day: Day
) -> None:
    line.configure(organization_cap=SLOTS // 2)

    day.run(SECONDS)

    assert 0.48 < day.share("long") < 0.52
    assert day.starts["short"] > 90 * day.starts["long"]
    assert day.widest_gap["short"] < 2 * RUN_TIMES["short"]
