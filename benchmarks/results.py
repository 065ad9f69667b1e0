"""Rows of results: what repetitions gave, as medians, and how ours compares."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of one system.

    `ratio_ours` is the median of the measure's first system of ours over this median: above 1
    is good for tasks/s, below 1 for everything else. None when that one was not measured.
    """

    system: str
    version: str
    measure: str
    unit: str
    median: float
    min: float
    max: float
    runs: int
    ratio_ours: float | None

    @property
    def more_is_better(self) -> bool:
        """Whether it is a rate."""
        return self.unit.endswith("/s")


def row(system: str, version: str, measure: str, unit: str, values: Sequence[float]) -> Row:
    """A row without its ratio."""
    return Row(
        system=system,
        version=version,
        measure=measure,
        unit=unit,
        median=_short(statistics.median(values)),
        min=_short(min(values)),
        max=_short(max(values)),
        runs=len(values),
        ratio_ours=None,
    )


def ratio(reference: Row | None, other: Row) -> float | None:
    """Median of the reference over the other's."""
    if reference is None or not other.median:
        return None
    return round(reference.median / other.median, 3)


def write(
    path: Path,
    machine: dict[str, Any],
    rows: Sequence[Row],
    gates: Sequence[dict[str, object]] = (),
) -> None:
    """Write machine, rows and gates as JSON, one a line."""
    head = json.dumps(machine, indent=4).replace("\n}", "\n  }")
    parts = {"rows": [asdict(row) for row in rows], "gates": gates}
    listed = (f'  "{name}": [\n{_lines(part)}\n  ]' for name, part in parts.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(",\n".join([f'{{\n  "machine": {head}', *listed]) + "\n}\n")


def _lines(part: Sequence[dict[str, Any]]) -> str:
    return ",\n".join(f"    {json.dumps(entry)}" for entry in part)


def _short(value: float) -> float:
    """Four digits that mean something."""
    return float(f"{value:.4g}")
