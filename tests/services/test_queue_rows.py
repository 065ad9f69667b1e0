"""The row of a queue: operators set some of it, the rest has a life of its own."""

import pytest

from plugspace_queue import queue_manager
from plugspace_queue.db import bulk
from plugspace_queue.models import QueueSettings

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_row_that_was_read_before_a_pause_and_some_endings_saves_only_what_was_set():
    queue_manager.set_queue("CODE", {"concurrency": 4})
    stale = QueueSettings.objects.get(pk="CODE")
    queue_manager.pause("CODE")
    (counted,) = bulk.count_endings({"CODE": (7, 2)})
    assert counted.take() == 1

    stale.concurrency = 9
    stale.save()

    row = QueueSettings.objects.get(pk="CODE")
    assert (row.concurrency, row.is_paused, row.paused_at is None) == (9, True, False)
    assert (row.completed, row.failed) == (7, 2)
    assert row.version == stale.version


def test_a_row_that_was_made_anew_does_not_overwrite_the_counts_of_the_one_that_is_there():
    QueueSettings.objects.get_or_create(pk="CODE")
    bulk.count_endings({"CODE": (7, 2)})

    QueueSettings(type="CODE", limiter_max=3).save()

    row = QueueSettings.objects.get(pk="CODE")
    assert (row.limiter_max, row.completed, row.failed) == (3, 7, 2)


def test_a_row_that_is_not_there_is_saved_whole():
    QueueSettings.objects.filter(pk="CODE").delete()

    QueueSettings(type="CODE", concurrency=2, is_paused=True, completed=5).save()

    row = QueueSettings.objects.get(pk="CODE")
    assert (row.concurrency, row.is_paused, row.completed) == (2, True, 5)
