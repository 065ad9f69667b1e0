"""The performance budget as numbers: what ours must reach beside the peers of the same run."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks import drains, measures
from benchmarks.results import Row
from benchmarks.systems.base import System
from benchmarks.systems.bullmq import NODE, NODE_POSTGRES
from benchmarks.systems.ours import Ours
from benchmarks.table import number

HOLDS, FAILS, REACHED, MISSED, UNKNOWN = "holds", "FAILS", "aim met", "aim missed", "not measured"

UNITS = {figure: unit for entry in measures.MEASURES for figure, unit in entry.figures.items()}


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One figure of ours: over the best of some peers', over another of ours, or by itself.

    A rate must be at least the limit, everything else at most.
    """

    figure: str
    title: str = ""
    """Where the figure's name does not stand alone."""
    limit: float | None = None
    aim: float | None = None
    peers: Callable[[System], bool] | None = None
    whose: str = ""
    over: str = ""
    """A figure of the same system."""
    stages: Sequence[str] = ()
    """Figures that make it up: the largest of them is named when the gate fails."""

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return UNITS[self.figure].endswith("/s")

    @property
    def text(self) -> str:
        """What is held to the limit."""
        beside = self.whose or self.over
        return (self.title or self.figure) + (f", over {beside}" if beside else "")

    @property
    def limits(self) -> str:
        """Limit and aim."""
        sign = ">=" if self.is_rate else "<="
        words = [] if self.limit is None else [f"{sign} {self.limit:g}"]
        return ", ".join([*words, *([] if self.aim is None else [f"aim {self.aim:g}"])])


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a gate."""

    gate: Gate
    word: str
    value: float | None = None
    unit: str = ""
    beside: str = ""
    """The peer that it was held against."""
    stage: str = ""
    """The stage of ours that costs most, when the gate fails or misses its aim."""

    def plain(self) -> dict[str, object]:
        """For the file of figures."""
        gate, value = self.gate, self.value
        return {
            "gate": gate.text,
            "limit": gate.limit,
            "aim": gate.aim,
            "measured": value if value is None or math.isfinite(value) else None,
            "unit": self.unit,
            "word": self.word,
            "beside": self.beside,
            "stage": self.stage,
        }


def judge(rows: Sequence[Row], systems: Mapping[str, System]) -> list[Outcome]:
    """Every gate against the rows of one run; `systems` by their names."""
    return [_outcome(gate, rows, systems) for gate in GATES]


def lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """A block for terminals."""
    yield "performance budget (ours on PostgreSQL)"
    for outcome in outcomes:
        gate = outcome.gate
        value = "" if outcome.value is None else f"{number(outcome.value)} {outcome.unit}"
        beside = f" ({outcome.beside})" if outcome.beside else ""
        stage = f"; most of it: {outcome.stage}" if outcome.stage else ""
        yield f"  {outcome.word:<13}{value:>14}  {gate.limits:<20}{gate.text}{beside}{stage}"


def _outcome(gate: Gate, rows: Sequence[Row], systems: Mapping[str, System]) -> Outcome:
    judged = [row for row in rows if _is_judged(systems[row.system])]
    ours = next((row for row in judged if row.measure == gate.figure), None)
    if ours is None:
        return Outcome(gate=gate, word=UNKNOWN)
    stage = _stage(gate, [row for row in judged if row.system == ours.system])
    if gate.peers is None and not gate.over:
        return _judged(gate, ours.median, ours.unit, stage=stage)
    theirs = [row for row in rows if _is_beside(gate, row, ours, systems[row.system])]
    if not theirs:
        return Outcome(gate=gate, word=UNKNOWN)
    best = (max if gate.is_rate else min)(theirs, key=lambda row: row.median)
    # A wait below zero: a worker that a commit wakes can be quicker than the commit's return.
    value = ours.median / best.median if best.median > 0 else math.inf
    return _judged(gate, value, "x", beside="" if gate.over else best.system, stage=stage)


def _is_beside(gate: Gate, row: Row, ours: Row, system: System) -> bool:
    """Whether the gate holds ours against this row."""
    if gate.over:
        return row.measure == gate.over and row.system == ours.system
    is_peer = not system.is_ours and gate.peers is not None and gate.peers(system)
    return row.measure == gate.figure and is_peer


def _stage(gate: Gate, rows: Sequence[Row]) -> str:
    """The largest of the gate's stages, with its share of all."""
    found = [row for row in rows if row.measure in gate.stages]
    total = sum(row.median for row in found)
    if not found or total <= 0:
        return ""
    most = max(found, key=lambda row: row.median)
    name = most.measure.rpartition(": ")[2]
    return f"{name}, {most.median / total:.0%} of {number(total)} {most.unit}"


