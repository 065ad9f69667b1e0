"""Begins faults at random moments, each kind as often as the others, and undoes them in time."""

import time
from collections.abc import Iterator, Sequence

from tests.chaos.faults import Fault, Field, Injected, Kind

SHORTEST_GAP = 0.2

FIRST_AT = 4.0
"""Seconds until workers have started and there is something to break."""


class Injector:
    """Turned often by the run; several faults may be at work at once."""

    def __init__(self, kinds: Sequence[Kind], field: Field, longest_gap: float) -> None:
        self.injected: list[Injected] = []
        self._names = {kind.name for kind in kinds}
        self._kinds = _endless(kinds, field)
        self._field = field
        self._at_work: list[tuple[float, Injected, Fault]] = []
        self._longest_gap = longest_gap
        self._next_at = time.time() + FIRST_AT

    def has_seen_all(self) -> bool:
        """Whether every kind of fault has happened."""
        return self._names <= {one.name for one in self.injected}

    def turn(self) -> None:
        """Undo what is over, begin what is due."""
        now = time.time()
        for entry in [one for one in self._at_work if one[0] <= now or one[2].is_over()]:
            self._undo(entry)
        if now >= self._next_at:
            self._begin()
            self._next_at = time.time() + self._gap()

    def end(self) -> None:
        """Undo everything that is undone by undoing; workers that stop get their time."""
        for entry in [one for one in self._at_work if one[1].name != "SIGTERM"]:
            self._undo(entry)

    def _gap(self) -> float:
        return self._field.chance.uniform(SHORTEST_GAP, self._longest_gap)

    def _begin(self) -> None:
        kind = next(self._kinds)
        began = time.time()
        done = kind(self._field)
        if done is None:
            return
        target, fault = done
        told = Injected(kind.name, target, began, ended=time.time())
        self.injected.append(told)
        if fault.hold:
            self._at_work.append((began + fault.hold, told, fault))

    def _undo(self, entry: tuple[float, Injected, Fault]) -> None:
        _, told, fault = entry
        self._at_work.remove(entry)
        fault.undo()
        told.ended = time.time()


def _endless(kinds: Sequence[Kind], field: Field) -> Iterator[Kind]:
    """All kinds in a new order, again and again: a short run sees each of them too."""
    while True:
        bag = list(kinds)
        field.chance.shuffle(bag)
        yield from bag
