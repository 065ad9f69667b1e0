"""The design of a site: palettes of checked contrast, type, space, and the tokens made of them."""

import re
from typing import Annotated, Literal

from django.utils.translation import gettext_lazy
from pydantic import AfterValidator, Field

from plugspace_queue.schemas.base import HexColor, Text, WireModel, Word

LOADS_OR_HIDES = re.compile(r"(?:url|src|image|image-set|expression)\s*\(|/\*", re.IGNORECASE)


def _harmless(value: str) -> str:
    if LOADS_OR_HIDES.search(value):
        raise ValueError(gettext_lazy("must not load anything or open a comment"))
    return value


#: Values that are safe inside a declaration: no braces, semicolons, escapes, at-rules or urls.
TokenValue = Annotated[
    str,
    Field(pattern=r"^(?:[A-Za-z0-9#%.,()' +*/\"-])+$", min_length=1, max_length=400),
    AfterValidator(_harmless),
]
TokenName = Annotated[str, Field(pattern=r"^--[a-z][a-z0-9-]*$", max_length=64)]
Tokens = dict[TokenName, TokenValue]
SchemeName = Literal["light", "dark"]


class Palette(WireModel):
    """The colours of one scheme by their role."""

    background: HexColor
    surface: HexColor
    surface_strong: HexColor
    border: HexColor
    text: HexColor
    text_muted: HexColor
    primary: HexColor
    on_primary: HexColor
    primary_soft: HexColor
    on_primary_soft: HexColor
    link: HexColor
    accent: HexColor
    success: HexColor
    warning: HexColor
    danger: HexColor
    charts: list[HexColor] = Field(min_length=1, max_length=12)


class ContrastPair(WireModel):
    """Two colours that meet, and their WCAG 2.2 contrast ratio."""

    scheme: SchemeName
    foreground: Word
    background: Word
    ratio: float = Field(ge=1, le=21)
    minimum: float = Field(ge=1, le=21)
    passes: bool


class Ramp(WireModel):
    """One hue from its lightest to its darkest step."""

    name: Word
    steps: dict[Word, HexColor]


class Fonts(WireModel):
    """Stacks of fonts that are on the visitor's machine: nothing is fetched."""

    heading: TokenValue
    body: TokenValue
    mono: TokenValue


class TypeStep(WireModel):
    """One size of type; `size` grows with the window between two bounds."""

    name: Word
    size: TokenValue
    rem: float = Field(gt=0)
    line_height: float = Field(gt=0)
    weight: int = Field(ge=100, le=950)


class DesignTokens(WireModel):
    """CSS custom properties: those of both schemes, then those of each."""

    base: Tokens
    light: Tokens
    dark: Tokens


class DesignOutput(WireModel):
    """The design system; CODE takes it as `design`."""

    summary: Text
    mood: Word
    scheme: Literal["auto", "light", "dark"] = "auto"
    shape: Literal["sharp", "soft", "round"] = "soft"
    light: Palette
    dark: Palette
    contrast: list[ContrastPair]
    ramps: list[Ramp] = Field(default_factory=list)
    fonts: Fonts
    type_scale: list[TypeStep]
    spacing: dict[Word, TokenValue]
    radii: dict[Word, TokenValue]
    shadows: dict[Word, TokenValue]
    tokens: DesignTokens
    notes: list[Text] = Field(default_factory=list)
