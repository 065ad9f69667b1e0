"""What no index finds is looked for part by part: each page reads some rows, the next goes on."""

import re
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from plugspace_queue.admin import changelists
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Task, UsageEntry
from tests.admin.test_records import TASKS, rows_of
from tests.factories import make_organization, make_task

pytestmark = pytest.mark.django_db

PARTLY = "as no index finds this"


@pytest.fixture(autouse=True)
def short_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelists.KeysetChangeList, "scan_limit", 3)


def pages_of(client: Client, query: str) -> list[str]:
    """Page after page, as the links to older ones lead."""
    pages = [rows_of(client, f"{TASKS}?{query}")]
    while found := re.search(r'href="(\?[^"]*)" class="psq-older"', pages[-1]):
        assert len(pages) < 20
        pages.append(rows_of(client, f"{TASKS}{unescape(found[1])}"))
    return pages


def places_of(task: Task, pages: list[str]) -> list[int]:
    """The pages that show it."""
    return [at for at, page in enumerate(pages) if f"{task.pk}/change/" in page]


def test_a_user_of_long_ago_is_found_by_going_on(root: Client):
    acme, other = make_organization("acme"), make_organization("other")
    first = make_task(user_id="old", organization=acme)
    for _ in range(8):
        make_task(user_id="new", organization=acme)
        make_task(user_id="old", organization=other)

    pages = pages_of(root, "q=user:old org:acme")

    assert places_of(first, pages) == [2]
    assert len(pages) == 3
    assert [PARTLY in page for page in pages] == [True, True, False]


def test_failed_tasks_are_found_by_the_code_of_their_error(root: Client):
    first = make_task(state=State.FAILED, error={"code": "PROVIDER", "message": "503"})
    for _ in range(8):
        make_task(state=State.FAILED, error={"code": "TIMEOUT", "message": "PROVIDER"})
        make_task(state=State.CANCELLED, error={"code": "PROVIDER", "message": "no"})

    pages = pages_of(root, "q=error:PROVIDER")

    assert places_of(first, pages) == [2]
    assert len(pages) == 3


def test_each_row_of_a_priority_is_on_one_page(root: Client):
    tasks = [make_task(priority=number % 2) for number in range(10)]

    pages = pages_of(root, "priority=1&state__exact=waiting")

    assert [len(places_of(task, pages)) for task in tasks] == [0, 1] * 5


def test_a_complete_task_of_a_type_is_looked_for_behind_those_that_wait(root: Client):
    first = make_task(type="CODE", state=State.COMPLETE)
    for _ in range(8):
        make_task(type="CODE")

    pages = pages_of(root, "type__exact=CODE&state__exact=complete")

    assert places_of(first, pages) == [2]
    assert len(pages) == 3


def test_what_an_index_finds_is_found_at_once(root: Client):
    tasks = [make_task() for _ in range(5)]

    (page,) = pages_of(root, "state__exact=waiting")

    assert PARTLY not in page
    assert all(f"{task.pk}/change/" in page for task in tasks)


def test_the_ledger_finds_an_organization_by_its_whole_id_as_written(root: Client):
    address = reverse("admin:plugspace_queue_usageentry_changelist")
    for name in ("acme", "acme-2"):
        UsageEntry.objects.create(
            organization=make_organization(name), type="CODE", month="2026-01", reason="reserve"
        )

    assert rows_of(root, f"{address}?q= acme ").count('class="field-organization_id"') == 1
    assert rows_of(root, f"{address}?q=ACME").count('class="field-organization_id"') == 0
