"""The DESIGN agent: palettes, type, space and tokens from a plan, a context and what was said."""

import re
from dataclasses import dataclass, replace
from typing import Literal

from plugspace_queue.schemas.architecture import ArchitectureOutput, Direction
from plugspace_queue.schemas.design import (
    DesignOutput,
    DesignTokens,
    Fonts,
    Palette,
    TypeStep,
)
from plugspace_queue.schemas.inputs import DesignContext, DesignInput
from project.agents.architecture.understanding import HEX, find_brief, find_colors, find_mood
from project.agents.chance import seeded
from project.agents.design import palette
from project.agents.design.moods import MONO, MOODS, Mood

Scheme = Literal["auto", "light", "dark"]
Shape = Literal["sharp", "soft", "round"]

RADII: dict[Shape, tuple[str, str, str, str]] = {
    "sharp": ("0", "2px", "3px", "4px"),
    "soft": ("6px", "10px", "14px", "20px"),
    "round": ("10px", "16px", "24px", "32px"),
}
SPACING = ("0.25", "0.5", "0.75", "1", "1.5", "2", "3", "4", "6", "8")
STEPS = (("small", -1), ("body", 0), ("lead", 1), ("h4", 1), ("h3", 2), ("h2", 4), ("h1", 6))


@dataclass
class Decided:
    """What was decided before a colour is mixed."""

    mood: str
    scheme: Scheme
    shape: Shape
    colors: list[str]
    hue: float
    notes: list[str]


def design(
    wish: DesignInput,
    *,
    architecture: ArchitectureOutput | None = None,
    feedback: list[str] | None = None,
) -> DesignOutput:
    """The design system for a plan. The same arguments give the same design."""
    planned = wish.architecture or architecture
    decided = _decide(wish.context or DesignContext(), planned, feedback or [])
    mood = MOODS[decided.mood]
    brand, second = palette.brand_of(decided.colors, decided.hue, mood.chroma)
    accent = second or replace(brand, hue=(brand.hue + mood.accent_turn) % 360)
    light = palette.palette("light", brand, accent, mood.tint)
    dark = palette.palette("dark", brand, accent, mood.tint)
    made = _assemble(decided, mood, light, dark)
    made.ramps = [palette.ramp("brand", brand), palette.ramp("accent", accent)]
    return made


def _decide(
    context: DesignContext, planned: ArchitectureOutput | None, feedback: list[str]
) -> Decided:
    direction = planned.direction if planned else Direction()
    said = " ".join(feedback)
    style = f"{context.style or ''} {context.mood or ''}"
    industry = context.industry or (planned.industry if planned else "")
    brief = find_brief(industry, style)
    planned_mood = planned.direction.mood if planned else None
    if context.industry and planned and brief.industry not in ("general", planned.industry):
        # The plan is of another industry than this design is asked for.
        planned_mood = brief.mood
    asked = find_mood(said) or find_mood(style) or _known(context.mood) or _known(planned_mood)
    mood = asked or brief.mood
    return Decided(
        mood=mood,
        scheme=_scheme(said, style, direction),
        shape=_shape(f"{direction.style} {style} {said}", MOODS[mood].shape),
        colors=find_colors(said) or context.brand_colors or _hex(direction.brand_colors),
        hue=(brief.hue + seeded(planned.name if planned else "", "hue").uniform(-9, 9)) % 360,
        notes=_notes(context),
    )


def _known(mood: str | None) -> str:
    return mood.lower() if mood and mood.lower() in MOODS else ""


def _hex(colors: list[str]) -> list[str]:
    return [color for color in colors if HEX.fullmatch(color)]


def _scheme(said: str, style: str, direction: Direction) -> Scheme:
    for text in (said, style):
        if re.search(r"\b(?:dark|darker|night)\b", text, re.IGNORECASE):
            return "dark"
        if re.search(r"\b(?:light|lighter|bright|brighter)\b", text, re.IGNORECASE):
            return "light"
    return direction.scheme


