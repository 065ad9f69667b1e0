"""A run: every measure on every system, in turns, so that a busy minute hits all alike."""

import dataclasses
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import results
from benchmarks.ground import Ground
from benchmarks.measures import Measure
from benchmarks.processes import ChildFailed
from benchmarks.records import TooSlow
from benchmarks.results import Row
from benchmarks.sizes import Size
from benchmarks.systems.base import System
from benchmarks.trial import Incomplete, Trial

Taken = dict[tuple[str, str], list[float]]
"""(system, figure) to the values of its repetitions."""


@dataclass(frozen=True)
class Step:
    """One measurement."""

    measure: Measure
    system: System
    run: int

    def __str__(self) -> str:
        return f"{self.measure.key}, {self.system.name}, run {self.run}"


def run(measures: Sequence[Measure], size: Size) -> tuple[list[Row], list[str]]:
    """Measure everything, telling on stderr how far it is; rows, and measurements that failed."""
    steps = list(_steps(measures, size))
    taken: Taken = defaultdict(list)
    failed: list[str] = []
    begun = time.monotonic()
    with Ground() as ground:
        for number, step in enumerate(steps, 1):
            place = f"[{number:>3}/{len(steps)}] {time.monotonic() - begun:5.0f} s"
            try:
                values = step.measure.run(Trial(step.system, ground, size))
            except (ChildFailed, Incomplete, TooSlow) as error:
                failed.append(str(step))
                sys.stderr.write(f"{place}  {step} failed: {error}\n")
                continue
            for name, value in values.items():
                taken[step.system.name, name].append(value)
            sys.stderr.write(f"{place}  {step}: {_shown(step, values)}\n")
    return [row for measure in measures for row in _rows(measure, taken)], failed


def _steps(measures: Sequence[Measure], size: Size) -> Iterator[Step]:
    for measure in measures:
        for number in range(1, (1 if measure.is_once else size.runs) + 1):
            # Every second round begins at the other end: what runs first meets cold caches.
            turn = measure.systems if number % 2 else tuple(reversed(measure.systems))
            for system in turn:
                yield Step(measure, system, number)


def _shown(step: Step, values: dict[str, float]) -> str:
    figures = step.measure.figures
    return ", ".join(f"{value:,.4g} {figures[name]}" for name, value in values.items())


def _rows(measure: Measure, taken: Taken) -> Iterator[Row]:
    first = measure.systems[0]
    for figure, unit in measure.figures.items():
        rows = {
            system: results.row(system.name, system.version, figure, unit, values)
            for system in measure.systems
            if (values := taken.get((system.name, figure)))
        }
        reference = rows.get(first) if first.is_ours else None
        for row in rows.values():
            yield dataclasses.replace(row, ratio_ours=results.ratio(reference, row))
