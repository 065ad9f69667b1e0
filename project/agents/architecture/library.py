"""What the architect knows: a brief for each industry, shared sections, features to ask for."""

import functools
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from plugspace_queue.schemas.architecture import Entity, Section, TechChoice

CONTENT = Path(__file__).resolve().parent.parent / "content"


class PagePlan(BaseModel):
    """A page as names of sections; `nav` says where it is linked."""

    model_config = ConfigDict(extra="forbid")

    slug: str
    title: str
    label: str = ""
    purpose: str = ""
    layout: Literal["site", "app"] = "site"
    nav: Literal["primary", "action", "app", "footer"] = "primary"
    sections: list[str]


class DashboardWords(BaseModel):
    """What the figures of an industry are called."""

    model_config = ConfigDict(extra="forbid")

    revenue: str
    count: str
    average: str
    rate: str
    segments: list[str]
    rows: str
    who: Literal["people", "companies"] = "people"


class Brief(BaseModel):
    """All that is known about one industry before a word of the wish is read."""

    model_config = ConfigDict(extra="forbid")

    industry: str
    words: list[str]
    mood: str
    hue: float
    names: list[str]
    subject: str
    audience: str
    tagline: str
    description: str
    sections: dict[str, Section]
    pages: list[PagePlan]
    entities: list[Entity]
    dashboard: DashboardWords


class Feature(BaseModel):
    """Something a wish can ask for by name, and what it brings to the site."""

    model_config = ConfigDict(extra="forbid")

    key: str
    words: list[str]
    title: str
    description: str
    pages: list[PagePlan] = Field(default_factory=list)
    sections: list[str] = Field(default_factory=list)
    kinds: list[str] = Field(default_factory=list)
    entity: Entity | None = None
    tech: TechChoice | None = None


@functools.cache
def briefs() -> dict[str, Brief]:
    """Every brief by its industry."""
    found = [Brief.model_validate(_read(path)) for path in sorted(CONTENT.glob("briefs/*.toml"))]
    return {brief.industry: brief for brief in found}


@functools.cache
def features() -> dict[str, Feature]:
    """Every feature by its key."""
    found = [
        Feature.model_validate(entry) for entry in _read(CONTENT / "features.toml")["features"]
    ]
    return {feature.key: feature for feature in found}


@functools.cache
def shared_sections() -> dict[str, Section]:
    """The sections that every site may use, by name."""
    sections = _read(CONTENT / "shared.toml")["sections"]
    return {name: Section.model_validate(section) for name, section in sections.items()}


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))
