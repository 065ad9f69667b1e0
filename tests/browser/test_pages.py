"""Our pages in a browser: pictures of them, live parts, nothing refused, nothing too wide."""

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from plugspace_queue import queue_manager
from tests.browser.conftest import Open
from tests.browser.pages import addresses
from tests.browser.scene import Scene

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

PICTURES = Path(settings.BASE_DIR) / "var" / "screenshots"
HIDDEN_ON_DEMAND = """
    Object.defineProperty(document, "hidden", {get: () => Boolean(window.psqHidden)});
"""


def is_too_wide(page: Any) -> bool:
    """Whether the page itself scrolls sideways; tables may, within their frame."""
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1"))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440, 2560])
def test_pages_fit_and_nothing_on_them_is_refused(
    scene: Scene, opened: Open, complaints: list[str], width: int, theme: str
):
    PICTURES.mkdir(parents=True, exist_ok=True)
    too_wide = []
    for name, address in addresses(scene).items():
        scene.breathe()
        page = opened(address, width=width, theme=theme)
        if name == "dashboard":
            page.wait_for_selector(".u-legend")
        page.screenshot(path=PICTURES / f"{name}-{width}-{theme}.png", full_page=True)
        # The admin's own lists are wider than a phone.
        if name not in {"tasks", "organizations"} and is_too_wide(page):
            too_wide.append(name)
        page.close()

    assert complaints == []
    assert too_wide == []


def test_the_dashboard_follows_the_queues_and_keeps_the_focus(scene: Scene, opened: Open):
    page = opened(addresses(scene)["dashboard"])
    link = page.locator("#psq-code h2 a")
    link.focus()

    queue_manager.pause("CODE")
    scene.breathe()

    page.wait_for_selector("#psq-code .psq-paused", timeout=8_000)
    assert link.evaluate("link => link === document.activeElement")
    assert page.locator("[data-psq-status]").inner_text() == "Live"


def test_a_page_that_nobody_sees_or_that_is_held_asks_for_nothing(scene: Scene, opened: Open):
    page = opened("about:blank")
    page.clock.install()
    page.add_init_script(HIDDEN_ON_DEMAND)
    page.goto(addresses(scene)["workers"])
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with page.expect_response("**/live/"):
        page.clock.run_for(2_100)

    page.evaluate("window.psqHidden = true")
    asked.clear()
    page.clock.run_for(60_000)
    assert asked == []

    page.evaluate("window.psqHidden = false")
    with page.expect_response("**/live/"):
        page.clock.run_for(2_100)
    page.get_by_role("button", name="Pause updates").click()
    asked.clear()
    page.clock.run_for(60_000)
    assert asked == []
    with page.expect_response("**/live/"):
        page.get_by_role("button", name="Pause updates").click()


def test_an_operator_steers_with_the_keyboard_alone(scene: Scene, opened: Open):
    page = opened(addresses(scene)["queue"])
    page.locator("#pause_reason").focus()

    page.keyboard.type("the model is down")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Pause CODE"
    page.keyboard.press("Enter")

    page.wait_for_selector(".messagelist .success")
    assert "Resume CODE" in page.content()


def test_what_tenants_wrote_is_text_on_every_page(
    scene: Scene, opened: Open, complaints: list[str]
):
    for name in ("task-failed", "tasks", "audit"):
        page = opened(addresses(scene)[name])
        assert "<img src=x onerror=alert(1)>" in page.locator("body").inner_text()
        assert page.locator("img[src=x]").count() == 0

    assert complaints == []


def test_a_tab_whose_session_ended_goes_to_the_login(scene: Scene, opened: Open):
    page = opened(addresses(scene)["dashboard"])
    page.context.clear_cookies()

    page.wait_for_url("**/login/**", timeout=10_000)
    assert page.locator("#id_username").count() == 1


def test_a_server_that_is_away_is_told_and_forgiven(scene: Scene, opened: Open):
    page = opened(addresses(scene)["dashboard"])
    page.route("**/live/", lambda route: route.abort())
    page.wait_for_selector("text=Not live", timeout=8_000)

    page.unroute("**/live/")
    page.wait_for_selector("[data-psq-status]:text-is('Live')", timeout=8_000)
