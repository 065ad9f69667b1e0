"""A plan in the making: pages as names of sections, so that feedback can move them about."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from plugspace_queue.schemas.architecture import Section
from project.agents.architecture import figures, library
from project.agents.architecture.library import Brief, Feature, PagePlan

MAX_PAGES = 30
CLOSING = ("cta", "newsletter")


@dataclass
class Draft:
    """What the plan is made of; `own` are sections that no library has."""

    brief: Brief
    name: str
    subject: str
    audience: str
    tagline: str
    description: str
    mood: str
    seed: str
    style: str = ""
    scheme: str = "auto"
    colors: list[str] = field(default_factory=list)
    pages: list[PagePlan] = field(default_factory=list)
    features: list[Feature] = field(default_factory=list)
    own: dict[str, Section] = field(default_factory=dict)

    def page(self, slug: str) -> PagePlan | None:
        """The page of this slug, or None."""
        return next((page for page in self.pages if page.slug == slug), None)

    def section(self, name: str) -> Section:
        """The section of this name: the draft's own, the brief's, computed or shared."""
        computed = figures.sections(self.brief.dashboard, self.seed)
        for shelf in (self.own, self.brief.sections, computed, library.shared_sections()):
            if name in shelf:
                return shelf[name]
        raise KeyError(name)

    def add_feature(self, feature: Feature, *, as_page: bool = False) -> bool:
        """Bring in what the feature brings; False when all of it was there already.

        `as_page` asks for its page even where another page shows the same kind of thing.
        """
        if feature not in self.features:
            self.features.append(feature)
        wanted = [page for page in feature.pages if as_page or not self._covers(feature, page)]
        pages = [self.add_page(page) for page in wanted]
        sections = [self.add_section(name) for name in feature.sections]
        return any(pages) or any(sections)

    def _covers(self, feature: Feature, page: PagePlan) -> bool:
        # A menu page with prices needs no second page of prices.
        return page.layout == "site" and any(
            self.section(name).kind in feature.kinds or name == page.sections[0]
            for other in self.pages
            if other.slug != "index"
            for name in other.sections
        )

    def add_page(self, page: PagePlan) -> bool:
        """Add a page before the last one (mostly the contact page); False when it is there."""
        if self.page(page.slug) or len(self.pages) >= MAX_PAGES:
            return False
        self.pages.insert(max(len(self.pages) - 1, 1), page.model_copy(deep=True))
        return True

    def add_section(self, name: str, slug: str = "index") -> bool:
        """Add a section to a page, before its closing call; False when it is there."""
        page = self.page(slug) or self.pages[0]
        if name in page.sections or len(page.sections) >= 20:
            return False
        closes = bool(page.sections) and page.sections[-1] in CLOSING
        page.sections.insert(len(page.sections) - closes, name)
        return True

    def remove_page(self, slug: str) -> bool:
        """Remove a page; the entry stays. False when there is none."""
        before = len(self.pages)
        self.pages = [page for page in self.pages if page.slug != slug or slug == "index"]
        return len(self.pages) < before

    def remove_kind(self, kinds: Collection[str], names: Collection[str] = ()) -> bool:
        """Remove sections of these kinds or names, and pages that are left with nothing."""
        before = sum(len(page.sections) for page in self.pages)
        for page in self.pages:
            kept = [
                name
                for name in page.sections
                if name not in names and self.section(name).kind not in kinds
            ]
            page.sections = kept or (page.sections if page.slug == "index" else [])
        self.pages = [page for page in self.pages if page.sections]
        return sum(len(page.sections) for page in self.pages) < before


def slug_of(text: str, fallback: str = "page") -> str:
    """A slug of at most 40 characters."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")
    return slug or fallback
