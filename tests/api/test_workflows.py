"""Workflows, queues and exports over HTTP."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from plugspace_queue import exports
from plugspace_queue.models import Task, Workflow
from tests.api.conftest import ApiClient
from tests.factories import make_organization

pytestmark = pytest.mark.django_db

NEW = {"projectId": "site", "input": {"prompt": "Create a SaaS dashboard"}}


def test_a_workflow_starts_with_all_its_steps(acme: ApiClient):
    response = acme.send("workflows/", NEW)
    told = response.json()

    assert response.status_code == 201
    assert set(told) == {"workflowId", "taskIds"}
    assert response["Location"] == f"/api/v1/workflows/{told['workflowId']}/"
    shown = acme.ask(f"workflows/{told['workflowId']}/").json()
    assert [task["type"] for task in shown["tasks"]] == ["ARCHITECT", "DESIGN", "CODE"]
    assert [task["state"] for task in shown["tasks"]] == ["waiting", "blocked", "blocked"]
    assert (shown["taskIds"], shown["status"]) == (told["taskIds"], "pending")


def test_a_repeated_workflow_with_the_same_key_is_started_once(acme: ApiClient):
    told = [acme.send("workflows/", NEW, **{"Idempotency-Key": "w"}) for _ in range(2)]

    assert [response.status_code for response in told] == [201, 200]
    assert told[0].json() == told[1].json()
    assert Workflow.objects.count() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "paint"},
        {"input": {}},
        {"kind": "code-only", "input": {"options": {"skipCode": True}}},
        {"steps": []},
    ],
)
def test_a_workflow_that_cannot_run_is_refused(acme: ApiClient, change: dict[str, object]):
    assert acme.send("workflows/", NEW | change).json()["code"] == "VALIDATION_ERROR"
    assert Task.objects.count() == 0


def test_the_list_of_workflows_shows_status_and_steps(acme: ApiClient):
    started = [acme.send("workflows/", NEW).json()["workflowId"] for _ in range(2)]

    told = acme.ask("workflows/", kind="create").json()

    assert [row["id"] for row in told["results"]] == started[::-1]
    assert told["results"][0]["status"] == "pending"
    assert acme.ask("workflows/", kind="clone").json()["results"] == []


def test_a_workflow_of_another_organization_is_not_found(acme: ApiClient, key_of):
    workflow_id = key_of("rival").send("workflows/", NEW).json()["workflowId"]

    for path in ("", "cancel/", "retry/"):
        address = f"workflows/{workflow_id}/{path}"
        response = acme.send(address) if path else acme.ask(address)
        assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")


def test_cancel_and_retry_of_a_workflow(acme: ApiClient):
    workflow_id = acme.send("workflows/", NEW).json()["workflowId"]

    cancelled = acme.send(f"workflows/{workflow_id}/cancel/")
    again = acme.send(f"workflows/{workflow_id}/retry/")

    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "failed")
    assert again.status_code == 200
    assert [task["state"] for task in again.json()["tasks"]] == ["waiting", "blocked", "blocked"]


def test_queues_show_their_figures_and_settings(acme: ApiClient):
    acme.send("tasks/", {"type": "DEPLOY", "projectId": "p", "input": {}})

    rows = {row["type"]: row for row in acme.ask("queues/").json()["results"]}

    assert list(rows) == ["ARCHITECT", "DESIGN", "CODE", "ANALYZE", "DEPLOY", "EXPORT"]
    assert (rows["DEPLOY"]["waiting"], rows["CODE"]["waiting"]) == (1, 0)
    assert rows["DEPLOY"]["limiter"] == {"max": 10, "duration": 60.0}
    assert acme.ask("queues/deploy/").json() == rows["DEPLOY"]


def test_figures_of_queues_are_counted_once_per_second_for_all_callers(acme: ApiClient):
    with CaptureQueriesContext(connection) as asked:
        for path in ("queues/", "queues/", "queues/code/"):
            assert acme.ask(path).status_code == 200

    assert sum("COUNT(" in query["sql"] for query in asked) == 1


def test_only_staff_pause_and_resume_queues(acme: ApiClient, staff: ApiClient):
    assert acme.send("queues/code/pause/").json()["code"] == "PERMISSION_DENIED"

    paused = staff.send("queues/code/pause/")
    resumed = staff.send("queues/CODE/resume/")

    assert (paused.status_code, paused.json()["isPaused"]) == (200, True)
    assert resumed.json()["isPaused"] is False


def test_an_export_is_downloaded_by_its_organization_only(acme: ApiClient, key_of):
    make_organization("acme")
    exports.put("e1", b"PK bytes", filename="site ü.zip", organization_id="acme")

    response = acme.ask("exports/e1/")

    assert response.content == b"PK bytes"
    assert "attachment" in response["Content-Disposition"]
    assert response["X-Content-Type-Options"] == "nosniff"
    assert key_of("rival").ask("exports/e1/").json()["code"] == "NOT_FOUND"
    assert acme.ask("exports/none/").json()["code"] == "NOT_FOUND"


def test_the_redis_key_that_describes_an_export_is_not_downloadable(acme: ApiClient, key_of):
    exports.put("e1", b"PK bytes", filename="site.zip", organization_id="acme")

    for client in (acme, key_of("rival")):
        assert client.ask("exports/e1:meta/").json()["code"] == "NOT_FOUND"


def test_only_staff_see_the_stacks_of_steps(acme: ApiClient, staff: ApiClient):
    workflow_id = acme.send("workflows/", NEW).json()["workflowId"]
    error = {"code": "CANCELLED", "message": "stopped", "retryable": False, "stack": "File …"}
    Task.objects.filter(workflow=workflow_id).update(error=error)

    def stacks(client: ApiClient) -> set[str | None]:
        steps = client.ask(f"workflows/{workflow_id}/").json()["tasks"]
        return {step["error"].get("stack") for step in steps}

    assert (stacks(acme), stacks(staff)) == ({None}, {"File …"})


def test_a_workflow_is_retried_by_its_organization_for_a_charge_and_by_staff_for_none(
    acme: ApiClient, staff: ApiClient
):
    def used() -> int:
        usage = acme.ask("organizations/acme/usage/").json()["usage"]
        return sum(row["used"] for row in usage.values())

    workflow_id = acme.send("workflows/", NEW).json()["workflowId"]
    for client, charge in ((staff, 0), (acme, 3)):
        acme.send(f"workflows/{workflow_id}/cancel/")
        before = used()
        response = client.send(f"workflows/{workflow_id}/retry/")
        assert response.status_code == 200
        assert ("RateLimit-Limit" in response) == (charge > 0)
        assert used() - before == charge
