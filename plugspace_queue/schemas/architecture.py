"""The plan of a site: its pages with their words, its data, its parts and why they were chosen."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from plugspace_queue.schemas.base import Count, Line, Slug, Text, WireModel, Word

SectionKind = Literal[
    "hero",
    "features",
    "steps",
    "stats",
    "pricing",
    "testimonials",
    "faq",
    "cta",
    "text",
    "cards",
    "gallery",
    "list",
    "people",
    "hours",
    "contact",
    "metrics",
    "chart",
    "table",
    "activity",
]

#: A page's slug with an optional anchor, an anchor alone, or an absolute address.
Href = Annotated[
    str,
    Field(
        pattern=(
            r"^(?:[a-z0-9-]+(?:#[a-z][a-z0-9-]*)?|#[a-z][a-z0-9-]*"
            r"|(?:mailto|tel):[A-Za-z0-9@.+_-]+|https?://[A-Za-z0-9._~:/?#@!$&()*+,;=%-]+)$"
        ),
        max_length=2_048,
    ),
]
Short = Annotated[str, StringConstraints(max_length=300)]


class Link(WireModel):
    """A way to somewhere; `href` is a page's slug, `slug#section`, `#section` or an address."""

    label: Line
    href: Href


class Item(WireModel):
    """One card, plan, quote, question, person or line of a section."""

    title: Line
    text: Text = ""
    value: Short = ""
    meta: Short = ""
    points: list[Line] = Field(default_factory=list, max_length=30)
    link: Link | None = None
    is_featured: bool = False


class Series(WireModel):
    """One line of figures of a chart."""

    label: Line
    values: list[float] = Field(max_length=400)


class Chart(WireModel):
    """Figures to be drawn; each series has one value a label."""

    kind: Literal["area", "bar", "donut"] = "area"
    labels: list[Short] = Field(max_length=400)
    series: list[Series] = Field(max_length=8)
    unit: Short = ""


class Table(WireModel):
    """Rows of words under named columns."""

    columns: list[Line] = Field(max_length=12)
    rows: list[Annotated[list[Short], Field(max_length=12)]] = Field(max_length=200)


class Section(WireModel):
    """One band of a page, with its final words."""

    id: Slug
    kind: SectionKind
    eyebrow: Short = ""
    heading: Line
    text: Text = ""
    items: list[Item] = Field(default_factory=list, max_length=60)
    actions: list[Link] = Field(default_factory=list, max_length=4)
    chart: Chart | None = None
    table: Table | None = None


class Page(WireModel):
    """One page; the slug `index` is the entry. An `app` page wears the frame of an application."""

    slug: Slug
    title: Line
    purpose: Text = ""
    description: Short = ""
    layout: Literal["site", "app"] = "site"
    sections: list[Section] = Field(min_length=1, max_length=24)


class Navigation(WireModel):
    """The links of the header, its button, and those of the footer."""

    primary: list[Link] = Field(default_factory=list, max_length=10)
    action: Link | None = None
    footer: list[Link] = Field(default_factory=list, max_length=20)


class Component(WireModel):
    """A reusable part of the interface and the pages that use it."""

    name: Word
    purpose: Text = ""
    used_on: list[Slug] = Field(default_factory=list)


class EntityField(WireModel):
    """One field of an entity."""

    name: Word
    type: Word
    required: bool = True


class Relation(WireModel):
    """How an entity refers to another one."""

    kind: Literal["belongsTo", "hasMany", "manyToMany"]
    target: Word
    name: Word


class Entity(WireModel):
    """One thing the site keeps data about."""

    name: Word
    fields: list[EntityField] = Field(max_length=60)
    relations: list[Relation] = Field(default_factory=list, max_length=30)


class TechChoice(WireModel):
    """What is used for one concern, and why."""

    area: Word
    choice: Line
    reason: Text = ""


class Feature(WireModel):
    """Something visitors can do, and the pages where they do it."""

    name: Line
    description: Text = ""
    pages: list[Slug] = Field(default_factory=list)


class Milestone(WireModel):
    """One stage of the work, in working days."""

    name: Line
    days: Count
    deliverables: list[Line] = Field(default_factory=list)


class Revision(WireModel):
    """One piece of feedback and what it changed; `applied` is false when it was not understood."""

    feedback: Text
    applied: bool
    change: Text


class Direction(WireModel):
    """The feeling the plan asks of the design."""

    mood: Word = "confident"
    style: Short = ""
    scheme: Literal["auto", "light", "dark"] = "auto"
    brand_colors: list[Short] = Field(default_factory=list, max_length=12)


class ArchitectureOutput(WireModel):
    """The plan; DESIGN and CODE take it as `architecture`."""

    summary: Text
    name: Word
    tagline: Short = ""
    description: Text = ""
    industry: Word = "general"
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(?:-[A-Z]{2})?$")] = "en"
    audience: Short = ""
    direction: Direction = Field(default_factory=Direction)
    pages: list[Page] = Field(min_length=1, max_length=40)
    navigation: Navigation = Field(default_factory=Navigation)
    features: list[Feature] = Field(default_factory=list, max_length=60)
    components: list[Component] = Field(default_factory=list, max_length=60)
    entities: list[Entity] = Field(default_factory=list, max_length=40)
    technologies: list[TechChoice] = Field(default_factory=list, max_length=30)
    milestones: list[Milestone] = Field(default_factory=list, max_length=20)
    revisions: list[Revision] = Field(default_factory=list, max_length=100)
    iteration: Count = 0
    include_tests: bool = False