def _shape(text: str, otherwise: Shape) -> Shape:
    found = re.findall(r"\b(round|sharp|square|soft)(?:er|ed)?\b", text, re.IGNORECASE)
    last = found[-1].lower() if found else ""
    shapes: dict[str, Shape] = {
        "round": "round",
        "sharp": "sharp",
        "square": "sharp",
        "soft": "soft",
    }
    return shapes.get(last, otherwise)


def _notes(context: DesignContext) -> list[str]:
    if not context.reference_image:
        return []
    return ["The reference image was noted, not fetched: name its colours in brandColors."]


def _assemble(decided: Decided, mood: Mood, light: Palette, dark: Palette) -> DesignOutput:
    contrast = palette.proven("light", light) + palette.proven("dark", dark)
    lowest = min(pair.ratio / pair.minimum * 4.5 for pair in contrast)
    fonts = Fonts(heading=mood.heading, body=mood.body, mono=MONO)
    scale = _type_scale(mood)
    radii = dict(zip(("small", "medium", "large", "card"), RADII[decided.shape], strict=True))
    spacing = {str(at): f"{rem}rem" for at, rem in enumerate(SPACING, 1)}
    return DesignOutput(
        summary=(
            f"A {decided.mood} design around {light.primary} with {decided.shape} corners; "
            f"{len(contrast)} colour pairs checked, all at least {lowest:.1f}:1 where 4.5 is due."
        ),
        mood=decided.mood,
        scheme=decided.scheme,
        shape=decided.shape,
        light=light,
        dark=dark,
        contrast=contrast,
        fonts=fonts,
        type_scale=scale,
        spacing=spacing,
        radii=radii,
        shadows=SHADOWS,
        tokens=DesignTokens(
            base=_base_tokens(fonts, scale, spacing, radii),
            light=_color_tokens(light),
            dark=_color_tokens(dark),
        ),
        notes=decided.notes,
    )


SHADOWS = {
    "low": "0 1px 2px rgb(0 0 0 / 0.06), 0 1px 3px rgb(0 0 0 / 0.08)",
    "high": "0 2px 4px rgb(0 0 0 / 0.04), 0 12px 32px rgb(0 0 0 / 0.10)",
}


def _type_scale(mood: Mood) -> list[TypeStep]:
    return [_type_step(name, exponent, mood) for name, exponent in STEPS]


def _type_step(name: str, exponent: int, mood: Mood) -> TypeStep:
    is_heading = name.startswith("h")
    largest = 1.0625 * mood.ratio ** (exponent * 0.94)
    smallest = min(largest, 1.0 * 1.17**exponent)
    slope = (largest - smallest) * 1.6
    growing = f"{smallest - slope * 0.25:.3f}rem + {slope:.2f}vw"
    size = f"clamp({smallest:.3f}rem, {growing}, {largest:.3f}rem)"
    return TypeStep(
        name=name,
        size=size if largest > smallest else f"{largest:.3f}rem",
        rem=round(largest, 3),
        line_height=round(max(1.08, 1.62 - 0.09 * exponent), 2) if is_heading else 1.6,
        weight=mood.weight if is_heading else 400,
    )


def _base_tokens(
    fonts: Fonts, scale: list[TypeStep], spacing: dict[str, str], radii: dict[str, str]
) -> dict[str, str]:
    tokens = {"--font-heading": fonts.heading, "--font-body": fonts.body, "--font-mono": fonts.mono}
    for step in scale:
        tokens[f"--size-{step.name}"] = step.size
        tokens[f"--leading-{step.name}"] = f"{step.line_height:g}"
    tokens["--weight-heading"] = str(scale[-1].weight)
    tokens |= {f"--space-{name}": value for name, value in spacing.items()}
    tokens |= {f"--radius-{name}": value for name, value in radii.items()}
    return tokens | {f"--shadow-{name}": value for name, value in SHADOWS.items()}


def _color_tokens(colors: Palette) -> dict[str, str]:
    named = colors.model_dump(exclude={"charts"})
    tokens = {f"--{name.replace('_', '-')}": value for name, value in named.items()}
    return tokens | {f"--chart-{at}": color for at, color in enumerate(colors.charts, 1)}
