"""Jobs of an on-call engineer, each from the first page on, with the clicks that it takes."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from plugspace_queue.domain.enums import State
from plugspace_queue.limits import policies
from plugspace_queue.models import Organization, Override, Task
from tests.admin.conftest import signed_in
from tests.browser.conftest import Open
from tests.browser.pages import BASE
from tests.browser.scene import Scene
from tests.browser.test_pages import PICTURES, is_too_wide

__all__ = ["signed_in"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

HOME = f"{BASE}dashboard/"


class Hand:
    """Clicks, and how many there were; a drag is one."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.clicks = 0

    def click(self, target: Any) -> None:
        self.clicks += 1
        target.click()

    def link(self, name: str) -> None:
        self.click(self.page.get_by_role("link", name=name).first)

    def button(self, name: str) -> None:
        self.click(self.page.get_by_role("button", name=name).first)

    def drag(self, target: Any, start: float, end: float) -> None:
        """Over a part of a picture, given as shares of its width."""
        self.clicks += 1
        box = target.bounding_box()
        height = box["y"] + box["height"] / 2
        self.page.mouse.move(box["x"] + box["width"] * start, height)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + box["width"] * (start + end) / 2, height)
        self.page.mouse.move(box["x"] + box["width"] * end, height)
        self.page.mouse.up()


