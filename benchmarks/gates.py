"""The performance budget as numbers: what ours must reach beside the peers of the same run."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import measures
from benchmarks.results import Row
from benchmarks.systems.base import System
from benchmarks.systems.bullmq import NODE
from benchmarks.table import number

HOLDS, FAILS, REACHED, MISSED, UNKNOWN = "holds", "FAILS", "aim met", "aim missed", "not measured"

UNITS = {figure: unit for entry in measures.MEASURES for figure, unit in entry.figures.items()}


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One figure of ours: over the best of some peers' or, without peers, by itself.

    A rate must be at least the limit, everything else at most.
    """

    figure: str
    title: str = ""
    """Where the figure's name does not stand alone."""
    limit: float | None = None
    aim: float | None = None
    peers: Callable[[System], bool] | None = None
    whose: str = ""

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return UNITS[self.figure].endswith("/s")

    @property
    def text(self) -> str:
        """What is held to the limit."""
        return (self.title or self.figure) + (f", over {self.whose}" if self.whose else "")

    @property
    def limits(self) -> str:
        """Limit and aim."""
        sign = ">=" if self.is_rate else "<="
        told = [] if self.limit is None else [f"{sign} {self.limit:g}"]
        return ", ".join([*told, *([] if self.aim is None else [f"aim {self.aim:g}"])])


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a gate; `beside` names the peer it was held against."""

    gate: Gate
    word: str
    value: float | None = None
    unit: str = ""
    beside: str = ""


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
        yield f"  {outcome.word:<13}{value:>14}  {gate.limits:<20}{gate.text}{beside}"


def _outcome(gate: Gate, rows: Sequence[Row], systems: Mapping[str, System]) -> Outcome:
    of_figure = [row for row in rows if row.measure == gate.figure]
    ours = next((row for row in of_figure if _is_judged(systems[row.system])), None)
    if ours is None:
        return Outcome(gate=gate, word=UNKNOWN)
    if gate.peers is None:
        return _judged(gate, ours.median, ours.unit)
    theirs = [row for row in of_figure if _takes_part(gate.peers, systems[row.system])]
    if not theirs:
        return Outcome(gate=gate, word=UNKNOWN)
    best = (max if gate.is_rate else min)(theirs, key=lambda row: row.median)
    # A wait below zero: a worker that a commit wakes can be quicker than the commit's return.
    value = ours.median / best.median if best.median > 0 else math.inf
    return _judged(gate, value, "x", best.system)


def _is_judged(system: System) -> bool:
    return system.is_ours and system.needs_postgres


def _takes_part(peers: Callable[[System], bool], system: System) -> bool:
    return not system.is_ours and peers(system)


def _judged(gate: Gate, value: float, unit: str, beside: str = "") -> Outcome:
    def reaches(limit: float | None) -> bool:
        return limit is not None and (value >= limit if gate.is_rate else value <= limit)

    if gate.limit is not None and not reaches(gate.limit):
        word = FAILS
    elif reaches(gate.aim):
        word = REACHED
    else:
        word = MISSED if gate.limit is None else HOLDS
    return Outcome(gate=gate, word=word, value=value, unit=unit, beside=beside)


def _is_durable(system: System) -> bool:
    return system.keeps_records


def _is_durable_python(system: System) -> bool:
    return system.keeps_records and system.is_python


def _is_light_python(system: System) -> bool:
    return system.is_python and not system.keeps_records


def _is_node(system: System) -> bool:
    return system == NODE


def _is_any(system: System) -> bool:
    return True


DURABLE_PYTHON, DURABLE, ANY = (
    "the best durable Python peer",
    "the best durable peer",
    "the best peer of all",
)
LIGHT_PYTHON = "the best Python peer without records"

GATES = (
    Gate(figure=measures.DRAIN, limit=4, peers=_is_durable_python, whose=DURABLE_PYTHON),
    Gate(figure=measures.DRAIN, limit=1.3, aim=2, peers=_is_light_python, whose=LIGHT_PYTHON),
    Gate(figure=measures.DRAIN, aim=1, peers=_is_node, whose="BullMQ on Node"),
    Gate(figure=measures.PICKUP_HALF, limit=1, peers=_is_durable, whose=DURABLE),
    Gate(figure=measures.PICKUP_HALF, aim=1.2, peers=_is_any, whose=ANY),
    Gate(figure=measures.PICKUP_MOST, limit=1, peers=_is_durable, whose=DURABLE),
    Gate(figure=measures.PICKUP_MOST, aim=1.2, peers=_is_any, whose=ANY),
    Gate(figure=measures.DUE_MOST, limit=100),
    Gate(figure=measures.BACKOFF_MOST, limit=100),
    Gate(figure=measures.SLEEPERS, limit=0.95, aim=0.86),
    Gate(figure=measures.BULK, limit=5000, aim=8000),
    Gate(figure=measures.SINGLE, limit=1, aim=1.5, peers=_is_durable, whose=DURABLE),
    Gate(figure=measures.ACQUIRE_GROWTH, limit=1.3),
    Gate(figure=measures.MEMORY_OVER, title="worker's memory over the loaded code", limit=25),
)
