"""Reads an HTML document into what a report needs; broken documents are read as far as they go.

The parser tells of tags as they come and keeps no tree, and nothing is read behind the first
element that is nested too deep: the time it takes grows with the document's length only. (Parsers
that build the tree of HTML 5 search it at each tag: 240 KB of `<ul><li>` take them seconds.)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lxml import etree

LANDMARKS = {"header", "nav", "main", "aside", "footer", "form", "section"}
SILENT = {"script", "style", "noscript", "template"}
FIELDS = {"input", "select", "textarea"}
MAX_NOTED = 2_000
MAX_TEXT = 1_000
# As deep as browsers build; a real page has 30.
MAX_DEPTH = 512
PART = 4 * 1024


@dataclass
class Form:
    """A form as it is written."""

    action: str
    method: str
    fields: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


class Document:
    """The facts of one page, read at construction."""

    def __init__(self, text: str) -> None:
        self.title = ""
        self.language = ""
        self.metas: dict[str, str] = {}
        self.headings: list[tuple[int, str]] = []
        self.landmarks: list[str] = []
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.sheets: list[str] = []
        self.images: list[dict[str, str]] = []
        self.forms: list[Form] = []
        self.labels: set[str] = set()
        self.styles: list[str] = []
        self.classes: set[str] = set()
        self.words = 0
        self.is_too_deep = False
        self._silent = ""
        self._inside = ""
        self._depth = 0
        self._texts: list[str] = []
        self._read(text)

    def _read(self, text: str) -> None:
        parser = etree.HTMLParser(target=self, encoding="utf-8", huge_tree=True)
        for part in _parts(text.encode()):
            parser.feed(part)
            if self.is_too_deep:
                break
        parser.close()

    def start(self, tag: str, attrs: dict[str, str]) -> None:
        """Called by the parser."""
        self._end_text()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self.is_too_deep = True
        if self.is_too_deep:
            return
        given = dict(attrs)
        if tag in SILENT:
            self._silent = tag
        if tag == "title" or (len(tag) == 2 and tag[0] == "h" and tag[1] in "123456"):
            self._open_text(tag)
        if tag in LANDMARKS and len(self.landmarks) < MAX_NOTED:
            self.landmarks.append(tag)
        self._note_attributes(tag, given)
        if note := NOTES.get(tag):
            note(self, given)
        if tag in FIELDS:
            self._note_field(tag, given)

    def end(self, tag: str) -> None:
        """Called by the parser."""
        self._end_text()
        self._depth -= 1
        if tag == self._silent:
            self._silent = ""
        if tag == self._inside:
            self._inside = ""

    def data(self, data: str) -> None:
        """Called by the parser, for one text perhaps in parts."""
        self._texts.append(data)

    def close(self) -> None:
        """Called by the parser."""
        self._end_text()

    def _end_text(self) -> None:
        data = "".join(self._texts)
        self._texts.clear()
        if not data or self.is_too_deep:
            return
        if self._silent == "style":
            self.styles.append(data)
        if self._silent:
            return
        if self._inside == "title":
            self.title = (self.title + data)[:MAX_TEXT]
        elif self._inside:
            level, text = self.headings[-1]
            self.headings[-1] = (level, (text + data)[:MAX_TEXT])
        self.words += len(data.split())

    def _open_text(self, tag: str) -> None:
        # A second title (of a picture, say) is not the page's.
        if (tag == "title" and self.title) or len(self.headings) >= MAX_NOTED:
            return
        self._inside = tag
        if tag != "title":
            self.headings.append((int(tag[1]), ""))

    def _note_attributes(self, tag: str, given: dict[str, str]) -> None:
        if given.get("style"):
            self.styles.append(f"x {{ {given['style']} }}")
        if len(self.classes) < MAX_NOTED:
            self.classes.update(given.get("class", "").split())

    def _note_html(self, given: dict[str, str]) -> None:
        self.language = self.language or given.get("lang", "")

    def _note_meta(self, given: dict[str, str]) -> None:
        if name := (given.get("name") or given.get("property") or "").lower():
            self.metas.setdefault(name, given.get("content", ""))

    def _note_a(self, given: dict[str, str]) -> None:
        if given.get("href") and len(self.links) < MAX_NOTED:
            self.links.append(given["href"])

    def _note_script(self, given: dict[str, str]) -> None:
        if given.get("src"):
            self.scripts.append(given["src"])

    def _note_link(self, given: dict[str, str]) -> None:
        if "stylesheet" in given.get("rel", "").lower().split() and given.get("href"):
            self.sheets.append(given["href"])

    def _note_img(self, given: dict[str, str]) -> None:
        self.images.append(given)

    def _note_form(self, given: dict[str, str]) -> None:
        method = (given.get("method") or "get").lower()
        self.forms.append(Form(given.get("action", ""), method if method == "post" else "get"))

    def _note_label(self, given: dict[str, str]) -> None:
        self.labels.add(given.get("for", ""))

    def _note_field(self, tag: str, given: dict[str, str]) -> None:
        kind = given.get("type", tag).lower()
        if kind in ("hidden", "submit", "button", "image", "reset") or not self.forms:
            return
        form = self.forms[-1]
        form.fields.append(given.get("name") or given.get("id") or kind)
        form.ids.append("*" if given.get("aria-label") else given.get("id", ""))


NOTES: dict[str, Callable[[Document, dict[str, str]], None]] = {
    "html": Document._note_html,
    "meta": Document._note_meta,
    "a": Document._note_a,
    "script": Document._note_script,
    "link": Document._note_link,
    "img": Document._note_img,
    "form": Document._note_form,
    "label": Document._note_label,
}


def _parts(data: bytes) -> Iterator[bytes]:
    return (data[at : at + PART] for at in range(0, len(data), PART))
