"""Colours in OKLCH, where equal steps look equal, and the WCAG contrast of what is shown."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Oklch:
    """Lightness 0 to 1, chroma from 0, hue in degrees."""

    lightness: float
    chroma: float
    hue: float

    def at(self, lightness: float) -> "Oklch":
        """The same colour, lighter or darker."""
        return replace(self, lightness=min(max(lightness, 0.0), 1.0))


def parse(text: str) -> Oklch:
    """The colour of `#rgb` or `#rrggbb`."""
    digits = text.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    red, green, blue = (_linear(int(digits[at : at + 2], 16) / 255) for at in (0, 2, 4))
    long = math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
    medium = math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    short = math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    lightness = 0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short
    a = 1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short
    b = 0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short
    return Oklch(lightness, math.hypot(a, b), math.degrees(math.atan2(b, a)) % 360)


def to_hex(color: Oklch) -> str:
    """`#rrggbb`; a colour that no screen can show loses chroma until one can."""
    chroma = color.chroma
    while chroma > 0.002 and not _is_shown(_to_linear(replace(color, chroma=chroma))):
        chroma *= 0.97
    shown = _to_linear(replace(color, chroma=chroma if chroma > 0.002 else 0.0))
    return "#" + "".join(f"{round(_gamma(min(max(part, 0), 1)) * 255):02x}" for part in shown)


def contrast(one: str, other: str) -> float:
    """The WCAG 2.2 contrast ratio of two hex colours, 1 to 21.

    >>> contrast("#000000", "#ffffff")
    21.0
    """
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def readable(color: Oklch, grounds: list[str], minimum: float = 4.5) -> str:
    """The colour, moved in lightness until it reaches `minimum` on all grounds.

    It moves away from the grounds' lightness, so it ends at black or white at the latest.
    """
    shown = to_hex(color)
    is_light_ground = sum(_luminance(ground) for ground in grounds) / len(grounds) > 0.18
    step = -0.01 if is_light_ground else 0.01
    moved = color
    while min(contrast(shown, ground) for ground in grounds) < minimum:
        if not 0 < moved.lightness + step < 1:
            return "#000000" if is_light_ground else "#ffffff"
        moved = moved.at(moved.lightness + step)
        shown = to_hex(moved)
    return shown


def _to_linear(color: Oklch) -> tuple[float, float, float]:
    a = color.chroma * math.cos(math.radians(color.hue))
    b = color.chroma * math.sin(math.radians(color.hue))
    long = (color.lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (color.lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (color.lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _is_shown(parts: tuple[float, float, float]) -> bool:
    return all(-0.0005 <= part <= 1.0005 for part in parts)


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def _gamma(part: float) -> float:
    return part * 12.92 if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055


def _luminance(color: str) -> float:
    digits = color.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    red, green, blue = (_linear(int(digits[at : at + 2], 16) / 255) for at in (0, 2, 4))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
