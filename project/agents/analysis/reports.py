"""Turns a page that was read into the parts of the report, and says what should be mended."""

from itertools import pairwise
from urllib.parse import urljoin, urlsplit

from plugspace_queue.schemas.analysis import (
    FormReport,
    Heading,
    ImageReport,
    Issue,
    LinkReport,
    PageReport,
    PerformanceReport,
)
from project.agents.analysis.document import Document, Form
from project.agents.analysis.fetch import Answer

SLOW_MS = 600
HEAVY = 300 * 1024


def page(answer: Answer, document: Document) -> PageReport:
    """The report of one page."""
    inner = [link for link in document.links if _is_inner(answer.url, link)]
    return PageReport(
        url=answer.url,
        status=answer.status,
        title=document.title.strip()[:300],
        description=document.metas.get("description", "")[:500],
        language=document.language[:20],
        headings=[
            Heading(level=n, text=" ".join(text.split())[:200])
            for n, text in document.headings[:60]
        ],
        landmarks=list(dict.fromkeys(document.landmarks)),
        links=LinkReport(
            internal=len(inner),
            external=len(document.links) - len(inner),
            samples=list(dict.fromkeys(link[:300] for link in inner))[:20],
        ),
        forms=[_form(form, document) for form in document.forms[:20]],
        images=ImageReport(total=len(document.images), without_alt=_without_alt(document)),
        words=document.words,
        bytes=len(answer.body),
        ttfb_ms=answer.ttfb_ms,
    )


def _is_inner(base: str, link: str) -> bool:
    try:
        return urlsplit(urljoin(base, link)).netloc == urlsplit(base).netloc
    except ValueError:
        return False


def _without_alt(document: Document) -> int:
    return sum("alt" not in image for image in document.images)


def _form(form: Form, document: Document) -> FormReport:
    return FormReport(
        action=form.action[:300],
        method=form.method,
        fields=[name[:100] for name in form.fields[:30]],
        unlabelled=_unlabelled(form, document),
    )


def _unlabelled(form: Form, document: Document) -> int:
    return sum(name != "*" and name not in document.labels for name in form.ids)


def issues(answer: Answer, document: Document) -> list[Issue]:
    """What should be mended on one page, the serious first."""
    levels = [level for level, _ in document.headings]
    unlabelled = sum(_unlabelled(form, document) for form in document.forms)
    looks = [
        ("serious", not document.title.strip(), "The page has no title."),
        ("serious", not document.language, "The page does not say its language."),
        (
            "serious",
            bool(_without_alt(document)),
            f"{_without_alt(document)} images have no alt text.",
        ),
        ("serious", bool(unlabelled), f"{unlabelled} form fields have no label."),
        ("moderate", levels.count(1) != 1, f"There are {levels.count(1)} main headings, not one."),
        ("moderate", _skips(levels), "The headings skip a level."),
        ("moderate", "main" not in document.landmarks, "The page has no main landmark."),
        ("moderate", "viewport" not in document.metas, "The page is not made for phones."),
        ("minor", "description" not in document.metas, "The page has no description."),
        ("minor", not answer.url.startswith("https:"), "The page is not encrypted."),
    ]
    return [Issue(severity=s, message=text, url=answer.url) for s, wrong, text in looks if wrong]


def _skips(levels: list[int]) -> bool:
    return any(now > before + 1 for before, now in pairwise(levels))


def performance(answer: Answer, document: Document, sheet_bytes: int) -> PerformanceReport:
    """The weight of the first page."""
    counts = (len(document.scripts), len(document.sheets), len(document.images))
    return PerformanceReport(
        document_bytes=answer.sent,
        style_bytes=sheet_bytes,
        requests=1 + sum(counts),
        scripts=counts[0],
        styles=counts[1],
        images=counts[2],
        ttfb_ms=answer.ttfb_ms,
        total_ms=answer.total_ms,
        is_compressed="content-encoding" in answer.headers,
        hints=_hints(answer, document, counts),
    )


def _hints(answer: Answer, document: Document, counts: tuple[int, int, int]) -> list[str]:
    lazy = sum(image.get("loading") == "lazy" for image in document.images)
    sized = sum("width" in image and "height" in image for image in document.images)
    is_packed = "content-encoding" in answer.headers
    looks = [
        (answer.ttfb_ms > SLOW_MS, "The first byte is late: look at the server or add a cache."),
        (not is_packed and answer.sent > 2_048, "Compress the document: it is sent as it is."),
        (answer.sent > HEAVY, "The document alone is heavy: send less at first."),
        (counts[0] > 10, f"{counts[0]} scripts: join them or do without some."),
        (counts[1] > 4, f"{counts[1]} stylesheets: join them."),
        (counts[2] > 4 and not lazy, "Let pictures below the fold load lazily."),
        (counts[2] > sized, "Give pictures their width and height, so that nothing jumps."),
        (
            "cache-control" not in answer.headers,
            "Say in Cache-Control how long answers may be kept.",
        ),
    ]
    return [hint for applies, hint in looks if applies]
