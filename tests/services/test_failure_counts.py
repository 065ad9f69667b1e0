"""Counts of failures by cause: none lost, no hot row, no secrets, groups that open again."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from plugspace_queue.domain.ids import new_id
from plugspace_queue.models import FailureGroup, FailureMinute
from plugspace_queue.services import failure_counts
from plugspace_queue.services.failure_counts import FailedTask, FailureCounts
from tests.factories import make_organization

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 12, 1, 12, 0, 30, tzinfo=timezone.get_default_timezone())
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def organizations() -> None:
    for name in ("acme", "bluebird"):
        make_organization(name)


def failed(at: datetime = NOON, **changes: Any) -> FailedTask:
    values: dict[str, Any] = {
        "task_id": new_id(),
        "type": "CODE",
        "organization_id": "acme",
        "at": at,
        "code": "INTERNAL_ERROR",
        "fingerprint": "1:0011223344556677",
        "message": "'palette'",
        "class_name": "KeyError",
    }
    return FailedTask(**(values | changes))


def added(*some: FailedTask) -> FailureGroup:
    """The only group after these were counted and added."""
    counts = FailureCounts()
    counts.note(some)
    counts.flush()
    return FailureGroup.objects.get()


def minutes() -> list[tuple[str, datetime, int]]:
    rows = FailureMinute.objects.order_by("minute", "organization_id")
    return list(rows.values_list("organization_id", "minute", "n"))


def test_failures_add_up_by_minute_and_organization():
    start = NOON.replace(second=0)
    added(failed(), failed(organization_id="bluebird"), failed(NOON + 15 * SECOND))
    newest = failed(NOON + MINUTE)
    group = added(newest)

    assert (group.first_seen, group.last_seen, group.total) == (NOON, NOON + MINUTE, 4)
    assert group.task_id == newest.task_id
    assert minutes() == [("acme", start, 2), ("bluebird", start, 1), ("acme", start + MINUTE, 1)]


def test_type_code_and_fingerprint_make_a_group():
    counts = FailureCounts()
    others = [{"type": "DESIGN"}, {"code": "TIMEOUT"}, {"fingerprint": "1:ff"}]

    counts.note([failed(), *(failed(**other) for other in others)])
    counts.flush()

    assert FailureGroup.objects.count() == 4


def test_a_flood_is_two_statements_a_second_and_waits_for_no_other_one():
    counts = FailureCounts()
    counts.note(failed() for _ in range(5_000))
    with CaptureQueriesContext(connection) as first:
        counts.flush_due()
    counts.note(failed() for _ in range(5_000))
    with CaptureQueriesContext(connection) as second:
        counts.flush_due()

    inserts = [q for q in first if "INSERT" in q["sql"]]
    assert len(inserts) == 2
    assert len(second) == 0
    assert FailureGroup.objects.get().total == 5_000
    counts.flush()
    assert FailureGroup.objects.get().total == 10_000
    assert minutes() == [("acme", NOON.replace(second=0), 10_000)]


def test_workers_that_add_at_once_lose_nothing():
    start = Barrier(6)
    causes = [f"1:{n:016x}" for n in range(5)]

    def add(number: int) -> None:
        counts = FailureCounts()
        try:
            start.wait(timeout=20)
            for turn in range(5):
                # Each in another order: none may wait for a row while it holds one of a later key.
                order = causes[number % 5 :] + causes[: number % 5]
                counts.note(failed(NOON + turn * SECOND, fingerprint=one) for one in order)
                _until_added(counts)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, range(6)))

    assert list(FailureGroup.objects.values_list("total", flat=True)) == [30] * 5
    assert sum(n for *_, n in minutes()) == 150


def _until_added(counts: FailureCounts) -> None:
    """As workers do: what a lock held up is tried again."""
    for _ in range(200):
        try:
            counts.flush()
        except OperationalError:
            continue
        return
    raise AssertionError("never added")


@pytest.mark.postgres
def test_counts_that_a_lock_held_up_are_added_later():
    added(failed())
    counts = FailureCounts()
    counts.note([failed(NOON + SECOND)])
    with ThreadPoolExecutor(1) as pool, connection.cursor() as cursor:
        connection.set_autocommit(False)
        try:
            cursor.execute(f"SELECT 1 FROM {FailureGroup._meta.db_table} FOR UPDATE")
            with pytest.raises(OperationalError):
                pool.submit(_flushed, counts).result(timeout=20)
        finally:
            connection.rollback()
            connection.set_autocommit(True)
    counts.note([failed(NOON + 2 * SECOND)])
    counts.flush()

    group = FailureGroup.objects.get()
    assert (group.total, group.last_seen) == (3, NOON + 2 * SECOND)


def _flushed(counts: FailureCounts) -> None:
    try:
        counts.flush()
    finally:
        connections.close_all()


def decided(state: str, **columns: Any) -> None:
    FailureGroup.objects.update(state=state, changed_at=NOON + MINUTE, **columns)


def test_a_resolved_group_opens_when_its_cause_comes_back():
    added(failed())
    decided("resolved", note="mended", changed_by="ann")

    group = added(failed(NOON + 2 * MINUTE))

    assert (group.state, group.reopened_at) == ("open", NOON + 2 * MINUTE)
    assert (group.note, group.changed_by) == ("mended", "ann")


def test_a_failure_from_before_the_decision_opens_nothing_however_late_it_is_counted():
    added(failed())
    decided("resolved")

    group = added(failed(NOON + MINUTE))

    assert (group.state, group.reopened_at, group.total) == ("resolved", None, 2)


def test_a_mute_holds_until_its_end():
    added(failed())
    decided("muted", muted_until=NOON + 5 * MINUTE)

    assert added(failed(NOON + 4 * MINUTE)).state == "muted"
    assert added(failed(NOON + 5 * MINUTE)).state == "open"


def test_a_mute_without_an_end_holds():
    added(failed())
    decided("muted")

    assert added(failed(NOON + timedelta(days=400))).state == "muted"


def test_a_group_that_opened_again_keeps_the_moment():
    added(failed())
    decided("resolved")
    added(failed(NOON + 2 * MINUTE))

    assert added(failed(NOON + 9 * MINUTE)).reopened_at == NOON + 2 * MINUTE


def test_secrets_are_hidden_before_they_are_stored():
    group = added(
        failed(
            message="POST https://bob:hunter2@git.example/ with Bearer abcdefghijkl refused",
            stack="Traceback\n  https://bob:hunter2@git.example/\n",
        )
    )

    assert "hunter2" not in group.message + group.stack
    assert "abcdefghijkl" not in group.message
    assert "https://bob:••••@git.example/" in group.stack


def test_long_texts_fit_and_a_stack_keeps_its_end_in_whole_lines():
    group = added(failed(message="x" * 9_000, stack="line of the stack\n" * 900 + "the end"))

    assert len(group.message) == 500
    assert group.stack.startswith("…\nline of the stack\n")
    assert group.stack.endswith("the end")


def test_causes_too_many_to_be_kept_apart_are_counted_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(failure_counts, "MOST_NEW", 3)
    counts = FailureCounts()
    for _ in range(2):
        counts.note(failed(fingerprint=f"1:{n:016x}") for n in range(10))
        counts.flush()

    totals = dict(FailureGroup.objects.values_list("fingerprint", "total"))
    assert totals == {f"1:{n:016x}": 2 for n in range(3)} | {"": 14}


def test_a_fork_leaves_the_counts_to_its_parent():
    counts = FailureCounts()
    counts.note([failed()])

    counts.discard()
    counts.flush()

    assert not FailureGroup.objects.exists()
