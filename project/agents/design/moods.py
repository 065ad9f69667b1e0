"""What a mood means for type, shape and colour."""

from dataclasses import dataclass
from typing import Literal

SANS = (
    "Inter, 'Segoe UI Variable', 'Segoe UI', -apple-system, BlinkMacSystemFont, Roboto,"
    " 'Noto Sans', 'Helvetica Neue', 'Liberation Sans', Arial, system-ui, sans-serif"
)
HUMANIST = (
    "Seravek, 'Gill Sans Nova', Ubuntu, Calibri, 'Source Sans 3', 'Noto Sans',"
    " 'Liberation Sans', sans-serif"
)
ROUND = (
    "ui-rounded, 'Hiragino Maru Gothic ProN', Quicksand, Comfortaa, 'Arial Rounded MT Bold',"
    " Nunito, 'Segoe UI', 'Noto Sans', 'Liberation Sans', sans-serif"
)
OLD_STYLE = (
    "'Iowan Old Style', 'Palatino Linotype', Palatino, 'URW Palladio L', P052,"
    " 'TeX Gyre Pagella', 'Noto Serif', serif"
)
TRANSITIONAL = "Charter, 'Bitstream Charter', 'Sitka Text', Cambria, 'Noto Serif', Georgia, serif"
MONO = (
    "ui-monospace, 'Cascadia Code', 'Source Code Pro', Menlo, Consolas, 'DejaVu Sans Mono',"
    " monospace"
)


@dataclass(frozen=True)
class Mood:
    """Fonts, corners, strength of colours, tint of greys, steepness of the type scale."""

    heading: str
    body: str
    shape: Literal["sharp", "soft", "round"]
    chroma: float
    tint: float
    ratio: float
    weight: int
    accent_turn: float


MOODS = {
    "confident": Mood(SANS, SANS, "soft", 0.19, 0.012, 1.25, 720, 150),
    "calm": Mood(HUMANIST, HUMANIST, "round", 0.09, 0.010, 1.22, 600, 60),
    "playful": Mood(ROUND, ROUND, "round", 0.20, 0.020, 1.27, 800, 120),
    "elegant": Mood(OLD_STYLE, HUMANIST, "sharp", 0.08, 0.012, 1.30, 500, 200),
    "bold": Mood(SANS, SANS, "sharp", 0.23, 0.006, 1.33, 820, 180),
    "warm": Mood(OLD_STYLE, HUMANIST, "soft", 0.14, 0.022, 1.26, 600, 90),
    "technical": Mood(MONO, SANS, "sharp", 0.17, 0.014, 1.20, 700, 140),
    "editorial": Mood(TRANSITIONAL, TRANSITIONAL, "sharp", 0.16, 0.010, 1.30, 600, 210),
}
