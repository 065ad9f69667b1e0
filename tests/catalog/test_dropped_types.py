"""Rows of a type that is not declared any more: readable, cancellable, left alone by Redis."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from plugspace_queue import errors, queue_manager
from plugspace_queue.domain.enums import Reason, State
from plugspace_queue.maintenance import expiry
from plugspace_queue.maintenance.reconcile.compare import compare_all
from plugspace_queue.maintenance.relay import RowCursor, relay
from plugspace_queue.maintenance.rescue import OrphanDetector
from plugspace_queue.models import ApiKey, Task
from tests.factories import make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)

Make = Callable[..., Task]


@pytest.fixture
def make() -> Make:
    """Rows of GONE, which nothing declares."""

    def made(**fields: Any) -> Task:
        task = make_task(**fields)
        Task.objects.filter(pk=task.pk).update(type="GONE")
        task.refresh_from_db()
        return task

    return made


def test_explain_says_that_no_processor_is_left(make: Make):
    told = queue_manager.explain(make().pk)

    assert (told.reason, told.type) == (Reason.NO_PROCESSOR, "GONE")
    assert "GONE is not declared any more" in told.sentence


def test_a_waiting_task_can_be_cancelled_by_its_row_alone(make: Make):
    task = make()

    assert queue_manager.cancel(task.pk) == State.CANCELLED

    task.refresh_from_db()
    assert task.state == State.CANCELLED


def test_a_task_past_its_deadline_expires(make: Make):
    now = timezone.now()
    task = make(deadline=now - timedelta(seconds=1))

    assert expiry.expire_due(now) == 1

    task.refresh_from_db()
    assert task.state == State.EXPIRED


def test_a_requested_cancel_is_finished(make: Make):
    make(cancel_requested_at=timezone.now())

    assert expiry.finish_cancels(timezone.now()) == 1


def test_an_attempt_that_no_worker_can_have_any_more_is_taken_back(make: Make, settings: Any):
    settings.PLUGSPACE_QUEUE = {"LEASE": 0.0, "TIMEOUT": 1.0}
    started = timezone.now() - timedelta(hours=1)
    task = make(state=State.PROCESSING, started_at=started, fence=5, attempt_count=1)

    OrphanDetector().check(timezone.now())

    task.refresh_from_db()
    assert task.state == State.WAITING


def test_relay_and_reconcile_leave_them_alone(make: Make, redis: Any):
    task, known = make(), make_task(type="CODE")

    assert relay(timezone.now(), RowCursor()) == 1
    found = [finding for one in compare_all(timezone.now()) for finding in one.findings]

    assert str(known.pk).encode() in redis.lrange("plugspace:code:wait", 0, -1)
    assert str(task.pk) not in str(found)


def test_the_api_shows_them_in_lists_and_alone(make: Make):
    task = make()
    _, secret = ApiKey.issue(task.organization, ["read"])
    client = Client(headers={"Authorization": f"Bearer {secret}"})

    listed = client.get("/api/v1/tasks/").json()["results"]
    shown = client.get(f"/api/v1/tasks/{task.pk}/").json()

    assert [one["type"] for one in listed] == ["GONE"]
    assert (shown["type"], shown["input"]) == ("GONE", task.input)


def test_it_cannot_be_run_again_and_the_error_says_why(make: Make):
    task = make(state=State.FAILED)

    with pytest.raises(errors.InvalidState, match="GONE is not declared"):
        queue_manager.retry(task.pk, limit_requests=False)


def test_its_priority_changes_by_its_row_alone(make: Make):
    assert queue_manager.set_priority(make().pk, 3).priority == 3


def test_the_pages_of_the_admin_show_them(make: Make, admin_client: Client):
    task = make()

    listed = admin_client.get("/admin/plugspace_queue/task/")
    page = admin_client.get(f"/admin/plugspace_queue/task/{task.pk}/change/")

    assert listed.status_code == page.status_code == 200
    assert "GONE" in listed.content.decode()
    assert "not declared any more" in page.content.decode()


def test_the_manager_lists_them(make: Make):
    make()
    make_organization("acme")

    assert [task.type for task in queue_manager.get_organization_tasks("acme")] == ["GONE"]
