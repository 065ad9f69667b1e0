"""The page of a task says why it waits, and why it failed, in words."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.broker import presence, routing, task_store
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import Dependency, QueueSettings, Task
from plugspace_queue.publishing import projections
from tests.admin.test_records import TASKS, rows_of
from tests.factories import arguments, make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)

EVIL = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def a_worker() -> None:
    """The gates are written and a worker has told of itself."""
    make_organization()
    for kind in TaskType:
        projections.write_queue(kind)
    routing.ask(presence.heartbeat("architect", worker="w1", slots=5), "architect")


def live(client: Client, task: Task) -> str:
    return rows_of(client, f"{TASKS}{task.pk}/live/")


def run_one(task: Task, worker: str = "w1") -> None:
    call = task_store.acquire("architect", worker=worker, want=1, lease_ms=10_000)
    [lease] = routing.ask(call, "architect").leases
    assert lease.task_id == str(task.pk)
    Task.objects.filter(pk=task.pk).update(
        state=State.PROCESSING, fence=lease.fence, deadline=None, started_at=timezone.now()
    )


def failed(**fields: Any) -> Task:
    return make_task(state=State.FAILED, **fields)


def test_a_task_in_line_is_told_its_place_the_gates_and_the_workers(root: Client):
    queue_manager.add_task(**arguments())
    second = queue_manager.add_task(**arguments())

    page = live(root, second)

    assert "All gates are open; 1 task of its organization and 0 other lanes are before it" in page
    assert page.count("psq-open") == 5
    assert "1 task of its organization, 0 other lanes of its priority, 0 of a higher one" in page
    assert "1 alive with 5 slots" in page


def test_a_pause_is_the_first_thing_that_is_said_until_it_is_lifted(root: Client):
    task = queue_manager.add_task(**arguments())
    queue_manager.pause("ARCHITECT")

    page = live(root, task)
    assert "The queue architect is paused." in page
    assert page.count("psq-shut") == 1
    assert "when the queue is resumed" in page

    queue_manager.resume("ARCHITECT")
    assert "is paused" not in live(root, task)


def test_a_full_queue_shows_who_holds_its_slots(root: Client):
    QueueSettings.objects.update_or_create(type="ARCHITECT", defaults={"global_concurrency": 1})
    projections.write_queue(TaskType.ARCHITECT)
    running, waiting = (queue_manager.add_task(**arguments()) for _ in range(2))
    run_one(running)

    page = live(root, waiting)

    assert "The queue architect runs 1 of at most 1 tasks." in page
    assert "<td>1</td><td>1</td><td>when a task ends</td>" in page
    assert f"<code>{running.pk}</code>" in page
    assert "1 in use of 1 over all workers" in page
    assert "w1 holds its slot" in live(root, running)


def test_a_limiter_says_when_it_opens(root: Client):
    QueueSettings.objects.update_or_create(
        type="ARCHITECT", defaults={"limiter_max": 1, "limiter_duration": 600}
    )
    projections.write_queue(TaskType.ARCHITECT)
    started, waiting = (queue_manager.add_task(**arguments()) for _ in range(2))
    run_one(started)

    page = live(root, waiting)

    assert "had 1 of 1 starts in this window" in page
    assert "Next check in " in page


def test_a_blocked_task_names_what_it_waits_for(root: Client):
    parent = queue_manager.add_task(**arguments())
    child = queue_manager.add_task(**arguments(depends_on=[parent.pk]))

    page = live(root, child)

    assert "It waits for 1 task to complete first." in page
    assert f"{TASKS}{parent.pk}/change/" in page


def test_with_redis_away_the_page_says_so_and_keeps_the_rest(root: Client, cut_off: None):
    task = make_task()

    page = live(root, task)

    assert "Redis does not answer" in page
    assert "accepted with priority" in page


def test_a_failed_task_says_what_went_wrong_and_what_helps(root: Client):
    error = {"code": "TIMEOUT", "message": f"no answer {EVIL}", "stack": f"line 3 {EVIL}"}
    task = failed(error=error, attempt_count=4, retry_count=3)

    page = live(root, task)

    assert "It failed with TIMEOUT: no answer &lt;script&gt;" in page
    assert "raise the timeout" in page
    assert "It ran 4 times and used 3 of 3 retries." in page
    assert "line 3 &lt;script&gt;" in page
    assert EVIL not in page


def test_a_failed_task_tells_of_workers_that_died_under_it(root: Client):
    error = {"code": "WORKER_LOST", "message": "m"}
    task = failed(error=error, attempt_count=3, recovery_count=3)

    assert "3 workers crashed while running it" in live(root, task)


def test_secrets_in_the_words_of_an_error_are_not_shown(root: Client):
    words = "GET https://bob:hunter2@host/ Bearer hunter2hunter2"
    task = failed(error={"code": "X", "message": words, "stack": words})

    assert "hunter2" not in live(root, task)


def test_a_cancelled_step_names_the_task_that_did_not_complete(root: Client):
    parent = failed()
    task = make_task(
        state=State.CANCELLED, error={"code": "CANCELLED", "message": "A parent did not complete."}
    )
    Dependency.objects.create(task=task, parent=parent)

    page = live(root, task)

    assert "It was cancelled." in page
    assert "It never started." in page
    assert f"{TASKS}{parent.pk}/change/" in page


def test_a_complete_task_needs_no_reason(root: Client):
    page = live(root, make_task(state=State.COMPLETE))

    assert "psq-why" not in page


@pytest.mark.parametrize("error", [None, [], {"code": 7}])
def test_an_error_that_makes_no_sense_breaks_no_page(root: Client, error: Any):
    assert "It failed with" in live(root, failed(error=error))


def test_a_task_that_waits_for_its_time_says_until_when(root: Client):
    later = timezone.now() + timedelta(minutes=5)
    task = make_task(state=State.SCHEDULED, wake_at=later)

    assert "It does not start before" in live(root, task)
