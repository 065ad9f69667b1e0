"""A server that is far away: everything takes longer and nothing else changes."""

import threading
import time

import pytest
from django.test import override_settings

from plugspace_queue import queue_manager
from plugspace_queue.models import Attempt
from tests.support import took, wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timeout(60), pytest.mark.timed]


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={"LEASE": 3.0})
def test_fifty_milliseconds_lose_no_lease_and_hold_up_no_caller(slow_server, processors, crew):
    def architect(context):
        threading.Event().wait(float(context.input.prompt))

    processors("ARCHITECT", architect, concurrency=5)
    crew("architect")
    crew("architect", worker_name="w2")
    long = submit(input={"prompt": "4.5"})
    began = time.monotonic()
    tasks = [submit(input={"prompt": "0.05"}) for _ in range(20)]
    each = (time.monotonic() - began) / len(tasks)
    began = time.monotonic()
    queue_manager.get_queue_stats()
    stats = time.monotonic() - began

    # Three round trips at most for a submit, one per queue for the figures.
    assert each > 0.05
    took(each, 0.3, "a submit to a server 50 ms away")
    took(stats, 1, "the figures of all queues from a server 50 ms away")
    wait_until(lambda: all(fresh(task).state == "complete" for task in [*tasks, long]), 15)
    assert set(Attempt.objects.values_list("outcome", flat=True)) == {"complete"}
    assert Attempt.objects.count() == 21
