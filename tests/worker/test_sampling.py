"""Once a minute somebody writes down how the queues stand."""

from datetime import UTC, datetime, timedelta

import pytest

from plugspace_queue.domain.enums import State
from plugspace_queue.maintenance import statistics
from plugspace_queue.models import Dependency, QueueMinute, QueueSettings, Task
from tests.factories import make_task

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 5, 4, 12, 30, 20, tzinfo=UTC)
LAST_MINUTE = NOW - timedelta(seconds=40)


def ended(wait: float, *, attempts: int = 1, **fields: object) -> Task:
    return make_task(
        type="CODE",
        state=State.COMPLETE,
        queued_at=LAST_MINUTE - timedelta(seconds=wait),
        started_at=LAST_MINUTE,
        completed_at=LAST_MINUTE,
        attempt_count=attempts,
        **fields,
    )


def row(now: datetime = NOW) -> QueueMinute:
    statistics.sample(now)
    return QueueMinute.objects.get(type="CODE", minute=now.replace(second=0))


def test_a_minute_is_written_once_with_what_ended_by_then():
    QueueSettings.objects.filter(pk="CODE").update(completed=7, failed=2)

    assert statistics.sample(NOW)
    assert not statistics.sample(NOW + timedelta(seconds=20))
    assert statistics.sample(NOW + timedelta(seconds=40))
    assert QueueMinute.objects.count() == 12
    assert (row().completed, row().failed) == (7, 2)


def test_the_wait_is_from_due_to_start_of_what_needed_one_attempt():
    for wait in (1, 2, 3, 40):
        ended(wait)
    ended(500, attempts=2)

    assert (row().wait_median, row().wait_most) == (2500, 40_000)


def test_a_step_waits_from_the_end_of_its_last_parent_and_a_scheduled_task_from_its_time():
    step, scheduled = ended(100), ended(100, wake_at=LAST_MINUTE - timedelta(seconds=2))
    parent = make_task(state=State.COMPLETE)
    Task.objects.filter(pk=parent.pk).update(completed_at=LAST_MINUTE - timedelta(seconds=4))
    Dependency.objects.create(task=step, parent=parent)

    assert scheduled.wake_at is not None
    assert (row().wait_median, row().wait_most) == (3000, 4000)


def test_a_minute_in_which_nothing_ended_has_no_wait():
    ended(1)

    assert row(NOW + timedelta(minutes=5)).wait_median is None


def test_minutes_of_long_ago_go():
    statistics.sample(NOW - timedelta(days=3))
    statistics.sample(NOW)

    assert QueueMinute.objects.count() == 6