def picture(page: Any, name: str) -> None:
    """Of a page that only a form leads to; narrow and wide."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for width in (360, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=PICTURES / f"{name}-{width}-light.png", full_page=True)
        assert not is_too_wide(page)


def failed_of(scene: Scene) -> int:
    return Task.objects.filter(
        state=State.FAILED, type="CODE", fingerprint=scene.group.fingerprint
    ).count()


def test_failures_that_went_up_are_found_by_time_and_cause_and_retried(
    scene: Scene, opened: Open, complaints: list[str]
):
    before = failed_of(scene)
    scene.breathe()
    page = opened(HOME)
    hand = Hand(page)

    hand.link("tasks failed")
    page.wait_for_selector(".psq-can-drag")
    # The last ten of sixty minutes.
    hand.drag(page.locator("[data-psq-brush]"), 0.84, 0.995)
    page.wait_for_url("**from=**")
    hand.link("KeyError: 'palette'")
    page.get_by_label("Reason").fill("the palette is back")
    hand.button("Retry up to")

    page.wait_for_selector(".messagelist >> text=queued for retry: the palette is back")
    after = failed_of(scene)
    assert 0 < after < before
    newest = Task.objects.filter(state=State.FAILED, type="CODE").latest("completed_at")
    assert newest.completed_at < timezone.now() - timedelta(minutes=8)
    assert hand.clicks <= 4
    assert complaints == []


def test_failures_are_retried_without_scripts_too(scene: Scene, opened: Open):
    before = failed_of(scene)
    page = opened(HOME, has_scripts=False)

    page.get_by_role("link", name="tasks failed").click()
    assert page.locator("[data-psq-hint]").is_hidden()
    page.locator("#psq-bars-table summary").click()
    page.locator("#psq-bars-table tbody a").nth(2).click()
    page.get_by_role("link", name="KeyError: 'palette'").click()
    page.get_by_label("Reason").fill("the palette is back")
    page.get_by_role("button", name="Retry up to").click()

    assert "queued for retry" in page.locator(".messagelist").inner_text()
    assert failed_of(scene) == before - 2


def test_a_group_is_muted_with_a_note(scene: Scene, opened: Open, complaints: list[str]):
    page = opened(f"{BASE}failuregroup/{scene.group.pk}/change/?last=1h")

    page.locator("#mute_note").fill("known, mended tomorrow")
    page.get_by_role("button", name="Mute", exact=True).click()

    page.wait_for_selector(".messagelist >> text=The group is muted for 1 hour")
    page.goto(f"{BASE}failuregroup/")
    assert page.get_by_role("link", name="KeyError: 'palette'").count() == 0
    assert complaints == []


def test_a_limiter_is_raised_for_two_hours(scene: Scene, opened: Open, complaints: list[str]):
    scene.breathe()
    page = opened(HOME)
    hand = Hand(page)

    hand.click(page.locator("#psq-code .psq-actions a"))
    starts = page.locator("#limits_limiter_max")
    assert starts.input_value() == "8"
    starts.fill("80")
    page.locator("#limits_length").select_option("2h")
    page.locator("#limits_reason").fill("the launch of northwind")
    hand.button("Review the change")
    cells = page.locator(".psq-diff tbody tr").first.locator("th, td").all_inner_texts()
    assert cells == ["Starts", "8", "80"]
    picture(page, "limits-review")
    hand.button("Set until")

    page.wait_for_selector(".messagelist .success")
    row = Override.objects.get(key="limiter")
    assert (row.type, row.value, row.duration) == ("CODE", 80, 30.0)
    assert row.ends_at - timezone.now() < timedelta(hours=2)
    assert "80 starts in 30 s" in page.locator(".psq-overrides").inner_text()
    assert policies.queue_settings("CODE").limiter_max == 80
    assert hand.clicks <= 4
    assert complaints == []


def test_who_is_near_a_quota_is_found_and_gets_fifty_more(
    scene: Scene, opened: Open, complaints: list[str]
):
    scene.breathe()
    page = opened(HOME)
    hand = Hand(page)

    hand.link("Who is near a quota")
    first = page.locator(".psq-shares tbody tr").first
    assert "ada-labs" in first.inner_text()
    hand.click(first.get_by_role("link"))
    assert page.locator("#grant_type").input_value() == "EXPORT"
    page.locator("#grant_amount").fill("50")
    page.locator("#grant_reason").fill("until the invoice is paid")
    hand.button("Grant")

    page.wait_for_selector(".messagelist .success")
    row = Override.objects.get(organization="ada-labs")
    assert (row.type, row.value, row.author) == ("EXPORT", 50, "admin")
    assert row.ends_at is not None
    assert hand.clicks <= 4
    assert complaints == []


def test_who_takes_the_slots_is_one_click_away(scene: Scene, opened: Open, complaints: list[str]):
    scene.breathe()
    page = opened(HOME)
    hand = Hand(page)

    hand.link("Who holds the slots")

    tiers = page.locator(".psq-slots").first.locator("tbody tr")
    assert tiers.count() >= 3
    running = Task.objects.filter(state=State.PROCESSING).count()
    assert f"{running} tasks run" in page.locator(".psq-lead").inner_text()
    assert page.locator("[data-psq-status]").inner_text() == "Live"
    assert hand.clicks <= 2
    assert complaints == []


def test_an_organization_is_moved_to_another_tier_with_what_waits(
    scene: Scene, opened: Open, complaints: list[str]
):
    waiting = Task.objects.filter(organization="kite", state=State.WAITING).count()
    assert waiting
    page = opened(HOME)
    hand = Hand(page)

    hand.click(page.locator("#nav-sidebar").get_by_role("link", name="Organizations"))
    hand.link("kite")
    page.locator("#tier_tier").select_option("enterprise")
    page.locator("#tier_reason").fill("the contract is signed")
    hand.click(page.locator("#tier").get_by_role("button", name="Review the change"))
    picture(page, "tier-review")
    hand.click(page.get_by_label(f"Move its {waiting} waiting tasks too"))
    hand.button("Change to enterprise")

    page.wait_for_selector(f".messagelist >> text={waiting} waiting tasks were moved")
    assert Organization.objects.get(pk="kite").tier_id == "enterprise"
    moved = Task.objects.filter(organization="kite", state=State.WAITING)
    assert set(moved.values_list("priority", flat=True)) == {0}
    assert hand.clicks <= 5
    assert complaints == []


def test_an_operator_sees_why_a_button_is_disabled(
    scene: Scene, opened: Open, signed_in: Callable[[str], Client]
):
    page = opened(f"{BASE}organization/kite/change/", client=signed_in("operator"))

    for form, why in (("#grant", "#psq-grant-why"), ("#tier", "#psq-tier-why")):
        button = page.locator(form).get_by_role("button")
        assert button.is_disabled()
        assert "permission to administer the queue" in page.locator(why).inner_text()
        assert button.get_attribute("aria-describedby") == why.removeprefix("#")
