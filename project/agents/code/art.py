"""Draws pictures that need no photographer: compositions of simple shapes in the site's colours.

Every picture is an SVG of shapes with classes `f1` to `f6`; the stylesheet gives them colour, so
light and dark need no second picture. The same words always give the same picture.
"""

import math
import random
from collections.abc import Callable

from project.agents.chance import seeded

CELL = 80
STYLES = {
    "confident": "tiles",
    "bold": "tiles",
    "playful": "tiles",
    "technical": "tiles",
    "editorial": "arches",
    "warm": "arches",
    "calm": "waves",
    "elegant": "waves",
}


def picture(words: str, mood: str, *, columns: int = 5, rows: int = 5) -> str:
    """An SVG of `columns` by `rows` cells, hidden from screen readers: it says nothing."""
    style = STYLES.get(mood, "tiles")
    # Rows of arches look alike when they are small; tiles do not.
    draw = DRAWERS["tiles" if style == "arches" and columns < 5 else style]
    shapes = "".join(draw(seeded(words, "art"), columns, rows))
    width, height = columns * CELL, rows * CELL
    return (
        f'<svg class="art" viewBox="0 0 {width} {height}" aria-hidden="true"'
        f' preserveAspectRatio="xMidYMid slice">{shapes}</svg>'
    )


def _rect(x: float, y: float, width: float, height: float, fill: int) -> str:
    return f'<rect class="f{fill}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>'


def _path(commands: str, fill: int) -> str:
    return f'<path class="f{fill}" d="{commands}"/>'


def _circle(x: float, y: float, radius: float, fill: int) -> str:
    return f'<circle class="f{fill}" cx="{x:g}" cy="{y:g}" r="{radius:g}"/>'


def _tiles(chance: random.Random, columns: int, rows: int) -> list[str]:
    shapes: list[str] = []
    for row in range(rows):
        for column in range(columns):
            ground, front = chance.sample(range(1, 7), 2)
            shapes.append(_rect(column * CELL, row * CELL, CELL, CELL, ground))
            shapes.append(_tile(chance, column * CELL, row * CELL, front))
    return shapes


def _tile(chance: random.Random, x: int, y: int, fill: int) -> str:
    kind = chance.choice(["quarter", "quarter", "half", "circle", "triangle", "bars", "plain"])
    turn = chance.randrange(4)
    left, top, right, bottom = x, y, x + CELL, y + CELL
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    (ax, ay), (bx, by), (cx, cy) = (corners[(turn + at) % 4] for at in range(3))
    if kind == "quarter":
        return _path(f"M{bx} {by}L{ax} {ay}A{CELL} {CELL} 0 0 0 {cx} {cy}Z", fill)
    if kind == "half":
        return _path(f"M{ax} {ay}A{CELL / 2:g} {CELL / 2:g} 0 0 0 {bx} {by}Z", fill)
    if kind == "circle":
        return _circle(x + CELL / 2, y + CELL / 2, chance.choice([14, 24, 32]), fill)
    if kind == "triangle":
        return _path(f"M{ax} {ay}L{bx} {by}L{cx} {cy}Z", fill)
    if kind == "bars":
        return "".join(_rect(x, y + at * 20 + 5, CELL, 10, fill) for at in range(4))
    return ""


def _arches(chance: random.Random, columns: int, rows: int) -> list[str]:
    width, height = columns * CELL, rows * CELL
    shapes = [_rect(0, 0, width, height, 6)]
    sun = chance.uniform(0.2, 0.8) * width
    shapes.append(_circle(sun, height * 0.28, CELL * 0.55, 2))
    count = max(2, columns // 2 + 1)
    span = width / count
    for at in range(count):
        base = height - chance.uniform(0.35, 0.72) * height
        shapes += _arch(at * span, span, base, height, chance)
    return shapes


def _arch(x: float, span: float, top: float, floor: float, chance: random.Random) -> list[str]:
    fills = chance.sample([1, 2, 3, 4, 5], 4)
    rings = []
    for ring, fill in enumerate(fills):
        inset = ring * span * 0.125
        left, right, radius = x + inset, x + span - inset, span / 2 - inset
        start = top + span / 2
        rings.append(
            _path(
                f"M{left:.1f} {floor:.1f}V{start:.1f}A{radius:.1f} {radius:.1f} 0 0 1"
                f" {right:.1f} {start:.1f}V{floor:.1f}Z",
                fill,
            )
        )
    return rings


def _waves(chance: random.Random, columns: int, rows: int) -> list[str]:
    width, height = columns * CELL, rows * CELL
    shapes = [_rect(0, 0, width, height, 6)]
    shapes.append(_circle(chance.uniform(0.25, 0.75) * width, height * 0.3, CELL * 0.7, 2))
    for layer, fill in enumerate([5, 4, 3, 1]):
        middle = height * (0.46 + layer * 0.14)
        shapes.append(_path(_wave(chance, width, height, middle), fill))
    return shapes


def _wave(chance: random.Random, width: int, height: int, middle: float) -> str:
    phase, swing = chance.uniform(0, math.tau), chance.uniform(0.05, 0.11) * height
    turns = chance.uniform(0.7, 1.5)
    points = [
        (x * width / 16, middle + swing * math.sin(phase + turns * math.tau * x / 16))
        for x in range(17)
    ]
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f"M0 {height}L{line}L{width} {height}Z"


DRAWERS: dict[str, Callable[[random.Random, int, int], list[str]]] = {
    "tiles": _tiles,
    "arches": _arches,
    "waves": _waves,
}
