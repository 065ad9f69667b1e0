"""What our pages may load, and whose files they load."""

import hashlib
from pathlib import Path

import pytest
from django.contrib import admin
from django.test import Client, override_settings
from django.urls import reverse

import plugspace_queue
from tests.factories import make_task

pytestmark = pytest.mark.django_db

VENDOR = Path(plugspace_queue.__path__[0]) / "static" / "plugspace_queue" / "vendor"
HEADER = "Content-Security-Policy"


def test_every_page_of_ours_forbids_what_stands_inline(root: Client):
    task = make_task()
    names = [
        m._meta.model_name for m in admin.site._registry if m._meta.app_label == "plugspace_queue"
    ]
    pages = [reverse(f"admin:plugspace_queue_{name}_changelist") for name in names]
    pages += [reverse("admin:plugspace_queue_task_change", args=[task.pk])]

    for page in pages:
        policy = root.get(page).headers[HEADER]
        assert "script-src 'self';" in policy, page
        assert "style-src 'self';" in policy, page
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy


@override_settings(STATIC_URL="https://static.example.com/files/")
def test_static_files_may_come_from_where_the_project_keeps_them(root: Client):
    policy = root.get("/admin/plugspace_queue/audit/").headers[HEADER]

    assert "script-src 'self' https://static.example.com;" in policy


def test_a_page_has_no_script_style_or_handler_within(root: Client):
    task = make_task()
    for name in ("dashboard", "worker", "audit", "failuregroup"):
        page = root.get(reverse(f"admin:plugspace_queue_{name}_changelist")).content.decode()
        assert "<style" not in page
        assert " style=" not in page
        assert " onclick=" not in page
        assert page.count("<script") == page.count("<script src=")
    page = root.get(reverse("admin:plugspace_queue_task_change", args=[task.pk])).content.decode()
    assert " style=" not in page


def test_files_of_others_are_those_that_were_written_down():
    lines = (VENDOR / "VENDORED.txt").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if "|" in line][1:]

    assert len(rows) == 3
    for name, package, version, _, digest in rows:
        assert version in name
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest
        assert (VENDOR / f"{package.removesuffix('.org')}.LICENSE.txt").read_text()
    files = {path.name for path in VENDOR.iterdir() if path.suffix in (".js", ".css")}
    assert files == {row[0] for row in rows}