def _is_judged(system: System) -> bool:
    return system.is_ours and system.needs_postgres


def _judged(gate: Gate, value: float, unit: str, *, beside: str = "", stage: str = "") -> Outcome:
    def reaches(limit: float | None) -> bool:
        return limit is not None and (value >= limit if gate.is_rate else value <= limit)

    if gate.limit is not None and not reaches(gate.limit):
        word = FAILS
    elif reaches(gate.aim):
        word = REACHED
    else:
        word = HOLDS if gate.aim is None or gate.limit is not None else MISSED
    shown = stage if word in (FAILS, MISSED) else ""
    return Outcome(gate=gate, word=word, value=value, unit=unit, beside=beside, stage=shown)


def _is_baseline(system: System) -> bool:
    if not isinstance(system, Ours) or system.version != BASELINE:
        return False
    return system == replace(measures.THREADS, checkout=system.checkout)


def _is_durable(system: System) -> bool:
    return system.keeps_records and not isinstance(system, Ours)


def _is_durable_python(system: System) -> bool:
    return _is_durable(system) and system.is_python


def _is_light_python(system: System) -> bool:
    return system.is_python and not system.keeps_records


def _is_node(system: System) -> bool:
    return system == NODE


def _is_node_with_rows(system: System) -> bool:
    return system == NODE_POSTGRES


BASELINE = "b2d5e10"
"""The revision that the CPU time of a task is held against."""

DURABLE_PYTHON, DURABLE = "the best durable Python peer", "the best durable peer"
LIGHT_PYTHON = "the best Python peer without records"

DRAINED = drains.ONE.parts
PICKED_UP = (measures.PICKUP_PUBLISH, measures.PICKUP_AFTER)

GATES = (
    Gate(
        figure=drains.ONE.cpu,
        limit=0.42,
        aim=0.34,
        peers=_is_baseline,
        whose=f"revision {BASELINE}",
        stages=DRAINED,
    ),
    Gate(
        figure=measures.DRAIN,
        limit=5,
        aim=7,
        peers=_is_durable_python,
        whose=DURABLE_PYTHON,
        stages=DRAINED,
    ),
    Gate(
        figure=measures.DRAIN,
        limit=2,
        aim=3,
        peers=_is_node_with_rows,
        whose="BullMQ on Node and PostgreSQL",
        stages=DRAINED,
    ),
    Gate(
        figure=measures.DRAIN,
        limit=1.5,
        aim=2,
        peers=_is_light_python,
        whose=LIGHT_PYTHON,
        stages=DRAINED,
    ),
    Gate(
        figure=measures.TWO,
        limit=1.2,
        aim=1.6,
        peers=_is_light_python,
        whose=LIGHT_PYTHON,
        stages=drains.TWO.parts,
    ),
    Gate(
        figure=measures.DRAIN,
        limit=0.4,
        aim=0.55,
        peers=_is_node,
        whose="BullMQ on Node and Redis",
        stages=DRAINED,
    ),
    Gate(figure=measures.MANY, limit=0.85, over=measures.DRAIN, stages=drains.MANY.parts),
    Gate(figure=measures.TWO, limit=1.25, over=measures.DRAIN, stages=drains.TWO.parts),
    Gate(
        figure=measures.PICKUP_HALF,
        limit=1.4,
        aim=1,
        peers=_is_durable,
        whose=DURABLE,
        stages=PICKED_UP,
    ),
    Gate(
        figure=measures.PICKUP_MOST,
        limit=1.5,
        aim=1,
        peers=_is_durable,
        whose=DURABLE,
        stages=PICKED_UP,
    ),
    Gate(
        figure=measures.SINGLE,
        limit=0.6,
        aim=0.8,
        peers=_is_durable,
        whose=DURABLE,
        stages=(measures.SINGLE_OWN, measures.SINGLE_SERVERS),
    ),
    Gate(
        figure=measures.BULK,
        limit=8000,
        stages=(measures.BULK_OWN, measures.BULK_SERVERS),
    ),
    Gate(
        figure=measures.SLEEPERS,
        limit=0.90,
        aim=0.86,
        stages=(measures.SLEEPERS_FIRST, measures.SLEEPERS_BETWEEN),
    ),
    Gate(figure=measures.ACQUIRE_GROWTH, limit=1.3),
    Gate(figure=measures.MEMORY_OVER, title="worker's memory over the loaded code", limit=25),
    Gate(figure=measures.DUE_MOST, limit=100),
    Gate(figure=measures.BACKOFF_MOST, limit=100),
)
