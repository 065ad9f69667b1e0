"""The documentation's site: it is built from the pages without a warning, and needs no network."""

import re
from pathlib import Path

import pytest

from scripts import site

pytestmark = [pytest.mark.slow, pytest.mark.one_row, pytest.mark.timeout(300)]
LOADED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]*)\"|<link\b[^>]*>")


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    assert site.main(["--into", str(folder)]) == 0
    return folder / "html"


def test_every_page_of_the_documentation_is_in_the_site(html: Path):
    pages = {name.removesuffix(".md") for name in site.names().values() if name.endswith(".md")}

    assert {"index", "readme", "changelog", "howto/rest-api", "decisions/index"} <= pages
    assert not [page for page in pages if not (html / f"{page}.html").is_file()]


def test_the_site_loads_nothing_from_elsewhere(html: Path):
    texts = {path: path.read_text(encoding="utf-8") for path in html.rglob("*.html")}
    loaded = {found[1] or found[0] for text in texts.values() for found in LOADED.finditer(text)}
    styles = [path.read_text(encoding="utf-8") for path in html.rglob("*.css")]

    assert loaded
    assert not [what for what in loaded if "//" in what]
    assert not [style for style in styles if re.search(r"(@import|url\()\W*(https?:)?//", style)]


@pytest.mark.parametrize("link", ["nowhere.md", "glossary.md#no-such-heading"])
def test_a_dead_link_ends_the_build(link: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "conf.py").write_text((site.DOCS / "conf.py").read_text())
    (docs / "index.md").write_text("# Index\n\n## Pages\n\n- [words](glossary.md)\n")
    (docs / "glossary.md").write_text(f"# Words\n\n[dead]({link})\n")
    monkeypatch.setattr(site, "DOCS", docs)
    monkeypatch.setattr(site, "OF_ROOT", {})

    assert site.main(["--into", str(tmp_path / "site")]) != 0
