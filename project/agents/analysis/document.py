"""Reads an HTML document into what a report needs; broken documents are read as far as they go."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

LANDMARKS = {"header", "nav", "main", "aside", "footer", "form", "section"}
SILENT = {"script", "style", "noscript", "template"}
FIELDS = {"input", "select", "textarea"}
MAX_NOTED = 2_000


@dataclass
class Form:
    """A form as it is written."""

    action: str
    method: str
    fields: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


class Document(HTMLParser):
    """The facts of one page; feed it at construction."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
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
        self._silent = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in SILENT:
            self._silent = tag
        if tag == "title" or (len(tag) == 2 and tag[0] == "h" and tag[1] in "123456"):
            self._open_text(tag)
        if tag in LANDMARKS and len(self.landmarks) < MAX_NOTED:
            self.landmarks.append(tag)
        self._note_attributes(tag, given)
        if note := getattr(self, f"_note_{tag}", None):
            note(given)
        if tag in FIELDS:
            self._note_field(tag, given)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._silent:
            self._silent = ""
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._silent == "style":
            self.styles.append(data)
        if self._silent:
            return
        if self._inside == "title":
            self.title += data
        elif self._inside:
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + data)
        self.words += len(data.split())

    def _open_text(self, tag: str) -> None:
        # A second title (of a picture, say) is not the page's.
        if tag == "title" and self.title:
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
        self.language = given.get("lang", "")

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
