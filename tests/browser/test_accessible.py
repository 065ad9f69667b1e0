"""Everybody can use the pages: axe finds nothing, keys reach everything, charts are tables too."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Open
from tests.browser.pages import addresses
from tests.browser.scene import Scene

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

VENDOR = Path(__file__).parent / "vendor"
AXE = next(VENDOR.glob("axe-*.min.js"))
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Django's own widgets, which every admin has: the search field without a visible label, select2,
# the two halves of a date, the empty head of an inline's first column.
STOCK = ["#searchbar", ".select2", ".vDateField", ".vTimeField", "th.original"]
FIND = """
    async ([rules, stock]) => {
        const place = {include: ["#content"], exclude: stock};
        const found = await axe.run(place, {runOnly: rules, resultTypes: ["violations"]});
        return found.violations.flatMap((rule) =>
            rule.nodes.map((node) => rule.id + ": " + node.html.slice(0, 200) + " " +
                node.any.concat(node.all).map((check) => check.message).join("; ").slice(0, 200)));
    }
"""
WANTED = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']"
REACHABLE = """
    (wanted) => [...document.querySelectorAll("#content " + wanted.replaceAll(", ", ", #content "))]
        .filter((element) => element.checkVisibility())
        .map((element, number) => {
            element.dataset.place = number;
            return element.outerHTML.slice(0, 80);
        })
"""
FOCUSED = """
    () => {
        const element = document.activeElement;
        const hasRing = getComputedStyle(element).outlineStyle === "solid";
        return [element.dataset.place ?? null, element.matches(":focus-visible") || hasRing];
    }
"""


def violations(page: Any) -> list[str]:
    """What axe has against the content of a page."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(FIND, [RULES, STOCK])
    return found


def test_the_checker_is_the_one_that_its_note_names():
    line = (VENDOR / "VENDORED.txt").read_text().splitlines()[-1]
    name, *_, digest = line.split(" | ")

    assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(scene: Scene, opened: Open, theme: str):
    found: list[str] = []
    for name, address in addresses(scene).items():
        scene.breathe()
        page = opened(address, theme=theme)
        if name == "dashboard":
            page.wait_for_selector(".u-legend")
            page.locator("details.psq-figures-of summary").first.click()
        found += [f"{name}: {told}" for told in violations(page)]
        page.close()

    assert not found, "\n".join(found)


def test_charts_are_tables_too(scene: Scene, opened: Open):
    page = opened(addresses(scene)["dashboard"])
    page.wait_for_selector(".u-legend")
    box = page.locator("details.psq-figures-of").first

    box.locator("summary").click()

    heads = box.locator("thead th").all_inner_texts()
    assert heads == ["Minute", "ARCHITECT", "DESIGN", "CODE", "ANALYZE", "DEPLOY", "EXPORT"]
    assert box.locator("tbody tr").count() == 60
    first = box.locator("tbody tr").first
    assert first.locator("th[scope=row]").inner_text().count(":") == 1
    assert all(first.locator("td").all_inner_texts())
    assert page.locator("canvas[role=img]").count() == 2


@pytest.mark.parametrize("name", ["dashboard", "queue", "task-failed", "workers", "tasks-all"])
def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    scene: Scene, opened: Open, name: str
):
    scene.breathe()
    page = opened(addresses(scene)[name])
    if name == "dashboard":
        page.wait_for_selector(".u-legend")
    if page.locator("[data-psq-toggle]").is_visible():
        # A page that is renewed meanwhile would forget the numbers below.
        page.locator("[data-psq-toggle]").click()
    wanted = page.evaluate(REACHABLE, WANTED)
    page.evaluate("document.activeElement.blur()")

    reached, unseen = set(), []
    for _ in range(len(wanted) + 150):
        page.keyboard.press("Tab")
        place, is_seen = page.evaluate(FOCUSED)
        if place is not None:
            reached.add(int(place))
            if not is_seen:
                unseen.append(wanted[int(place)])

    assert [html for n, html in enumerate(wanted) if n not in reached] == []
    assert unseen == []
