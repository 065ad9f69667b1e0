"""The tutorial is followed to its end, and leaves what it says."""

import os
import re
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from tests.support import patient
from tests.tooling.pages import ROOT
from tests.tooling.walkthrough import Walkthrough

pytestmark = [
    pytest.mark.slow,
    pytest.mark.one_row,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed here"),
]
PAGE = ROOT / "docs" / "tutorial.md"


@pytest.fixture
def reader(redis: object, tmp_path: Path) -> Iterator[Walkthrough]:
    walk = Walkthrough(tmp_path, os.environ)
    yield walk
    walk.close()


def test_the_tutorial_ends_with_a_site_whose_admin_shows_the_tasks(reader: Walkthrough):
    reader.follow(PAGE)

    pages = signed_in(f"http://127.0.0.1:{reader.port}/admin/")
    assert "TRANSCRIBE" in pages("plugspace_queue/task/")
    assert "Acme" in pages("plugspace_queue/organization/")
    assert pages("plugspace_queue/queuesettings/dashboard/")


def signed_in(admin: str) -> "Pages":
    """The pages of an admin as the user whom the tutorial creates sees them."""
    pages = Pages(admin)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', pages("login/"))
    assert token
    form = {"username": "ann", "password": "ann-is-an-admin", "csrfmiddlewaretoken": token[1]}
    pages("login/?next=/admin/", urllib.parse.urlencode(form).encode())
    return pages


class Pages:
    """An admin with the cookies of one browser."""

    def __init__(self, admin: str) -> None:
        self._admin = admin
        no_proxy = urllib.request.ProxyHandler({})
        cookies = urllib.request.HTTPCookieProcessor(CookieJar())
        self._opener = urllib.request.build_opener(no_proxy, cookies)

    def __call__(self, path: str, form: bytes | None = None) -> str:
        request = urllib.request.Request(self._admin + path, form, {"Referer": self._admin})
        with self._opener.open(request, timeout=patient(20)) as answer:
            return str(answer.read().decode())
