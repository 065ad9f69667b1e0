"""Rows as a table for terminals."""

import itertools
from collections.abc import Iterator, Sequence

from benchmarks.results import Row


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """A block per figure: system, median, range, runs, and ours over it."""
    width = max(len(row.system) for row in rows)
    for figure, group in itertools.groupby(rows, key=lambda row: row.measure):
        block = list(group)
        better = "more" if block[0].more_is_better else "less"
        yield f"{figure} ({block[0].unit}, {better} is better)"
        for row in block:
            yield f"  {row.system:<{width}}  {_figures(row)}"
        yield ""


def _figures(row: Row) -> str:
    spread = f"({number(row.min)} to {number(row.max)}, n={row.runs})"
    ratio = "" if row.ratio_ours is None else f"ours/this {row.ratio_ours:.2f}"
    return f"{number(row.median):>8}  {spread:<28}{ratio}".rstrip()


def number(value: float) -> str:
    """As many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
