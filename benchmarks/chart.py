"""Rows as a bar chart: an SVG without scripts, readable on light and dark pages."""

import itertools
from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.results import Row
from benchmarks.table import number

WIDTH, LABELS, FIGURES = 900, 370, 80
LINE, BAR, TITLE, GAP = 22, 13, 30, 14
STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #1f2937 }
    .title { font-weight: 600 }
    .note { fill: #6b7280 }
    .ours { fill: #4f46e5 }
    .peer { fill: #9ca3af }
    .range { stroke: #1f2937; stroke-opacity: .55 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e5e7eb }
      .note { fill: #9ca3af }
      .ours { fill: #818cf8 }
      .peer { fill: #6b7280 }
      .range { stroke: #e5e7eb }
    }
"""


def svg(rows: Sequence[Row], ours: set[str]) -> str:
    """A panel per figure, a bar per system: the median, with a line from least to most."""
    parts: list[str] = []
    y = GAP
    for _, group in itertools.groupby(rows, key=lambda row: row.measure):
        block = list(group)
        parts += _panel(block, ours, y)
        y += TITLE + LINE * len(block) + GAP
    body = "\n".join(f"  {part}" for part in parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}"'
        f' height="{y}" role="img" aria-label="Benchmarks">\n'
        f"  <style>{STYLE}  </style>\n{body}\n</svg>\n"
    )


def _panel(block: Sequence[Row], ours: set[str], top: int) -> Iterator[str]:
    better = "more" if block[0].more_is_better else "less"
    title, note = escape(block[0].measure), escape(f"{block[0].unit}, {better} is better")
    yield (
        f'<text class="title" x="0" y="{top + 14}">{title}'
        f' <tspan class="note" font-weight="400" dx="6">{note}</tspan></text>'
    )
    scale = (WIDTH - LABELS - FIGURES) / (max(row.max for row in block) or 1)
    for place, row in enumerate(block):
        kind = "ours" if row.system in ours else "peer"
        yield from _bar(row, kind, scale, top + TITLE + LINE * place)


def _bar(row: Row, kind: str, scale: float, top: int) -> Iterator[str]:
    length, least, most = (max(v, 0) * scale for v in (row.median, row.min, row.max))
    middle = top + BAR / 2
    yield f'<text x="0" y="{top + 11}">{escape(row.system)}</text>'
    yield (
        f'<rect class="{kind}" x="{LABELS}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2"/>'
    )
    yield (
        f'<line class="range" x1="{LABELS + least:.1f}" x2="{LABELS + most:.1f}"'
        f' y1="{middle}" y2="{middle}"/>'
    )
    end = LABELS + max(length, most) + 8
    yield f'<text x="{end:.1f}" y="{top + 11}">{number(row.median)}</text>'
