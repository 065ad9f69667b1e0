"""Writes a draft out as the plan: words filled in, links that lead somewhere, data, work."""

import re
from typing import Any

from plugspace_queue.schemas.architecture import (
    ArchitectureOutput,
    Component,
    Direction,
    Entity,
    Feature,
    Link,
    Milestone,
    Navigation,
    Page,
    Section,
    TechChoice,
)
from plugspace_queue.schemas.inputs import ArchitectContext
from project.agents.architecture import library
from project.agents.architecture.draft import Draft, slug_of
from project.agents.architecture.library import PagePlan

PLACEHOLDER = re.compile(r"\{(name|subject|Subject|audience|email)\}")
#: An address that is valid in the content's links and stands for the site's own.
ADDRESS = "hello@site.example"
LABELS = {"saas": "SaaS", "realestate": "real estate", "general": "small"}
PARTS = {
    "hero": ("Hero", "Opens a page: one claim, one picture, two ways on."),
    "features": ("Feature grid", "Short arguments with a symbol each."),
    "steps": ("Steps", "An ordered way from start to result."),
    "stats": ("Figures", "A row of numbers that prove a point."),
    "pricing": ("Plan card", "A price, what it contains, one button."),
    "testimonials": ("Quote", "Somebody else's words, with a name."),
    "faq": ("Question", "Opens and closes without scripts."),
    "cta": ("Call to action", "Closes a page with the next step."),
    "text": ("Text block", "Longer words at a readable width."),
    "cards": ("Card", "An entry with title, note and teaser."),
    "gallery": ("Tile", "A picture with a caption."),
    "list": ("Priced list", "Lines with a value at their end."),
    "people": ("Person", "A face, a role and a sentence."),
    "hours": ("Hours", "Days and times in two columns."),
    "contact": ("Contact form", "Labelled fields and every other way to reach us."),
    "metrics": ("Metric", "A figure and its change."),
    "chart": ("Chart", "Figures drawn on the server, with a table for screen readers."),
    "table": ("Data table", "Rows that can be scanned on any screen."),
    "activity": ("Activity list", "What happened last, and when."),
}


