"""What staff do over the API is in the audit like a press in the admin, with its reason."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

from plugspace_queue import queue_manager
from plugspace_queue.models import QueueSettings
from tests.api.conftest import ApiClient
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db(transaction=True)

WORKFLOW = {"projectId": "site", "input": {"prompt": "A bakery"}}


def noted() -> list[tuple[str, str, str, str]]:
    """Who did what to which row, in the order in which it happened."""
    return [
        (n.user.get_username(), n.content_type.model, n.object_id, n.change_message)
        for n in LogEntry.objects.select_related("user", "content_type").order_by("pk")
    ]


def test_pause_and_resume_are_audited_with_their_reason(staff: ApiClient):
    paused = staff.send("queues/code/pause/", {"reason": "the model is down"})
    resumed = staff.generic("POST", "/api/v1/queues/code/resume/")

    assert (paused.status_code, resumed.status_code) == (200, 200)
    assert noted() == [
        ("operator", "queuesettings", "CODE", "Paused, over the API: the model is down"),
        ("operator", "queuesettings", "CODE", "Resumed, over the API."),
    ]


def test_a_changed_queue_is_audited_with_old_and_new_values(administrator: ApiClient):
    change = {"limiter": {"max": 20, "duration": 30}, "policy": "weighted", "reason": "launch"}

    administrator.change("queues/code/", change)
    administrator.change("queues/code/", change)
    administrator.change("queues/code/", {"limiter": None})

    start = "Starts default → 20, window default → 30"
    assert [said for _, _, _, said in noted()] == [
        f"{start}, policy strict → weighted, over the API: launch",
        "Starts 20 → default, window 30 → default, over the API.",
    ]


def test_a_changed_organization_is_audited_with_old_and_new_values(administrator: ApiClient):
    make_organization("acme", tier="free")

    administrator.change("organizations/acme/", {"tier": "professional", "reason": "paid"})
    administrator.change("organizations/acme/", {"tier": None, "isSuspended": True})

    assert noted() == [
        ("operator", "organization", "acme", "Tier free → professional, over the API: paid"),
        (
            "operator",
            "organization",
            "acme",
            "Tier professional → none, suspended no → yes, over the API.",
        ),
    ]


def test_cancel_and_retry_by_staff_are_audited(staff: ApiClient):
    make_organization("acme")
    task = queue_manager.add_task(**arguments())

    assert staff.send(f"tasks/{task.pk}/cancel/", {"reason": "a loop"}).status_code == 200
    assert staff.send(f"tasks/{task.pk}/retry/", {"reason": "mended"}).status_code == 200

    assert noted() == [
        ("operator", "task", str(task.pk), "Cancelled or told to stop, over the API: a loop"),
        ("operator", "task", str(task.pk), "Queued for retry, over the API: mended"),
    ]


def test_cancel_and_retry_of_workflows_are_audited(staff: ApiClient):
    make_organization("acme")
    handle = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A bakery"})
    path = f"workflows/{handle.workflow_id}"

    staff.send(f"{path}/cancel/", {"reason": "wrong site"})
    staff.send(f"{path}/retry/")

    assert [said for _, _, _, said in noted()] == [
        "Cancelled or told to stop, over the API: wrong site",
        "Queued for retry, over the API.",
    ]
    assert {(kind, pk) for _, kind, pk, _ in noted()} == {("workflow", str(handle.workflow_id))}


def test_changes_by_tenants_and_refused_changes_are_not_audited(acme: ApiClient, staff: ApiClient):
    task = queue_manager.add_task(**arguments())

    assert acme.send(f"tasks/{task.pk}/cancel/", {"reason": "mine"}).status_code == 200
    assert staff.send(f"tasks/{task.pk}/cancel/").status_code == 409
    assert staff.change("queues/code/", {"concurrency": 0}).status_code == 400
    assert staff.change("queues/code/", {"reason": "nothing to do"}).status_code == 200
    assert noted() == []


@pytest.mark.parametrize("body", [{"reason": "x" * 201}, {"reason": "a\u0000b"}, {"why": "x"}])
@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_reason_that_cannot_be_stored_is_refused_before_any_change(
    staff: ApiClient, verb: str, body: dict[str, Any]
):
    told = staff.send(f"queues/code/{verb}/", body)

    assert (told.status_code, told.json()["code"]) == (400, "VALIDATION_ERROR")
    assert not QueueSettings.objects.filter(is_paused=True).exists()
    assert noted() == []
