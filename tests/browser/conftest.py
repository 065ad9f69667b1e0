"""A real browser on a real server of the project, with a busy scene behind it."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from redis import Redis

from plugspace_queue.limits import policies
from tests.browser.scene import Scene

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One Chromium for the tests of a module; without it or playwright they are left out.

    It ends with the module: its loop lives in this thread, where other tests want none.
    """
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not here: scripts/install-system-packages")
    with playwright.sync_playwright() as running:
        # The tests ask the database in the thread of its loop.
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
        browser = running.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def scene(transactional_db: None, redis: Redis, admin_user: Any) -> Scene:
    """Queues with work, workers with slots, and a past."""
    policies.clear_cache()
    return Scene(redis, admin_user)


@pytest.fixture
def complaints() -> list[str]:
    """What a page complained about: errors, refused scripts, failed requests."""
    return []


@pytest.fixture
def opened(
    chromium: Any, live_server: Any, admin_client: Client, complaints: list[str]
) -> Iterator[Open]:
    """A tab of a signed-in superuser at an address, in a width and a theme."""
    contexts = []

    def heard(message: Any) -> None:
        # Browsers ask for a favicon by themselves; the demo project has none.
        if message.type == "error" and "favicon" not in message.location["url"]:
            complaints.append(message.text)

    def open_page(
        address: str,
        *,
        width: int = 1440,
        theme: str = "light",
        client: Client = admin_client,
        has_scripts: bool = True,
    ) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=theme,
            base_url=live_server.url,
            java_script_enabled=has_scripts,
        )
        contexts.append(context)
        cookie = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
