"""Builds the colours of one scheme by role, moved until everything that is read can be read."""

from plugspace_queue.schemas.design import ContrastPair, Palette, Ramp, SchemeName
from project.agents.design.oklch import Oklch, contrast, parse, readable, to_hex

TEXT = 4.5
GRAPHIC = 3.0
#: Who is read on what, and how much contrast that needs (WCAG 2.2, AA).
PAIRS = (
    ("text", "background", TEXT),
    ("text", "surface", TEXT),
    ("text", "surface_strong", TEXT),
    ("text_muted", "background", TEXT),
    ("text_muted", "surface", TEXT),
    ("text_muted", "surface_strong", TEXT),
    ("on_primary", "primary", TEXT),
    ("on_primary_soft", "primary_soft", TEXT),
    ("link", "background", TEXT),
    ("link", "surface", TEXT),
    ("link", "surface_strong", TEXT),
    ("success", "surface", TEXT),
    ("warning", "surface", TEXT),
    ("danger", "surface", TEXT),
    ("accent", "surface", GRAPHIC),
)
STEPS = (0.975, 0.94, 0.88, 0.80, 0.71, 0.62, 0.54, 0.46, 0.38, 0.30, 0.22)
STEP_NAMES = ("50", "100", "200", "300", "400", "500", "600", "700", "800", "900", "950")


def palette(scheme: SchemeName, brand: Oklch, accent: Oklch, tint: float) -> Palette:
    """The colours of a scheme around a brand colour; greys carry `tint` of its hue."""
    is_dark = scheme == "dark"

    def grey(lightness: float, amount: float = 1.0) -> str:
        return to_hex(Oklch(lightness, tint * amount, brand.hue))

    background, surface, strong = (
        (grey(0.165), grey(0.205), grey(0.25)) if is_dark else (grey(0.985), "#ffffff", grey(0.957))
    )
    grounds = [background, surface, strong]
    primary, on_primary = _button(brand, is_dark)
    soft = to_hex(
        Oklch(0.30, brand.chroma * 0.35, brand.hue) if is_dark else Oklch(0.94, 0.035, brand.hue)
    )
    return Palette(
        background=background,
        surface=surface,
        surface_strong=strong,
        border=grey(0.32 if is_dark else 0.90),
        text=readable(Oklch(0.95 if is_dark else 0.21, tint, brand.hue), grounds, 12),
        text_muted=readable(
            Oklch(0.72 if is_dark else 0.50, tint * 1.5, brand.hue), grounds, TEXT + 0.3
        ),
        primary=primary,
        on_primary=on_primary,
        primary_soft=soft,
        on_primary_soft=readable(brand.at(0.82 if is_dark else 0.45), [soft], TEXT + 0.3),
        link=readable(brand.at(0.75 if is_dark else 0.50), grounds, TEXT + 0.1),
        accent=readable(accent.at(0.72 if is_dark else 0.62), [surface], GRAPHIC),
        success=_signal(155, is_dark, grounds),
        warning=_signal(70, is_dark, grounds),
        danger=_signal(25, is_dark, grounds),
        charts=_charts(brand, accent, is_dark, surface),
    )


def _button(brand: Oklch, is_dark: bool) -> tuple[str, str]:
    """The shade nearest to the brand that can be seen on the page and be written on."""
    least, most = (0.58, 0.90) if is_dark else (0.0, 0.90)
    start = min(max(brand.lightness, least), most)
    inks = ("#ffffff", to_hex(Oklch(0.18, 0.02, brand.hue)))
    for distance in range(60):
        for lightness in (start - distance / 100, start + distance / 100):
            shown = to_hex(brand if lightness == brand.lightness else brand.at(lightness))
            for ink in inks:
                if least <= lightness <= most and contrast(ink, shown) >= TEXT:
                    return shown, ink
    return "#ffffff", "#000000"


def _signal(hue: float, is_dark: bool, grounds: list[str]) -> str:
    return readable(Oklch(0.76 if is_dark else 0.52, 0.15, hue), grounds, TEXT)


def _charts(brand: Oklch, accent: Oklch, is_dark: bool, surface: str) -> list[str]:
    lightness = 0.70 if is_dark else 0.58
    chroma = max(min(brand.chroma, 0.17), 0.10)
    hues = [brand.hue, accent.hue, brand.hue + 60, accent.hue + 60, brand.hue - 70, accent.hue - 50]
    return [readable(Oklch(lightness, chroma, hue % 360), [surface], GRAPHIC) for hue in hues]


def proven(scheme: SchemeName, colors: Palette) -> list[ContrastPair]:
    """The measured contrast of every pair that meets on a page."""
    return [
        ContrastPair(
            scheme=scheme,
            foreground=front,
            background=back,
            ratio=round(contrast(getattr(colors, front), getattr(colors, back)), 2),
            minimum=minimum,
            passes=contrast(getattr(colors, front), getattr(colors, back)) >= minimum,
        )
        for front, back, minimum in PAIRS
    ]


def ramp(name: str, color: Oklch) -> Ramp:
    """Eleven steps of one hue."""
    shades = [to_hex(Oklch(step, color.chroma * _fade(step), color.hue)) for step in STEPS]
    return Ramp(name=name, steps=dict(zip(STEP_NAMES, shades, strict=True)))


def _fade(lightness: float) -> float:
    # Both ends carry less colour, else they look dirty.
    return max(0.15, 1 - abs(lightness - 0.56) * 1.9)


def brand_of(colors: list[str], hue: float, chroma: float) -> tuple[Oklch, Oklch | None]:
    """The first given colour (and the second), else one of the industry's hue."""
    given = [parse(color) for color in colors]
    brand = given[0] if given else Oklch(0.53, chroma, hue)
    return brand, given[1] if len(given) > 1 else None
