"""The audit: who did what to which row, when and why."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from plugspace_queue.models import QueueSettings, Task
from tests.admin.test_records import rows_of

pytestmark = pytest.mark.django_db

AUDIT = "/admin/plugspace_queue/audit/"


def log(said: str, who: str = "ann", *, model: type = QueueSettings, row: str = "CODE") -> LogEntry:
    user, _ = get_user_model().objects.get_or_create(username=who)
    return LogEntry.objects.create(
        user=user,
        content_type=ContentType.objects.get_for_model(model, for_concrete_model=False),
        object_id=row,
        object_repr=row,
        action_flag=2,
        change_message=said,
    )


def test_an_audit_without_entries_says_what_will_be_there(root: Client):
    assert "There are no entries yet" in rows_of(root, AUDIT)
    assert "No entry matches" in rows_of(root, f"{AUDIT}?who=ann")


def test_entries_of_our_rows_only_the_newest_first(root: Client):
    log("Paused: first")
    log("Resumed: second", "bob")
    log("another app", model=get_user_model())

    page = rows_of(root, AUDIT)

    assert page.index("Resumed: second") < page.index("Paused: first")
    assert "another app" not in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("who=ann", ["a", "c"]),
        ("who=bob", ["b"]),
        ("model=task", ["c"]),
        ("object_id=CODE", ["a"]),
        ("model=user", ["a", "b", "c"]),
        ("since=2020-01-01&until=2020-01-02", ["b"]),
        ("until=2019-01-01", []),
        ("since=yesterday", ["a", "b", "c"]),
    ],
)
def test_entries_are_found_by_who_what_and_when(root: Client, query: str, found: list[str]):
    log("entry-a")
    old = log("entry-b", "bob", row="EXPORT")
    log("entry-c", model=Task, row="1")
    january = timezone.now().replace(year=2020, month=1, day=2)
    LogEntry.objects.filter(pk=old.pk).update(action_time=january)

    page = rows_of(root, f"{AUDIT}?{query}")

    assert [name for name in "abc" if f"entry-{name}" in page] == found


def test_the_audit_goes_from_page_to_page_by_id_and_keeps_its_filter(root: Client):
    entries = [log(f"number {number}") for number in range(51)]

    first = rows_of(root, f"{AUDIT}?who=ann")
    assert f"?who=ann&amp;before={entries[1].pk}" in first
    second = rows_of(root, f"{AUDIT}?who=ann&before={entries[1].pk}")

    assert "number 0<" in second
    assert "number 1<" not in second
    assert 'href="?who=ann"' in second


def test_a_page_costs_the_same_queries_whatever_its_length(root: Client):
    costs = []
    for _ in range(2):
        for number in range(10):
            log("Paused: x", f"user-{len(costs)}-{number}")
        ContentType.objects.clear_cache()
        with CaptureQueriesContext(connection) as asked:
            rows_of(root, AUDIT)
        costs.append(len(asked))
        assert not [q["sql"] for q in asked if "COUNT(" in q["sql"]]

    assert costs[0] == costs[1] <= 5


def test_what_was_said_stays_text(root: Client):
    log("Paused: <script>alert(1)</script>", row="<img src=x onerror=alert(1)>")

    page = rows_of(root, f"{AUDIT}?object_id=%22%3E%3Cscript%3E&before=%22%3E")

    assert "<script>alert" not in page + rows_of(root, AUDIT)
    assert "<img src=x" not in rows_of(root, AUDIT)


def test_old_entries_are_found_by_their_place(root: Client):
    entry = log("the old one")
    LogEntry.objects.filter(pk=entry.pk).update(action_time=timezone.now() - timedelta(days=900))

    assert "the old one" in rows_of(root, f"{AUDIT}?before={entry.pk + 1}")
    assert "the old one" not in rows_of(root, f"{AUDIT}?before={entry.pk}")
