"""A plan becomes a site that is whole, readable and safe, whoever wrote the plan."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import ValidationError

from plugspace_queue.schemas.design import DesignOutput
from plugspace_queue.schemas.inputs import CodeInput
from project.agents.architecture import library
from project.agents.code.checks import check_site
from project.agents.code.coder import code
from tests.agents.making import SAAS, make_code, make_design, make_plan, texts
from tests.support import patient

ATTACK = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ x }}{% x %}"


def failed(files: dict[str, str]) -> list[tuple[str, list[str]]]:
    return [(name, wrong) for name, wrong in check_site(files) if wrong]


@pytest.mark.parametrize("industry", sorted(library.briefs()))
def test_every_kind_of_site_passes_its_checks(industry: str) -> None:
    made = make_code(make_plan("A site", industry=industry), includeStorybook=True)

    assert failed(texts(made)) == []
    assert made.bytes < 250_000


def test_the_same_plan_gives_the_same_files() -> None:
    assert make_code(make_plan()) == make_code(make_plan())


def test_there_is_no_script_and_nothing_from_elsewhere() -> None:
    for path, text in texts(make_code(make_plan(), includeStorybook=True)).items():
        if path.endswith((".html", ".css")):
            assert "<script" not in text
            assert "http://" not in text
            assert "https://" not in text
            assert " style=" not in text


def test_the_dashboard_shows_charts_made_on_the_server() -> None:
    page = texts(make_code(make_plan()))["dashboard.html"]

    assert page.count("<svg") >= 3
    assert '<th scope="row">' in page
    assert "Show the figures" in page


def test_tests_and_storybook_come_only_when_asked() -> None:
    bare = texts(make_code(make_plan()))
    full = make_code(make_plan(), includeTests=True, includeStorybook=True)

    assert not any(path.startswith(("tests/", "storybook/")) for path in bare)
    assert {"tests/test_site.py", "tests/site_checks.py", "storybook/index.html"} <= set(
        texts(full)
    )
    assert full.tests is not None
    assert (full.tests.ran, full.tests.failed) == (10, 0)


def test_the_tests_that_come_with_a_site_really_run(tmp_path: Path) -> None:
    for path, text in texts(make_code(make_plan(), includeTests=True)).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "unittest", "discover", "tests"]

    good = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=patient(30)
    )
    (tmp_path / "pricing.html").unlink()
    bad = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=patient(30))

    assert good.returncode == 0, good.stderr
    assert "pricing.html" in bad.stderr


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda t: t.replace('href="pricing.html"', 'href="gone.html"'), "Every link leads"),
        (lambda t: t.replace("<h1", "<h4").replace("</h1", "</h4"), "Every page has one h1"),
        (lambda t: t.replace('lang="en"', ""), "Every page says its language"),
        (lambda t: t.replace("</footer>", ""), "Every page is well formed"),
        (
            lambda t: t.replace("styles.css", "https://cdn.example/styles.css"),
            "Nothing is loaded from elsewhere",
        ),
        (lambda t: t.replace("<main", '<img src="icon.svg"><main'), "Every page is well formed"),
        (lambda t: t.replace("<main", '<input name="x"><main'), "Every form field has a label"),
    ],
)
def test_the_checks_find_what_is_broken(change, check: str) -> None:  # type: ignore[no-untyped-def]
    files = texts(make_code(make_plan()))
    files["index.html"] = change(files["index.html"])

    assert any(name.startswith(check) for name, _ in failed(files))


def test_the_checks_find_text_that_cannot_be_read() -> None:
    files = texts(make_code(make_plan()))
    muted = make_design(make_plan()).light.text_muted
    files["styles.css"] = files["styles.css"].replace(
        f"--text-muted: {muted}", "--text-muted: #dddddd"
    )

    assert any(name.startswith("Text can be read") for name, _ in failed(files))


class Tags(HTMLParser):
    """The tags and attributes that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)


def poisoned(value: object) -> object:
    """A plan with the attack in every free text; what has a form of its own stays."""
    fixed = {
        "slug",
        "id",
        "kind",
        "href",
        "layout",
        "language",
        "scheme",
        "mood",
        "pages",
        "usedOn",
    }
    if isinstance(value, dict):
        return {
            key: entry if key in fixed and isinstance(entry, str) else poisoned(entry)
            for key, entry in value.items()
        }
    if isinstance(value, list):
        return [
            entry if isinstance(entry, str) and len(entry) < 2 else poisoned(entry)
            for entry in value
        ]
    return ATTACK if isinstance(value, str) else value


def test_nothing_a_tenant_writes_becomes_markup() -> None:
    plan = make_plan(f"A blog and dashboard called {SAAS}", industry="saas").to_wire()
    for dropped in ("components", "features", "entities"):
        plan.pop(dropped)
    plan = poisoned(plan)  # type: ignore[assignment]
    wish = {"architecture": plan, "options": {"includeStorybook": True, "includeTests": True}}

    made = code(CodeInput.from_wire(wish))

    pages = [text for path, text in texts(made).items() if path.endswith(".html")]
    assert len(pages) > 5
    for page in pages:
        seen = Tags(page)
        assert seen.tags.isdisjoint({"script", "img", "iframe", "style"})
        assert not any(name.startswith("on") for name in seen.attributes)
        assert "{{ x }}" in page


@pytest.mark.parametrize(
    "value",
    ["red; } body { display: none", "url(x.png)", "/* x", "</style>", "a\\62", "@import"],
)
def test_a_token_cannot_leave_its_declaration(value: str) -> None:
    wire = make_design().to_wire()
    wire["tokens"]["base"]["--font-body"] = value

    with pytest.raises(ValidationError):
        DesignOutput.from_wire(wire)


@pytest.mark.parametrize(
    "href", ["javascript:alert(1)", "data:text/html,x", "//x.example", "/admin/"]
)
def test_a_link_leads_to_a_page_or_an_address_and_runs_nothing(href: str) -> None:
    plan = make_plan().to_wire()
    plan["pages"][0]["sections"][0]["actions"] = [{"label": "x", "href": href}]

    with pytest.raises(ValidationError):
        CodeInput.from_wire({"architecture": plan})


def test_a_plan_written_by_hand_is_enough() -> None:
    section = {"id": "a", "kind": "text", "heading": "Hello"}
    plan = {
        "summary": "s",
        "name": "Hand",
        "pages": [
            {"slug": "one", "title": "One", "sections": [section, section]},
            {"slug": "one", "title": "Again", "sections": [section]},
            {"slug": "two", "title": "Two", "sections": [section]},
        ],
        "navigation": {"primary": [{"label": "Gone", "href": "gone"}]},
    }

    made = code(CodeInput.from_wire({"architecture": plan, "options": {"includeTests": True}}))

    assert [page.path for page in made.pages] == ["index.html", "two.html"]
    assert made.tests is not None
    assert made.tests.failed == 0, made.tests.checks


def test_a_dark_site_is_dark_for_everyone() -> None:
    sheet = texts(make_code(make_plan(SAAS, "make it dark")))["styles.css"]

    assert "color-scheme: dark;" in sheet
    assert "prefers-color-scheme" not in sheet
