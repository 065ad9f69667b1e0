"""Reads stylesheets for what they say about a design: colours in groups, fonts, breakpoints."""

import colorsys
import math
import re
from collections import Counter

from plugspace_queue.schemas.analysis import ColorUse, DesignReport
from project.agents.design.oklch import Oklch, parse

NAMED = {"black": "#000000", "white": "#ffffff", "red": "#ff0000", "navy": "#000080"}
HEX = re.compile(r"#([0-9a-fA-F]{8}|[0-9a-fA-F]{6}|[0-9a-fA-F]{3,4})(?![0-9a-zA-Z_-])")
RGB = re.compile(r"rgba?\(\s*(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})")
HSL = re.compile(r"hsla?\(\s*(\d{1,3})(?:deg)?[\s,]+(\d{1,3})%[\s,]+(\d{1,3})%")
WORD = re.compile(r":[^;{}]*?\b(black|white|red|navy)\b", re.IGNORECASE)
FONT = re.compile(r"font-family\s*:\s*([^;{}]{1,300})", re.IGNORECASE)
NEAR = 0.06
MAX_GROUPS = 12


def read(sheets: list[str]) -> DesignReport:
    """What all sheets together say."""
    text = re.sub(r"/\*.*?\*/", " ", "\n".join(sheets), flags=re.DOTALL)
    return DesignReport(
        colors=_groups(Counter(_colors(text))),
        fonts=_fonts(text),
        custom_properties=len(set(re.findall(r"(--[\w-]{1,64})\s*:", text))),
        media_queries=len(re.findall(r"@media\b", text)),
    )


def _colors(text: str) -> list[str]:
    values = "\n".join(re.findall(r":([^;{}]{1,400})", text))
    found = [_long(digits) for digits in HEX.findall(values)]
    found += [_rgb(*(int(part) for part in parts)) for parts in RGB.findall(values)]
    found += [_hsl(*(int(part) for part in parts)) for parts in HSL.findall(values)]
    return found + [NAMED[word.lower()] for word in WORD.findall(text)]


def _long(digits: str) -> str:
    short = "".join(digit * 2 for digit in digits[:3])
    return f"#{digits[:6] if len(digits) >= 6 else short}".lower()


def _rgb(*parts: int) -> str:
    return "#" + "".join(f"{min(part, 255):02x}" for part in parts)


def _hsl(hue: int, saturation: int, lightness: int) -> str:
    parts = colorsys.hls_to_rgb(
        hue % 360 / 360, min(lightness, 100) / 100, min(saturation, 100) / 100
    )
    return _rgb(*(round(part * 255) for part in parts))


def _groups(uses: Counter[str]) -> list[ColorUse]:
    """Like colours together, each group under its most used member."""
    groups: dict[str, int] = {}
    for color, count in sorted(uses.items(), key=lambda use: (-use[1], use[0])):
        near = next((leader for leader in groups if _distance(leader, color) < NEAR), color)
        groups[near] = groups.get(near, 0) + count
    total = sum(groups.values())
    ranked = sorted(groups.items(), key=lambda group: (-group[1], group[0]))[:MAX_GROUPS]
    return [ColorUse(color=color, uses=n, share=round(n / total, 3)) for color, n in ranked]


def _distance(one: str, other: str) -> float:
    return math.dist(_place(parse(one)), _place(parse(other)))


def _place(color: Oklch) -> tuple[float, float, float]:
    angle = math.radians(color.hue)
    return (color.lightness, color.chroma * math.cos(angle), color.chroma * math.sin(angle))


def _fonts(text: str) -> list[str]:
    firsts = [stack.split(",")[0].strip(" '\"\n\t") for stack in FONT.findall(text)]
    names = [name for name in firsts if name and not name.startswith("var(")]
    return [name[:80] for name, _ in Counter(names).most_common(8)]
