"""Rows as a bar chart: an SVG without scripts, readable on light and dark pages."""

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from benchmarks.results import Row
from benchmarks.table import number

OURS, DURABLE, LIGHT = "ours", "durable", "light"
LEGEND = {
    OURS: "plugspace_queue, a row per task",
    DURABLE: "peer with a row per task",
    LIGHT: "peer without records",
}
WIDTH, LABELS, FIGURES = 900, 370, 80
LINE, BAR, TITLE, GAP, HEAD = 21, 13, 28, 18, 32
LONGEST = 4.0
"""A bar is cut at this many times the panel's middle one: else one outlier flattens all others."""
STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #1f2937 }
    .title { font-weight: 600 }
    .note { fill: #6b7280 }
    .ours { fill: #4f46e5 }
    .durable { fill: #0d9488 }
    .light { fill: #9ca3af }
    .range { stroke: #1f2937; stroke-opacity: .55 }
    .cut { stroke: #fff; stroke-width: 3 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e5e7eb }
      .note { fill: #9ca3af }
      .ours { fill: #818cf8 }
      .durable { fill: #2dd4bf }
      .light { fill: #6b7280 }
      .range { stroke: #e5e7eb }
      .cut { stroke: #0d1117 }
    }
"""


def svg(rows: Sequence[Row], kinds: Mapping[str, str]) -> str:
    """A panel per figure, a bar per system, best first: the median, a line from least to most.

    `kinds` gives each system its kind, a key of LEGEND.
    """
    parts = list(_legend())
    y = HEAD + GAP
    for _, group in itertools.groupby(rows, key=lambda row: row.measure):
        block = sorted(group, key=lambda row: row.median, reverse=True)
        if not block[0].more_is_better:
            block.reverse()
        parts += _panel(block, kinds, y)
        y += TITLE + LINE * len(block) + GAP
    body = "\n".join(f"  {part}" for part in parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}"'
        f' height="{y}" role="img" aria-label="Benchmarks">\n'
        f"  <style>{STYLE}  </style>\n{body}\n</svg>\n"
    )


def _legend() -> Iterator[str]:
    for place, (kind, text) in enumerate(LEGEND.items()):
        x = place * 260
        yield f'<circle class="{kind}" cx="{x + 7}" cy="16" r="6"/>'
        yield f'<text x="{x + 20}" y="20">{escape(text)}</text>'


def _panel(block: Sequence[Row], kinds: Mapping[str, str], top: int) -> Iterator[str]:
    better = "more" if block[0].more_is_better else "less"
    title, note = escape(block[0].measure), escape(f"{block[0].unit}, {better} is better")
    yield (
        f'<text class="title" x="0" y="{top + 14}">{title}'
        f' <tspan class="note" font-weight="400" dx="6">{note}</tspan></text>'
    )
    reach = _reach(block)
    for place, row in enumerate(block):
        yield from _bar(row, kinds[row.system], reach, top + TITLE + LINE * place)


def _reach(block: Sequence[Row]) -> float:
    """The value at the right end of a panel."""
    middle = statistics.median(row.median for row in block)
    return min(max(row.max for row in block), middle * LONGEST) or 1.0


def _bar(row: Row, kind: str, reach: float, top: int) -> Iterator[str]:
    scale = (WIDTH - LABELS - FIGURES) / reach
    length, least, most = (
        min(max(value, 0), reach) * scale for value in (row.median, row.min, row.max)
    )
    middle = top + BAR / 2
    yield f'<text x="0" y="{top + 11}">{escape(row.system)}</text>'
    yield (
        f'<rect class="{kind}" x="{LABELS}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2"/>'
    )
    yield (
        f'<line class="range" x1="{LABELS + least:.1f}" x2="{LABELS + most:.1f}"'
        f' y1="{middle}" y2="{middle}"/>'
    )
    if row.median > reach:
        x = LABELS + length - 24
        yield f'<line class="cut" x1="{x}" x2="{x + 8}" y1="{top + BAR + 2}" y2="{top - 2}"/>'
    end = LABELS + max(length, most) + 8
    yield f'<text x="{end:.1f}" y="{top + 11}">{number(row.median)}</text>'
