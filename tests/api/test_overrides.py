"""Overrides of limits, and grants, over HTTP; what a tenant sees of them."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import Scope
from plugspace_queue.limits import policies
from plugspace_queue.limits.quota import month_of
from plugspace_queue.models import Override
from tests.api.conftest import ApiClient
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db(transaction=True)

GRANTS = "organizations/acme/grants/"
OVERRIDES = "queues/code/overrides/"


@pytest.fixture(autouse=True)
def acme() -> None:
    policies.clear_cache()
    make_organization(tier="free")


@pytest.fixture
def staff() -> ApiClient:
    user = get_user_model().objects.create_user("kim", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=("view_task", "operate_queue", "administer_queue"))
    )
    client = ApiClient()
    client.force_login(user)
    return client


def soon(**span: float) -> str:
    return (timezone.now() + timedelta(**(span or {"hours": 2}))).isoformat()


def audited() -> list[str]:
    return [entry.change_message for entry in LogEntry.objects.order_by("pk")]


def test_staff_grant_tasks_until_a_time_and_the_tenant_sees_them_in_its_usage(
    staff: ApiClient, key_of: Any
):
    tenant, until = key_of("acme", Scope.READ), soon()
    make_organization(tier="free")

    made = staff.send(GRANTS, {"type": "CODE", "amount": 50, "until": until, "reason": "launch"})

    assert made.status_code == 201
    body = made.json()
    assert (body["key"], body["value"], body["state"]) == ("grant", 50, "active")
    assert (body["author"], body["reason"]) == ("kim", "launch")
    usage = tenant.ask("organizations/acme/usage/").json()["usage"]
    assert usage["CODE"] == {
        "used": 0,
        "quota": 55,
        "remaining": 55,
        "granted": 50,
        "overrides": [{"key": "grant", "value": 50, "endsAt": body["endsAt"]}],
    }
    assert usage["DEPLOY"] == {"used": 0, "quota": 1, "remaining": 1}
    (said,) = audited()
    assert "CODE 50 more per month until" in said
    assert "(quota 5 → 55), over the API: launch" in said


def test_a_quota_takes_the_place_of_the_tiers_and_is_ended(staff: ApiClient):
    made = staff.send(GRANTS, {"type": "CODE", "quota": -1, "reason": "wholesale"}).json()
    usage = staff.ask("organizations/acme/usage/").json()["usage"]["CODE"]
    assert (usage["quota"], usage["remaining"]) == (None, None)

    ended = staff.delete(f"/api/v1/{GRANTS}{made['id']}/")

    assert (ended.status_code, ended.json()["state"]) == (200, "ended")
    assert staff.ask("organizations/acme/usage/").json()["usage"]["CODE"]["quota"] == 5
    assert "(quota 5 → no limit)" in audited()[0]
    assert "Ended: CODE no limit (quota no limit → 5)" in audited()[1]
    again = staff.delete(f"/api/v1/{GRANTS}{made['id']}/")
    assert (again.status_code, again.json()["code"]) == (409, "INVALID_STATE")


def test_usage_of_a_past_month_has_the_quota_of_its_end(staff: ApiClient):
    now = timezone.now()
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    terms = {"starts_at": first - timedelta(days=3), "ends_at": first + timedelta(seconds=1)}
    Override.objects.create(
        organization_id="acme", type="CODE", key="grant", value=7, reason="then", **terms
    )
    past = month_of(first - timedelta(days=1))

    def quota(month: str) -> int:
        found = staff.ask(f"organizations/acme/usage/?month={month}").json()["usage"]["CODE"]
        return int(found["quota"])

    assert (quota(past), quota("2099-01")) == (12, 5)


def test_limits_of_a_queue_hold_for_a_while_and_everybody_sees_until_when(
    staff: ApiClient, key_of: Any, redis: Any
):
    until = soon()
    body = {"limiter": {"max": 200, "duration": 60}, "organizationConcurrency": 9}

    made = staff.send(OVERRIDES, {**body, "until": until, "reason": "launch"})

    assert made.status_code == 201
    limiter, cap = made.json()["results"]
    assert (limiter["key"], limiter["value"], limiter["duration"]) == ("limiter", 200, 60.0)
    assert (cap["key"], cap["value"], cap["duration"]) == ("organizationConcurrency", 9, None)
    assert redis.hget(keys.meta("code"), "limiter") == b"200"
    queue = key_of("acme", Scope.READ).ask("queues/code/").json()
    assert queue["limiter"] == {"max": 200, "duration": 60.0}
    assert {one["key"] for one in queue["overrides"]} == {"limiter", "organizationConcurrency"}
    assert {one["endsAt"] for one in queue["overrides"]} == {limiter["endsAt"]}
    assert "starts 50 → 200" in audited()[0]
    assert "cap per organization default → 9" in audited()[0]

    for one in (limiter, cap):
        assert staff.delete(f"/api/v1/{OVERRIDES}{one['id']}/").status_code == 200

    assert redis.hget(keys.meta("code"), "limiter") == b"50"
    assert staff.ask("queues/code/").json()["overrides"] == []


def test_a_limit_for_later_changes_nothing_yet(staff: ApiClient):
    starts = soon(hours=1)

    staff.send(OVERRIDES, {"concurrency": 9, "starts": starts, "reason": "launch"})

    assert staff.ask("queues/code/").json()["concurrency"] == 3
    (found,) = staff.ask(OVERRIDES).json()["results"]
    assert (found["state"], found["value"]) == ("pending", 9)
    assert "(nothing changes now)" in audited()[0]


def test_explain_shows_the_limit_in_force_and_until_when(staff: ApiClient):
    task = queue_manager.add_task(**arguments(type="CODE"))
    staff.send(
        OVERRIDES,
        {"limiter": {"max": 200, "duration": 60}, "until": soon(), "reason": "launch"},
    )

    gates = staff.ask(f"tasks/{task.pk}/explain/").json()["gates"]

    found = {gate["gate"]: gate for gate in gates}
    assert found["queue_limiter"]["limit"] == 200
    assert found["queue_limiter"]["isOverridden"] is True
    assert found["queue_limiter"]["overriddenUntil"]
    assert "isOverridden" not in found["organization_concurrency"]


@pytest.mark.parametrize(
    ("address", "body"),
    [
        (GRANTS, {"type": "CODE", "reason": "x"}),
        (GRANTS, {"type": "CODE", "amount": 1, "quota": 1, "reason": "x"}),
        (GRANTS, {"type": "CODE", "amount": 0, "reason": "x"}),
        (GRANTS, {"type": "CODE", "amount": True, "reason": "x"}),
        (GRANTS, {"type": "NOTHING", "amount": 1, "reason": "x"}),
        (GRANTS, {"type": "CODE", "amount": 1}),
        (GRANTS, {"type": "CODE", "amount": 1, "reason": " "}),
        (GRANTS, {"type": "CODE", "amount": 1, "reason": "x", "until": "soon"}),
        (GRANTS, {"type": "CODE", "amount": 1, "reason": "x", "until": "2020-01-01T00:00:00Z"}),
        (GRANTS, {"type": "CODE", "amount": 1, "reason": "x", "author": "bob"}),
        (OVERRIDES, {"reason": "x"}),
        (OVERRIDES, {"concurrency": 0, "reason": "x"}),
        (OVERRIDES, {"limiter": {"max": 5}, "reason": "x"}),
        (OVERRIDES, {"policy": "weighted", "reason": "x"}),
    ],
)
def test_what_is_not_valid_is_refused_and_leaves_nothing(
    staff: ApiClient, address: str, body: dict[str, Any]
):
    answer = staff.send(address, body)

    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert not Override.objects.exists()


def test_an_override_is_found_at_its_own_address_only(staff: ApiClient):
    make_organization("other")
    grant = queue_manager.grant("acme", "CODE", 1, reason="launch")
    [limit] = queue_manager.override_queue("CODE", concurrency=9, reason="launch")

    for address in (
        f"organizations/other/grants/{grant.pk}/",
        f"organizations/acme/grants/{limit.pk}/",
        f"queues/design/overrides/{limit.pk}/",
        f"queues/code/overrides/{grant.pk}/",
        f"queues/code/overrides/{2**70}/",
    ):
        assert staff.delete(f"/api/v1/{address}").status_code == 404, address

    assert queue_manager.get_overrides("CODE") == [limit]


def test_lists_have_those_that_are_over_when_they_are_asked_for(staff: ApiClient):
    queue_manager.end_override(queue_manager.grant("acme", "CODE", 1, reason="launch").pk)

    assert staff.ask(GRANTS).json()["results"] == []
    (found,) = staff.ask(f"{GRANTS}?ended=true").json()["results"]
    assert found["state"] == "ended"
    assert staff.ask("organizations/nobody/grants/").status_code == 404
    assert staff.ask("queues/nothing/overrides/").status_code == 404


def test_a_grant_beside_the_largest_quota_is_more_than_a_column_holds_and_refuses_nothing(
    staff: ApiClient,
):
    largest = {"type": "CODE", "quota": 2**63 - 1, "reason": "partner"}
    assert staff.send(GRANTS, largest).status_code == 201
    more = {"type": "CODE", "amount": 1_000_000_000, "reason": "launch"}
    assert staff.send(GRANTS, more).status_code == 201

    assert queue_manager.add_task(**arguments(type="CODE")).state == "waiting"
    assert staff.ask("organizations/acme/usage/").status_code == 200
