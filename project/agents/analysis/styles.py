"""Reads stylesheets for what they say about a design: colours in groups, fonts, breakpoints."""

import colorsys
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import tinycss2
from tinycss2 import color4

from plugspace_queue.schemas.analysis import ColorUse, DesignReport
from project.agents.analysis.text import clean
from project.agents.design.oklch import Oklch, parse

# Characters of all sheets together: a large framework has 300,000, and the parser reads about
# a quarter of a million in a second.
MAX_READ = 512 * 1024
NEAR = 0.06
MAX_GROUPS = 12
# Like colours are looked for among so many; later ones are rare.
MAX_COLORS = 256
# Where a word that names a colour means something else.
NO_COLORS = ("font", "animation", "grid", "transition", "will-change", "view-transition")


def read(sheets: list[str]) -> DesignReport:
    """What all sheets together say, as far as they are read."""
    rules = [node for sheet in _cut(sheets) for node in _nodes(sheet)]
    declared = [node for node in rules if node.type == "declaration"]
    return DesignReport(
        colors=_groups(Counter(color for node in declared for color in _colors(node))),
        fonts=_fonts(declared),
        custom_properties=len({node.name for node in declared if node.name.startswith("--")}),
        media_queries=sum(
            node.type == "at-rule" and node.lower_at_keyword == "media" for node in rules
        ),
    )


def is_cut(sheets: list[str]) -> bool:
    """Whether the sheets are more than is read of them."""
    return sum(map(len, sheets)) > MAX_READ


def _cut(sheets: list[str]) -> Iterator[str]:
    room = MAX_READ
    for sheet in sheets:
        yield sheet[:room]
        room -= min(len(sheet), room)


def _nodes(sheet: str) -> Iterator[Any]:
    """Rules and declarations on every level; a stack, for levels may be a thousand."""
    try:
        waiting = [tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True)]
    except ValueError:
        # A number of thousands of digits: Python makes no integer of it.
        return
    while waiting:
        for node in waiting.pop():
            yield node
            if node.type in ("qualified-rule", "at-rule") and node.content:
                waiting.append(tinycss2.parse_blocks_contents(node.content, skip_comments=True))


def _colors(declaration: Any) -> Iterator[str]:
    may_name = not declaration.lower_name.startswith(NO_COLORS)
    waiting = [declaration.value]
    while waiting:
        for token in waiting.pop():
            if token.type == "function":
                waiting.append(token.arguments)
            if color := _color(token) if may_name or token.type != "ident" else "":
                yield color


def _color(token: Any) -> str:
    """`#rrggbb` of a token that is a colour and can be seen, else an empty text."""
    if token.type not in ("hash", "ident", "function"):
        return ""
    if token.type == "function" and token.lower_name in ("rgb", "rgba", "hsl", "hsla"):
        return _called(token)
    try:
        found = color4.parse_color(token)
        return _hex(found.to("srgb").coordinates) if _is_seen(found) else ""
    except (ArithmeticError, NotImplementedError, ValueError):
        # A space or a number that nobody can bring to a screen's red, green and blue.
        return ""


def _is_seen(found: Any) -> bool:
    return isinstance(found, color4.Color) and found.alpha > 0


def _called(function: Any) -> str:
    # By hand: what follows the three numbers may be anything, `var()` for example.
    found = [token for token in function.arguments if token.type in NUMBERS][:3]
    if len(found) < 3 or not all(math.isfinite(token.value) for token in found):
        return ""
    one, two, three = (token.value for token in found)
    if function.lower_name.startswith("hsl"):
        parts = (min(max(part, 0), 100) / 100 for part in (three, two))
        return _hex(colorsys.hls_to_rgb(one % 360 / 360, *parts))
    return _hex([token.value / (100 if token.type == "percentage" else 255) for token in found])


NUMBERS = ("number", "percentage", "dimension")


def _hex(parts: Iterable[float | None]) -> str:
    """Raises ValueError for a part that is no number."""
    return "#" + "".join(f"{round(min(max(part or 0.0, 0.0), 1.0) * 255):02x}" for part in parts)


def _groups(uses: Counter[str]) -> list[ColorUse]:
    """Like colours together, each group under its most used member."""
    groups: dict[str, int] = {}
    ranked = sorted(uses.items(), key=lambda use: (-use[1], use[0]))[:MAX_COLORS]
    places = {color: _place(parse(color)) for color, _ in ranked}
    for color, count in ranked:
        near = (leader for leader in groups if math.dist(places[leader], places[color]) < NEAR)
        leader = next(near, color)
        groups[leader] = groups.get(leader, 0) + count
    total = sum(groups.values())
    largest = sorted(groups.items(), key=lambda group: (-group[1], group[0]))[:MAX_GROUPS]
    return [ColorUse(color=color, uses=n, share=round(n / total, 3)) for color, n in largest]


def _place(color: Oklch) -> tuple[float, float, float]:
    angle = math.radians(color.hue)
    return (color.lightness, color.chroma * math.cos(angle), color.chroma * math.sin(angle))


def _fonts(declared: list[Any]) -> list[str]:
    """The first name of each stack, most used first."""
    names = [_first(node.value) for node in declared if node.lower_name == "font-family"]
    return [name for name, _ in Counter(filter(None, names)).most_common(8)]


def _first(value: list[Any]) -> str:
    words: list[str] = []
    for token in value:
        if token == "," or token.type not in ("ident", "string", "whitespace"):
            break
        words.append(token.value if token.type != "whitespace" else " ")
    return clean(" ".join("".join(words).split()))[:80]
