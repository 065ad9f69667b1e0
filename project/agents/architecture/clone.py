"""Takes over from an analysed site what makes it that site: its name, words, pages and colours."""

import re
from urllib.parse import urlsplit

from plugspace_queue.schemas.analysis import AnalysisOutput, PageReport
from plugspace_queue.schemas.architecture import Item, Section
from project.agents.architecture.draft import Draft, slug_of
from project.agents.architecture.library import PagePlan

MAX_TAKEN = 6
BESIDE = re.compile(r"\s[|–—·:-]\s")  # noqa: RUF001 -- titles use all of these dashes


def words_of(analysis: AnalysisOutput) -> str:
    """The site's own words, for finding out what it is about."""
    headings = [heading.text for page in analysis.pages[:5] for heading in page.headings[:20]]
    descriptions = [page.description for page in analysis.pages[:5]]
    return " ".join([analysis.title, *descriptions, *headings])[:8_000]


def take_over(draft: Draft, analysis: AnalysisOutput) -> None:
    """Give the draft the name, headline, pages and colours of the analysed site."""
    draft.name = name_of(analysis) or draft.name
    if analysis.pages:
        _take_headline(draft, analysis.pages[0])
    for page in analysis.pages[1 : MAX_TAKEN + 1]:
        _take_page(draft, page)
    if analysis.design and not draft.colors:
        draft.colors = _vivid([use.color for use in analysis.design.colors])[:3]


def name_of(analysis: AnalysisOutput) -> str:
    """The shortest part of the title, else the host without its ending."""
    parts = [part.strip() for part in BESIDE.split(analysis.title) if part.strip()]
    host = (urlsplit(analysis.final_url).hostname or "").removeprefix("www.").split(".")[0]
    return (min(parts, key=len) if parts else host.capitalize())[:40]


def _take_headline(draft: Draft, page: PageReport) -> None:
    headline = next((heading.text for heading in page.headings if heading.level == 1), "")
    changes: dict[str, str] = {}
    if headline.strip():
        changes["heading"] = _plain(headline, 200)
    if page.description.strip():
        changes["text"] = _plain(page.description, 400)
        draft.description = changes["text"]
    draft.own["hero"] = draft.section("hero").model_copy(update=changes)


def _take_page(draft: Draft, page: PageReport) -> None:
    title = BESIDE.split(page.title)[0].strip()[:60]
    slug = slug_of(urlsplit(page.url).path.rsplit("/", 1)[-1].split(".")[0] or title, "")
    if not title or not slug or draft.page(slug):
        return
    headings = [
        heading.text for heading in page.headings if heading.level > 1 and heading.text.strip()
    ]
    draft.own[slug] = Section(
        id=slug,
        kind="cards",
        heading=_plain(title, 100),
        text=_plain(page.description, 400),
        items=[Item(title=_plain(text, 120)) for text in headings[:9]],
    )
    draft.add_page(
        PagePlan(slug=slug, title=title, purpose=f"As on {page.url}"[:300], sections=[slug, "cta"])
    )


def _plain(text: str, limit: int) -> str:
    return text.replace("{", "(").replace("}", ")").strip()[:limit].strip()


def _vivid(colors: list[str]) -> list[str]:
    def spread(color: str) -> int:
        parts = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
        return max(parts) - min(parts)

    return [color for color in colors if len(color) == 7 and spread(color) > 60]