def write(draft: Draft, context: ArchitectContext, *, iteration: int) -> ArchitectureOutput:
    """The plan of a draft; `revisions` and tests are added by the caller."""
    words = _words(draft)
    slugs = {page.slug for page in draft.pages}
    pages = [_page(draft, page, words, slugs) for page in draft.pages]
    return ArchitectureOutput(
        summary=_summary(draft, pages, iteration),
        name=words["name"],
        tagline=_sentence(_fill(draft.tagline, words)),
        description=_fill(draft.description, words),
        industry=draft.brief.industry,
        audience=draft.audience,
        direction=Direction.model_validate(
            {
                "mood": draft.mood,
                "style": draft.style[:300],
                "scheme": draft.scheme,
                "brand_colors": draft.colors,
            }
        ),
        pages=pages,
        navigation=_navigation(draft),
        features=[_feature(feature, slugs) for feature in draft.features],
        components=_components(pages),
        entities=_entities(draft),
        technologies=_technologies(draft, context),
        milestones=_milestones(pages, context),
        iteration=iteration,
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _words(draft: Draft) -> dict[str, str]:
    subject = draft.subject or draft.brief.subject
    return {
        "name": draft.name,
        "subject": subject,
        "Subject": _sentence(subject),
        "audience": draft.audience,
        "email": f"hello@{slug_of(draft.name, 'site')}.example",
    }


def _fill(value: Any, words: dict[str, str]) -> Any:
    """The words put in place of their names, in every string of a JSON value, once."""
    if isinstance(value, str):
        filled = PLACEHOLDER.sub(lambda found: words[found[1]], value)
        return filled.replace(ADDRESS, words["email"])
    if isinstance(value, dict):
        return {key: _fill(entry, words) for key, entry in value.items()}
    if isinstance(value, list):
        return [_fill(entry, words) for entry in value]
    return value


def _page(draft: Draft, plan: PagePlan, words: dict[str, str], slugs: set[str]) -> Page:
    sections = [_section(draft.section(name), words, slugs) for name in plan.sections]
    seen: dict[str, int] = {}
    for section in sections:
        seen[section.id] = seen.get(section.id, 0) + 1
        if seen[section.id] > 1:
            section.id = f"{section.id[:60]}-{seen[section.id]}"
    is_entry = plan.slug == "index"
    described = draft.description if is_entry else sections[0].text or draft.description
    return Page(
        slug=plan.slug,
        title=plan.title,
        purpose=plan.purpose,
        description=_fill(described, words)[:300],
        layout=plan.layout,
        sections=sections,
    )


def _section(section: Section, words: dict[str, str], slugs: set[str]) -> Section:
    filled = Section.model_validate(_fill(section.model_dump(), words))
    filled.actions = _alive(filled.actions, slugs)
    for item in filled.items:
        if item.link and not _is_alive(item.link, slugs):
            item.link = None
    return filled


def _alive(links: list[Link], slugs: set[str]) -> list[Link]:
    # A removed page takes the links to it along; the button then leads to the contact page.
    ways = [link if _is_alive(link, slugs) else _contact(link, slugs) for link in links]
    unique = {link.href: link for link in reversed(ways) if link}
    return [link for link in ways if link and unique[link.href] is link] or list(unique.values())


def _contact(link: Link, slugs: set[str]) -> Link | None:
    return Link(label=link.label, href="contact") if "contact" in slugs else None


def _is_alive(link: Link, slugs: set[str]) -> bool:
    is_outside = ":" in link.href or link.href.startswith("#")
    return is_outside or link.href.split("#")[0] in slugs


def _navigation(draft: Draft) -> Navigation:
    def links(nav: str) -> list[Link]:
        return [_link(page) for page in draft.pages if page.nav == nav and page.slug != "index"]

    app, primary, actions = links("app"), links("primary"), links("action")
    product = [Link(label="Dashboard", href=app[0].href)] if app else []
    return Navigation(
        primary=[*primary[:5], *product],
        action=actions[0] if actions else None,
        footer=[*primary, *product, *actions, *links("footer")][:20],
    )


def _link(page: PagePlan) -> Link:
    return Link(label=page.label or page.title, href=page.slug)


def _feature(feature: library.Feature, slugs: set[str]) -> Feature:
    pages = [page.slug for page in feature.pages if page.slug in slugs]
    return Feature(name=feature.title, description=feature.description, pages=pages)


def _components(pages: list[Page]) -> list[Component]:
    used: dict[str, list[str]] = {}
    for page in pages:
        for kind in {section.kind: None for section in page.sections}:
            used.setdefault(kind, []).append(page.slug)
    frame = Component(
        name="Frame",
        purpose="Header with navigation, footer, and a link past both.",
        used_on=[page.slug for page in pages],
    )
    return [frame] + [
        Component(name=PARTS[kind][0], purpose=PARTS[kind][1], used_on=slugs)
        for kind, slugs in used.items()
    ]


def _entities(draft: Draft) -> list[Entity]:
    brought = [feature.entity for feature in draft.features if feature.entity]
    unique = {entity.name: entity for entity in [*brought, *draft.brief.entities]}
    return list(unique.values())


def _technologies(draft: Draft, context: ArchitectContext) -> list[TechChoice]:
    is_large = context.budget == "high" or len(draft.features) > 6
    return [
        TechChoice(
            area="Pages",
            choice="Static HTML with modern CSS",
            reason="Nothing to run, nothing to patch, fast on a train.",
        ),
        TechChoice(
            area="Hosting",
            choice="Two regions behind a cache" if is_large else "One small server behind a cache",
            reason="Sized for the plan; moving up is a copy of a folder.",
        ),
        TechChoice(
            area="Data",
            choice="PostgreSQL" if is_large else "SQLite",
            reason="The data model below fits in one relational database.",
        ),
        *(feature.tech for feature in draft.features if feature.tech),
    ]


def _milestones(pages: list[Page], context: ArchitectContext) -> list[Milestone]:
    pace = {"urgent": 0.6, "flexible": 1.4}.get(context.timeline or "", 1.0)

    def days(amount: float) -> int:
        return max(1, round(amount * pace))

    titles = [page.title for page in pages]
    return [
        Milestone(name="Plan", days=days(2), deliverables=["Site map", "Words for every page"]),
        Milestone(name="Design", days=days(3), deliverables=["Colours", "Type", "Components"]),
        Milestone(name="Pages", days=days(1 + len(pages) * 0.75), deliverables=titles),
        Milestone(name="Launch", days=days(1), deliverables=["Checks pass", "Published"]),
    ]


def _summary(draft: Draft, pages: list[Page], iteration: int) -> str:
    extras = ", ".join(feature.title.lower() for feature in draft.features[:5])
    told = f" with {extras}" if extras else ""
    start = f"Revision {iteration}: " if iteration else ""
    sections = sum(len(page.sections) for page in pages)
    industry = LABELS.get(draft.brief.industry, draft.brief.industry)
    return (
        f"{start}{draft.name}: {industry} site for {draft.audience}{told}. "
        f"{len(pages)} pages, {sections} sections, {draft.mood} mood."
    )
