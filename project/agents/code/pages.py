"""Makes one page: which frame it wears, which sections it has, and where its links lead."""

from dataclasses import dataclass
from typing import Any

from plugspace_queue.schemas.architecture import (
    ArchitectureOutput,
    Chart,
    Item,
    Link,
    Page,
    Section,
)
from plugspace_queue.schemas.design import DesignOutput
from project.agents.code.render import render

APP_ICONS = ("grid", "chart", "file", "users", "calendar", "layers")
FALLBACK_ADDRESS = "mailto:hello@site.example"


@dataclass(frozen=True)
class Part:
    """A section and how it stands on its page."""

    body: Section
    template: str
    level: int
    first: bool

    @property
    def below(self) -> int:
        """The level of the headings inside it."""
        return self.level + 1


@dataclass(frozen=True)
class Mock:
    """The application in small, for the first picture."""

    metrics: list[Item]
    title: str = ""
    chart: Chart | None = None


@dataclass(frozen=True)
class AppLink:
    """A link of the application's menu."""

    label: str
    href: str
    icon: str


class Site:
    """A plan and a design, ready to write pages; links that lead nowhere are left out."""

    def __init__(self, plan: ArchitectureOutput, design: DesignOutput) -> None:
        self.plan = plan
        self.design = design
        self.slugs = {page.slug for page in plan.pages}

    def page(self, page: Page) -> str:
        """The HTML of one page."""
        template = "app.html" if page.layout == "app" else "site.html"
        return render(template, page=page, sections=self.parts(page), **self._common(page.slug))

    def parts(self, page: Page) -> list[Part]:
        """The sections with their heading levels: one h1 a page, no level skipped."""
        has_title = page.layout == "app"
        return [
            Part(
                body=self._linked(section),
                template=f"sections/{section.kind}.html",
                level=1 if at == 0 and not has_title else 2,
                first=at == 0 and not has_title,
            )
            for at, section in enumerate(page.sections)
        ]

    def storybook(self) -> str:
        """A page that shows every component once, beside the tokens."""
        seen = {section.kind: section for page in self.plan.pages for section in page.sections}
        sections = [
            section.model_copy(
                update={
                    "id": f"part-{kind}",
                    "actions": [],
                    "items": [_to_itself(item) for item in section.items],
                }
            )
            for kind, section in seen.items()
        ]
        page = Page(slug="storybook", title="Components", sections=sections)
        roles = [name.replace("_", "-") for name in type(self.design.light).model_fields]
        roles.remove("charts")
        values = self._common("storybook", root="../")
        return render(
            "storybook.html",
            page=page,
            sections=[_aside(part) for part in self.parts(page)],
            design=self.design,
            roles=roles,
            **values,
        )

    def _common(self, slug: str, root: str = "") -> dict[str, Any]:
        navigation = self.plan.navigation
        action = navigation.action
        return {
            "site": self.plan,
            "root": root,
            "mood": self.design.mood,
            "theme_color": self._theme_color(),
            "primary": self._alive(navigation.primary),
            "footer": self._alive(navigation.footer),
            "action": action if action and self._is_alive(action) else None,
            "app": self._app_links(),
            "mock": self._mock() if slug == "index" else None,
            "mailto": self._mailto(),
        }

    def _theme_color(self) -> str:
        is_dark = self.design.scheme == "dark"
        return self.design.dark.background if is_dark else self.design.light.background

    def _alive(self, links: list[Link]) -> list[Link]:
        return [link for link in links if self._is_alive(link)]

    def _is_alive(self, link: Link) -> bool:
        return ":" in link.href or link.href.split("#")[0] in {"", *self.slugs}

    def _linked(self, section: Section) -> Section:
        items = [
            item
            if item.link is None or self._is_alive(item.link)
            else item.model_copy(update={"link": None})
            for item in section.items
        ]
        return section.model_copy(update={"items": items, "actions": self._alive(section.actions)})

    def _app_pages(self) -> list[Page]:
        return [page for page in self.plan.pages if page.layout == "app"]

    def _app_links(self) -> list[AppLink]:
        return [
            AppLink(page.title, page.slug, APP_ICONS[at % len(APP_ICONS)])
            for at, page in enumerate(self._app_pages())
        ]

    def _mock(self) -> Mock | None:
        sections = [section for page in self._app_pages()[:1] for section in page.sections]
        metrics = next((section.items for section in sections if section.kind == "metrics"), [])
        drawn = next((section for section in sections if section.chart), None)
        if not metrics:
            return None
        return Mock(metrics[:4], drawn.heading if drawn else "", drawn.chart if drawn else None)

    def _mailto(self) -> str:
        links = [
            item.link.href
            for page in self.plan.pages
            for section in page.sections
            for item in section.items
            if item.link and item.link.href.startswith("mailto:")
        ]
        return links[0] if links else FALLBACK_ADDRESS


def _aside(part: Part) -> Part:
    return Part(body=part.body, template=part.template, level=2, first=False)


def _to_itself(item: Item) -> Item:
    if item.link is None:
        return item
    return item.model_copy(update={"link": Link(label=item.link.label, href="#main")})
