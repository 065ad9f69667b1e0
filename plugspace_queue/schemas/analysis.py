"""What was seen at an address: structure, technologies, colours, weight; ARCHITECT builds on it."""

from pydantic import Field

from plugspace_queue.schemas.base import Count, HexColor, Text, WireModel, Word


class Heading(WireModel):
    """A heading and its level, from 1 to 6."""

    level: int = Field(ge=1, le=6)
    text: Text


class FormReport(WireModel):
    """A form: where it goes, how, and what it asks for."""

    action: Text
    method: Word
    fields: list[Text]
    unlabelled: Count


class LinkReport(WireModel):
    """How many links lead where, and the first few that stay on the site."""

    internal: Count
    external: Count
    samples: list[Text] = Field(default_factory=list)


class ImageReport(WireModel):
    """How many images there are and how many say nothing to who cannot see them."""

    total: Count
    without_alt: Count


class PageReport(WireModel):
    """One page; `bytes` of its document, `ttfbMs` until its first byte."""

    url: Text
    status: int
    title: Text = ""
    description: Text = ""
    language: Text = ""
    headings: list[Heading] = Field(default_factory=list)
    landmarks: list[Word] = Field(default_factory=list)
    links: LinkReport
    forms: list[FormReport] = Field(default_factory=list)
    images: ImageReport
    words: Count
    bytes: Count
    ttfb_ms: float = Field(ge=0)


class Technology(WireModel):
    """Something the site is made with, and what gave it away."""

    name: Word
    category: Word
    evidence: Text


class ColorUse(WireModel):
    """A group of like colours: its most used member and its share of all uses."""

    color: HexColor
    uses: Count
    share: float = Field(ge=0, le=1)


class DesignReport(WireModel):
    """Colours and fonts named in the styles."""

    colors: list[ColorUse]
    fonts: list[Text]
    custom_properties: Count
    media_queries: Count


class PerformanceReport(WireModel):
    """What a visitor's browser must fetch for the first page, and what would help."""

    document_bytes: Count
    style_bytes: Count
    requests: Count
    scripts: Count
    styles: Count
    images: Count
    ttfb_ms: float = Field(ge=0)
    total_ms: float = Field(ge=0)
    is_compressed: bool
    hints: list[Text]


class Issue(WireModel):
    """Something to mend, and where."""

    severity: Word
    message: Text
    url: Text


class AnalysisOutput(WireModel):
    """The report; the clone workflow hands it to ARCHITECT."""

    summary: Text
    url: Text
    final_url: Text
    title: Text = ""
    pages: list[PageReport]
    technologies: list[Technology] | None = None
    design: DesignReport | None = None
    performance: PerformanceReport | None = None
    issues: list[Issue] = Field(default_factory=list)
    notes: list[Text] = Field(default_factory=list)
