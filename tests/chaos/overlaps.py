"""Executions of one task at the same time, and the fault that explains them, if there is one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from tests.chaos.clocks import LONGEST_OVERLAP
from tests.chaos.faults import Injected
from tests.chaos.journal import Span, by_task

FORGETS = {"FLUSHALL", "Redis restart"}
"""Faults after which nobody knows for a while who owns what."""

STOPS = {"SIGSTOP"}
"""Faults that hold a worker still: its leases run out, and it does not know."""


@dataclass(frozen=True)
class Overlap:
    """Two executions of a task, seen at the same time."""

    first: Span
    second: Span

    @property
    def began(self) -> float:
        return self.second.began

    @property
    def until(self) -> float:
        return min(self.first.seen, self.second.seen)

    def cause(self, injected: Iterable[Injected]) -> str:
        """The fault that explains it, or no word."""
        for fault in injected:
            is_near = self._is_within(fault.began, fault.ended)
            if is_near and (fault.name in FORGETS or self._is_of(fault)):
                return f"{fault.name} {fault.target}".strip()
        if any(self._is_within(*pause) for pause in self.first.pauses):
            return "got no processor"
        return ""

    def _is_of(self, fault: Injected) -> bool:
        return fault.name in STOPS and fault.target == self.first.key.worker

    def _is_within(self, began: float, ended: float) -> bool:
        return began <= self.began and self.until <= ended + LONGEST_OVERLAP


def overlaps(spans: list[Span]) -> Iterator[Overlap]:
    """Every pair of executions of one task that ran at the same time."""
    for executions in by_task(spans).values():
        yield from _among(executions)


def _among(executions: Sequence[Span]) -> Iterator[Overlap]:
    for first, second in combinations(executions, 2):
        if second.began < first.seen:
            yield Overlap(first, second)
