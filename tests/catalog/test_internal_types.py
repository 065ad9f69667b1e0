"""Internal types: submitted from Python, seen by operators, and by no tenant in any way."""

import json
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.test import Client
from redis import Redis

from plugspace_queue import TaskType, errors, queue_manager, testing
from plugspace_queue.events import fanout
from plugspace_queue.events.frames import Topic
from plugspace_queue.models import ApiKey, Membership, MonthlyUsage, Organization, UsageEntry
from tests.catalog.conftest import Declare
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db(transaction=True)

INTERNAL = {"type": "HOUSEKEEPING", "project_id": "p", "user_id": "u", "input": {}}


@pytest.fixture
def housekeeping(declare: Declare) -> TaskType:
    make_organization("acme", tier="free")
    return declare("HOUSEKEEPING", internal=True)


@pytest.fixture
def tenant(housekeeping: TaskType) -> Client:
    _, secret = ApiKey.issue(Organization.objects.get(pk="acme"), ["submit", "read", "operate"])
    return Client(headers={"Authorization": f"Bearer {secret}"})


def test_python_submits_it_and_it_runs(housekeeping: TaskType):
    task = queue_manager.add_task(**INTERNAL, organization_id="acme")

    with testing.processors({"HOUSEKEEPING": lambda context: {"done": True}}):
        (ended,) = testing.run_pending("HOUSEKEEPING")

    assert (ended.pk, ended.state) == (task.pk, "complete")


def test_it_counts_in_no_quota(housekeeping: TaskType):
    queue_manager.add_task(**INTERNAL, organization_id="acme")
    queue_manager.add_tasks([{**INTERNAL, "organization_id": "acme"}, arguments()])

    assert [row.type for row in MonthlyUsage.objects.all()] == ["ARCHITECT"]
    assert [row.type for row in UsageEntry.objects.all()] == ["ARCHITECT"]


def test_it_is_retried_and_cancelled_without_a_charge(housekeeping: TaskType):
    task = queue_manager.add_task(**INTERNAL, organization_id="acme")
    queue_manager.cancel(task.pk)

    assert queue_manager.retry(task.pk).state == "waiting"
    assert not MonthlyUsage.objects.exists()


def test_a_suspended_organization_submits_none(housekeeping: TaskType):
    queue_manager.add_task(**INTERNAL, organization_id="acme")
    Organization.objects.filter(pk="acme").update(is_suspended=True)

    with pytest.raises(errors.OrganizationSuspended):
        queue_manager.add_task(**INTERNAL, organization_id="acme")


def test_no_tenant_submits_it(tenant: Client):
    new = {"type": "HOUSEKEEPING", "projectId": "p", "input": {}}

    for place, body in (("tasks/", new), ("tasks/bulk/", {"tasks": [new]})):
        refused = tenant.post(f"/api/v1/{place}", body, content_type="application/json")
        assert (refused.status_code, refused.json()["code"]) == (400, "VALIDATION_ERROR")
        assert "HOUSEKEEPING" not in refused.json()["detail"]


def test_no_tenant_sees_it(tenant: Client):
    task = queue_manager.add_task(**INTERNAL, organization_id="acme")
    known = queue_manager.add_task(**arguments())

    listed = tenant.get("/api/v1/tasks/").json()["results"]
    assert [one["id"] for one in listed] == [str(known.pk)]
    for page in ("", "explain/", "events/"):
        assert tenant.get(f"/api/v1/tasks/{task.pk}/{page}").status_code == 404
    for verb in ("cancel", "retry"):
        assert (
            tenant.post(
                f"/api/v1/tasks/{task.pk}/{verb}/", {}, content_type="application/json"
            ).status_code
            == 404
        )
    assert tenant.get("/api/v1/queues/housekeeping/").status_code == 404
    for place in ("queues/", "organizations/acme/usage/", "schema/"):
        assert "HOUSEKEEPING" not in tenant.get(f"/api/v1/{place}").content.decode()
    assert [task.type for task in queue_manager.get_organization_tasks("acme")] == ["ARCHITECT"]


def test_staff_do_not_see_it_over_rest_but_in_the_admin(
    housekeeping: TaskType, admin_client: Client
):
    task = queue_manager.add_task(**INTERNAL, organization_id="acme")

    assert admin_client.get("/api/v1/tasks/").json()["results"] == []
    assert admin_client.get(f"/api/v1/tasks/{task.pk}/").status_code == 404
    page = f"/admin/plugspace_queue/task/{task.pk}/change/"
    assert admin_client.get(page).status_code == 200
    assert "HOUSEKEEPING" in admin_client.get("/admin/plugspace_queue/dashboard/").content.decode()


def test_its_events_reach_listeners_and_no_tenant(housekeeping: TaskType, redis: Redis):
    queue_manager.add_task(**INTERNAL, organization_id="acme")
    queue_manager.add_task(**arguments())

    told = [json.loads(*event.values())["type"] for _, event in redis.xrange("plugspace:events")]
    entries, _ = fanout.read_page(Topic("organizationId", "acme"), "0-0")

    assert told == ["HOUSEKEEPING", "ARCHITECT"]
    assert [entry.body["type"] for entry in entries] == ["ARCHITECT"]


def test_work_without_a_tenant_belongs_to_a_reserved_organization(housekeeping: TaskType):
    for _ in range(3):
        queue_manager.add_task(**INTERNAL, organization_id="_system")
    queue_manager.add_task(**arguments(type="DEPLOY", organization_id="_system"))

    assert Organization.objects.get(pk="_system").tier_id is None
    assert not MonthlyUsage.objects.exists()


def test_the_reserved_organization_has_no_request_limit(housekeeping: TaskType, redis: Redis):
    queue_manager.add_task(**INTERNAL, organization_id="_system")

    assert not redis.exists("plugspace:ratelimit:_system")


def test_nobody_gets_credentials_for_the_reserved_organization(
    housekeeping: TaskType, admin_client: Client
):
    queue_manager.add_task(**INTERNAL, organization_id="_system")
    system = Organization.objects.get(pk="_system")
    user = get_user_model().objects.create_user("ann")

    with pytest.raises(ValidationError, match="reserved"):
        ApiKey.issue(system, ["read"])
    with pytest.raises(ValidationError, match="reserved"):
        Membership(organization=system, user=user).full_clean()
    with pytest.raises(errors.ValidationRefused, match="reserved"):
        queue_manager.set_organization("_system", tier="free")
    headers: dict[str, Any] = {"X-Organization": "_system"}
    assert admin_client.get("/api/v1/tasks/", headers=headers).status_code == 404


def test_credentials_that_were_stored_around_the_checks_open_nothing(housekeeping: TaskType):
    queue_manager.add_task(**INTERNAL, organization_id="_system")
    user = get_user_model().objects.create_user("ann")
    Membership.objects.create(organization_id="_system", user=user)
    row, secret = ApiKey.issue(make_organization("acme"), ["read"])
    ApiKey.objects.filter(pk=row.pk).update(organization="_system")
    member = Client()
    member.force_login(user)

    by_key = Client(headers={"Authorization": f"Bearer {secret}"}).get("/api/v1/tasks/")

    assert by_key.status_code == 401
    assert member.get("/api/v1/tasks/").status_code == 403
