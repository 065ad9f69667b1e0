"""Looks over the finished files of a site; needs nothing but Python, so it travels with them."""

import posixpath
import re
from html.parser import HTMLParser

Result = tuple[str, list[str]]

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
LOADERS = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}


class Document(HTMLParser):
    """What the checks want to know of one page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.language = ""
        self.title = ""
        self.description = ""
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.levels: list[int] = []
        self.landmarks: set[str] = set()
        self.labelled: set[str] = set()
        self.controls: list[str] = []
        self.faults: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self._open.append(tag)
        self._note(tag, given)
        if "style" in given or any(name.startswith("on") for name in given):
            self.faults.append(f"<{tag}> carries style or script in an attribute")
        if tag == "img" and "alt" not in given:
            self.faults.append("an image has no alt")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.faults.append(f"</{tag}> closes nothing")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if "title" in self._open and "svg" not in self._open:
            self.title += data

    def _note(self, tag: str, given: dict[str, str]) -> None:
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "html":
            self.language = given.get("lang", "")
        if tag == "a":
            self.links.append(given.get("href", ""))
        if tag in LOADERS and LOADERS[tag] in given:
            self.loads.append(given[LOADERS[tag]])
        if re.fullmatch(r"h[1-6]", tag):
            self.levels.append(int(tag[1]))
        self._note_rest(tag, given)

    def _note_rest(self, tag: str, given: dict[str, str]) -> None:
        if tag in {"header", "main", "footer", "nav"}:
            self.landmarks.add(tag)
        if tag == "label":
            self.labelled.add(given.get("for", ""))
        if tag in {"input", "textarea", "select"} and given.get("type") != "hidden":
            self.controls.append(given.get("id", ""))
        if tag == "meta" and given.get("name") == "description":
            self.description = given.get("content", "")


def check_site(files: dict[str, str]) -> list[Result]:
    """Every check by name, with what is wrong; an empty list means that it passes."""
    pages = {path: Document(text) for path, text in files.items() if path.endswith(".html")}
    looks = [
        ("Every page is well formed", _well_formed),
        ("Every page says its language, title and description", _described),
        ("Every title is the only one of its kind", _titles),
        ("Every page has one h1 and skips no level", _headings),
        ("Every page has its landmarks", _landmarks),
        ("Every id is used once", _ids),
        ("Every form field has a label", _labels),
    ]
    results = [(name, look(pages)) for name, look in looks]
    results.append(("Every link leads somewhere", _links(pages, files)))
    results.append(("Nothing is loaded from elsewhere", _loads(pages, files)))
    results.append(("Text can be read in every scheme", _contrast(files.get("styles.css", ""))))
    return results


def _well_formed(pages: dict[str, Document]) -> list[str]:
    return [f"{path}: {fault}" for path, page in pages.items() for fault in page.faults]


def _described(pages: dict[str, Document]) -> list[str]:
    return [
        f"{path}: language, title or description is missing"
        for path, page in pages.items()
        if not (page.language and page.title.strip() and page.description.strip())
    ]


def _titles(pages: dict[str, Document]) -> list[str]:
    titles = [page.title for page in pages.values()]
    return sorted({title for title in titles if titles.count(title) > 1})


def _headings(pages: dict[str, Document]) -> list[str]:
    wrong = [path for path, page in pages.items() if page.levels.count(1) != 1]
    for path, page in pages.items():
        steps = zip([0, *page.levels], page.levels, strict=False)
        wrong += [f"{path}: h{now} follows h{before}" for before, now in steps if now > before + 1]
    return wrong


def _landmarks(pages: dict[str, Document]) -> list[str]:
    return [path for path, page in pages.items() if "main" not in page.landmarks]


def _ids(pages: dict[str, Document]) -> list[str]:
    return [
        f"{path}: {name}"
        for path, page in pages.items()
        for name in sorted(set(page.ids))
        if page.ids.count(name) > 1
    ]


def _labels(pages: dict[str, Document]) -> list[str]:
    return [
        f"{path}: {control or 'a field without id'}"
        for path, page in pages.items()
        for control in page.controls
        if control not in page.labelled
    ]


def _links(pages: dict[str, Document], files: dict[str, str]) -> list[str]:
    return [
        f"{path}: {link}"
        for path, page in pages.items()
        for link in page.links
        if not re.match(r"(?:https?|mailto|tel):", link) and not _leads(path, link, pages, files)
    ]


def _leads(path: str, link: str, pages: dict[str, Document], files: dict[str, str]) -> bool:
    target, _, anchor = link.partition("#")
    where = posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) if target else path
    if anchor and where in pages:
        return anchor in pages[where].ids
    return where in files


def _loads(pages: dict[str, Document], files: dict[str, str]) -> list[str]:
    wrong = [
        f"{path}: {source}"
        for path, page in pages.items()
        for source in page.loads
        if not _leads(path, source, pages, files)
    ]
    sheets = [text for path, text in files.items() if path.endswith(".css")]
    return wrong + [
        found for sheet in sheets for found in re.findall(r"@import|url\([^()]{0,300}", sheet)
    ]


def _contrast(sheet: str) -> list[str]:
    wrong = []
    for colors in _schemes(sheet):
        for front, back in _PAIRS:
            if front in colors and back in colors and _ratio(colors[front], colors[back]) < 4.5:
                wrong.append(f"{front} {colors[front]} on {back} {colors[back]}")
    return wrong


_PAIRS = [
    ("text", "background"),
    ("text", "surface"),
    ("text-muted", "background"),
    ("text-muted", "surface-strong"),
    ("link", "background"),
    ("link", "surface-strong"),
    ("on-primary", "primary"),
    ("on-primary-soft", "primary-soft"),
    ("success", "surface"),
    ("danger", "surface"),
]


def _schemes(sheet: str) -> list[dict[str, str]]:
    blocks = re.findall(r":root \{([^{}]{0,20000})\}", sheet)
    return [dict(re.findall(r"--([a-z-]{1,64}): (#[0-9a-fA-F]{6});", block)) for block in blocks]


def _ratio(one: str, other: str) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
