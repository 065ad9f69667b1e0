"""The ANALYZE agent: visits a site, page by page, and reports what it saw."""

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urldefrag, urljoin, urlsplit

from plugspace_queue.errors import TaskError, ValidationFailed
from plugspace_queue.schemas.analysis import AnalysisOutput, Issue, PageReport
from plugspace_queue.schemas.inputs import AnalyzeInput, AnalyzeOptions
from project.agents.analysis import reports, styles, technologies
from project.agents.analysis.document import Document
from project.agents.analysis.fetch import Answer, fetch
from project.agents.analysis.text import clean

MAX_PAGES = 20
MAX_SHEETS = 6
PAGE_TYPES = {"text/html", "application/xhtml+xml"}

OnProgress = Callable[[float, str], None]


@dataclass
class Visit:
    """What one analysis has gathered so far."""

    allow_private: bool
    pages: list[tuple[Answer, Document]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def page(self, url: str) -> Document | None:
        """Fetch and read a page; None, with a note, when it is none."""
        answer = fetch(url, allow_private=self.allow_private)
        if answer.media_type not in PAGE_TYPES:
            self.notes.append(f"{url[:200]} is {answer.media_type or 'untyped'}, not a page.")
            return None
        if answer.is_truncated:
            self.notes.append(f"{url[:200]} is larger than 2 MiB and was read only so far.")
        document = Document(clean(answer.text))
        if document.is_too_deep:
            self.notes.append(f"{url[:200]} is nested too deep and was read only so far.")
        self.pages.append((answer, document))
        return document


def analyze(
    wish: AnalyzeInput,
    *,
    allow_private: bool = False,
    on_progress: OnProgress = lambda percent, stage: None,
) -> AnalysisOutput:
    """Visit the address and what it links to, as deep as asked.

    Raises TaskError when the first page cannot be had; later pages that fail become notes.
    """
    options = wish.options or AnalyzeOptions()
    visit = Visit(allow_private)
    on_progress(5, "first page")
    if visit.page(wish.url) is None:
        raise ValidationFailed(f"{wish.url[:200]} is not a web page.")
    _follow(visit, options.depth or 0, on_progress)
    if options.include_screenshots:
        visit.notes.append("Screenshots need a browser; this agent works without one.")
    on_progress(85, "report")
    return _report(wish, options, visit)


def _follow(visit: Visit, depth: int, on_progress: OnProgress) -> None:
    """Breadth first over links of the same site, at most MAX_PAGES in all."""
    seen = {visit.pages[0][0].url}
    level = list(visit.pages)
    for _ in range(depth):
        found = list(
            dict.fromkeys(url for answer, page in level for url in inner_links(answer, page))
        )
        before = len(visit.pages)
        for url in found:
            if url in seen or len(visit.pages) >= MAX_PAGES:
                continue
            seen.add(url)
            on_progress(5 + 75 * len(visit.pages) / MAX_PAGES, f"page {len(visit.pages) + 1}")
            _try(visit, url)
        level = visit.pages[before:]


def _try(visit: Visit, url: str) -> None:
    try:
        visit.page(url)
    except TaskError as error:
        visit.notes.append(str(error)[:300])


def inner_links(answer: Answer, document: Document) -> list[str]:
    """Absolute links of the page that stay on its host, without fragments."""
    host = urlsplit(answer.url).netloc
    urls = [_absolute(answer.url, link) for link in document.links]
    return [url for url in urls if url and urlsplit(url).netloc == host]


def _absolute(base: str, link: str) -> str:
    try:
        url = urldefrag(urljoin(base, link.strip())).url
        return url if urlsplit(url).scheme in ("http", "https") else ""
    except ValueError:
        return ""


def _report(wish: AnalyzeInput, options: AnalyzeOptions, visit: Visit) -> AnalysisOutput:
    answer, document = visit.pages[0]
    sheets, sheet_bytes = _sheets(visit, answer, document) if _needs_sheets(options) else ([], 0)
    pages = [reports.page(a, d) for a, d in visit.pages]
    texts = [*document.styles, *sheets]
    if styles.is_cut(texts):
        visit.notes.append("The styles are more than 512 KiB and were read only so far.")
    issues = [issue for a, d in visit.pages for issue in reports.issues(a, d)]
    made = AnalysisOutput(
        summary="",
        url=wish.url,
        final_url=answer.url,
        title=document.title.strip()[:300],
        pages=pages,
        issues=issues[:100],
        notes=[clean(note) for note in visit.notes][:50],
    )
    if options.analyze_tech is not False:
        made.technologies = technologies.recognise(answer, document)
    if options.analyze_design is not False:
        made.design = styles.read(texts)
    if options.analyze_performance is not False:
        made.performance = reports.performance(answer, document, sheet_bytes)
    made.summary = _summary(made, pages, issues)
    return made


def _needs_sheets(options: AnalyzeOptions) -> bool:
    return options.analyze_design is not False or options.analyze_performance is not False


def _sheets(visit: Visit, answer: Answer, document: Document) -> tuple[list[str], int]:
    texts, size = [], 0
    for link in document.sheets[:MAX_SHEETS]:
        url = _absolute(answer.url, link)
        try:
            sheet = fetch(url, allow_private=visit.allow_private)
        except TaskError as error:
            visit.notes.append(str(error)[:300])
            continue
        texts.append(clean(sheet.text))
        size += sheet.sent
    return texts, size


def _summary(made: AnalysisOutput, pages: list[PageReport], issues: list[Issue]) -> str:
    parts = [
        f"{made.title or made.final_url}: {len(pages)} page{'s' if len(pages) > 1 else ''} read"
    ]
    if made.technologies:
        parts.append(f"made with {', '.join(tech.name for tech in made.technologies[:5])}")
    if made.performance:
        parts.append(f"first byte after {made.performance.ttfb_ms:.0f} ms")
    parts.append(f"{len(issues)} thing{'' if len(issues) == 1 else 's'} to mend")
    return ", ".join(parts) + "."
