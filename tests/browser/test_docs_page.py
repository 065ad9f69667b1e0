"""The page of the API's document, in a browser that may talk to nobody but us."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from plugspace_queue.models import QueueSettings
from tests.browser.conftest import Open

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


def test_the_page_of_the_document_works_offline_and_complains_of_nothing(
    transactional_db: None, redis: Any, opened: Open, complaints: list[str], live_server: Any
):
    page = opened("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: complaints.append(f"failed {request.url}"))

    answer = page.goto("/api/v1/docs/")
    page.wait_for_selector("#operations-tasks-addTask, [id$=-addTask]")
    page.locator("[id$=-addTask]").first.click()
    page.wait_for_selector("text=A site for a bakery")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert answer.status == 200
    assert complaints == []
    hosts = {urlsplit(url).netloc for url in asked if url.startswith("http")}
    assert hosts == {urlsplit(live_server.url).netloc}


def test_a_press_on_the_page_changes_what_the_session_may_change(
    transactional_db: None, redis: Any, opened: Open, complaints: list[str]
):
    page = opened("/api/v1/docs/")
    operation = page.locator("[id$=-pauseQueue]")
    operation.click()
    operation.get_by_role("button", name="Try it out").click()
    operation.locator("tr[data-param-name=type] input").fill("code")
    with page.expect_response("**/queues/code/pause/") as answered:
        operation.get_by_role("button", name="Execute").click()

    assert answered.value.status == 200
    assert QueueSettings.objects.get(pk="CODE").is_paused
    assert complaints == []
