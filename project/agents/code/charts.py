"""Prepares charts for their templates: geometry in a box of 100 by 100, stretched by the page.

Lines keep their width while the box is stretched; labels are HTML beside it, so they stay
readable on a phone.
"""

import math
from dataclasses import dataclass, field
from itertools import pairwise

from plugspace_queue.schemas.architecture import Chart

TICKS = 4


@dataclass(frozen=True)
class Mark:
    """One drawn thing: a path or a bar, its colour by number, and what it stands for."""

    color: int
    label: str
    line: str = ""
    area: str = ""
    end: str = ""
    share: float = 0.0
    offset: float = 0.0
    text: str = ""


@dataclass(frozen=True)
class Bar:
    """One bar in the box."""

    color: int
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Drawing:
    """What a chart's template needs."""

    kind: str
    labels: list[str]
    ticks: list[str]
    marks: list[Mark]
    bars: list[Bar] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    total: str = ""


def draw(chart: Chart) -> Drawing:
    """The drawing of a chart; series are cut or filled with zeros to the number of labels."""
    values = [_fitted(series.values, len(chart.labels)) for series in chart.series]
    top = _ceiling(max((max(row, default=0.0) for row in values), default=0.0))
    marks = _MARKS[chart.kind](chart, values, top)
    return Drawing(
        kind=chart.kind,
        labels=chart.labels,
        ticks=[_number(top * (TICKS - at) / TICKS) + chart.unit for at in range(TICKS + 1)],
        marks=marks,
        bars=_bars(chart, values, top) if chart.kind == "bar" else [],
        columns=["", *(series.label for series in chart.series)],
        rows=_rows(chart, values),
        total=marks[0].text if marks else "",
    )


def _fitted(values: list[float], count: int) -> list[float]:
    return [max(value, 0.0) for value in (values + [0.0] * count)[:count]]


def _ceiling(largest: float) -> float:
    """A round number a little above the largest, that four steps divide well."""
    if largest <= 0:
        return 4.0
    unit = 10.0 ** math.floor(math.log10(largest))
    return next(
        unit * step for step in (1, 1.2, 1.6, 2, 3.2, 4, 6, 8, 10) if unit * step >= largest
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 or value == int(value) else f"{value:.1f}"


def _rows(chart: Chart, values: list[list[float]]) -> list[list[str]]:
    return [
        [label, *(f"{row[at]:,g}{chart.unit}" for row in values)]
        for at, label in enumerate(chart.labels)
    ]


def _area(chart: Chart, values: list[list[float]], top: float) -> list[Mark]:
    marks = []
    for at, (series, row) in enumerate(zip(chart.series, values, strict=True)):
        points = _points(row, top)
        line = _smooth(points)
        x, y = points[-1] if points else (0.0, 100.0)
        marks.append(
            Mark(
                color=at % 6 + 1,
                label=series.label,
                line=line,
                area=f"{line}L{x:.2f} 100L0 100Z" if at == 0 and points else "",
                end=f"M{x:.2f} {y:.2f}h0",
            )
        )
    return marks


def _points(row: list[float], top: float) -> list[tuple[float, float]]:
    width = max(len(row) - 1, 1)
    return [(100 * at / width, 100 - 100 * value / top) for at, value in enumerate(row)]


def _smooth(points: list[tuple[float, float]]) -> str:
    """A curve through all points that never swings beyond two neighbours."""
    if not points:
        return ""
    parts = [f"M{points[0][0]:.2f} {points[0][1]:.2f}"]
    for (ax, ay), (bx, by) in pairwise(points):
        middle = (ax + bx) / 2
        parts.append(f"C{middle:.2f} {ay:.2f} {middle:.2f} {by:.2f} {bx:.2f} {by:.2f}")
    return "".join(parts)


def _bar_marks(chart: Chart, values: list[list[float]], top: float) -> list[Mark]:
    return [Mark(color=at % 6 + 1, label=series.label) for at, series in enumerate(chart.series)]


def _bars(chart: Chart, values: list[list[float]], top: float) -> list[Bar]:
    slot = 100 / max(len(chart.labels), 1)
    width = slot * 0.68 / max(len(values), 1)
    return [
        Bar(
            color=number % 6 + 1,
            x=round(slot * (at + 0.16) + width * number, 2),
            y=round(100 - 100 * value / top, 2),
            width=round(width * 0.86, 2),
            height=round(100 * value / top, 2),
            title=f"{chart.series[number].label}, {chart.labels[at]}: {value:,g}{chart.unit}",
        )
        for number, row in enumerate(values)
        for at, value in enumerate(row)
    ]


def _donut(chart: Chart, values: list[list[float]], top: float) -> list[Mark]:
    parts = values[0] if values else []
    whole = sum(parts) or 1.0
    marks, offset = [], 0.0
    for at, (label, value) in enumerate(zip(chart.labels, parts, strict=True)):
        share = 100 * value / whole
        # A gap of one between neighbours, as the ring is cut and not painted over.
        drawn = round(max(share - 1, 0.1), 2)
        text = f"{value:,g} {chart.unit}".strip()
        marks.append(
            Mark(color=at % 6 + 1, label=label, share=drawn, offset=round(-offset, 2), text=text)
        )
        offset += share
    return marks


_MARKS = {"area": _area, "bar": _bar_marks, "donut": _donut}
