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
from benchmarks.results import Row
from benchmarks.sizes import Size
from benchmarks.systems.base import System
from benchmarks.trial import Trial

Taken = dict[tuple[str, str], list[float]]
"""(system, figure) to the values of its repetitions."""


@dataclass(frozen=True)
class Step:
    """One measurement."""

    measure: Measure
    system: System
    run: int


def run(measures: Sequence[Measure], size: Size) -> list[Row]:
    """Measure everything, telling on stderr how far it is; the rows."""
    steps = list(_steps(measures, size))
    taken: Taken = defaultdict(list)
    begun = time.monotonic()
    with Ground() as ground:
        for number, step in enumerate(steps, 1):
            values = step.measure.run(Trial(step.system, ground, size))
            for name, value in values.items():
                taken[step.system.name, name].append(value)
            _tell(step, f"{number}/{len(steps)}", time.monotonic() - begun, values)
    return [row for measure in measures for row in _rows(measure, taken)]


def _steps(measures: Sequence[Measure], size: Size) -> Iterator[Step]:
    for measure in measures:
        for number in range(1, size.runs + 1):
            for system in measure.systems:
                yield Step(measure, system, number)


def _tell(step: Step, place: str, seconds: float, values: dict[str, float]) -> None:
    shown = ", ".join(
        f"{value:,.4g} {step.measure.figures[name]}" for name, value in values.items()
    )
    sys.stderr.write(
        f"[{place:>7}] {seconds:5.0f} s  {step.measure.key}, {step.system.name},"
        f" run {step.run}: {shown}\n"
    )


def _rows(measure: Measure, taken: Taken) -> Iterator[Row]:
    for figure, unit in measure.figures.items():
        rows = [
            results.row(system.name, system.version, figure, unit, taken[system.name, figure])
            for system in measure.systems
        ]
        reference = rows[0] if measure.systems[0].is_ours else None
        for row in rows:
            yield dataclasses.replace(row, ratio_ours=results.ratio(reference, row))
