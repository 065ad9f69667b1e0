"""What operators set in the admin: tiers, queues, organizations, keys."""

import re

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import path, reverse

from plugspace_queue import queue_manager
from plugspace_queue.admin import queues
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import ApiKey, Membership, Organization, QueueSettings, TierPolicy
from tests.api.conftest import ApiClient
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db

# A service that has the admin and not the API.
urlpatterns = [path("admin/", admin.site.urls)]

NO_MEMBERS = {
    f"memberships-{name}": value
    for name, value in (
        ("TOTAL_FORMS", 0),
        ("INITIAL_FORMS", 0),
        ("MIN_NUM_FORMS", 0),
        ("MAX_NUM_FORMS", 1000),
    )
}


def change(name: str, pk: str) -> str:
    return reverse(f"admin:plugspace_queue_{name}_change", args=[pk])


def test_a_tier_is_edited_with_one_field_for_each_quota(root: Client):
    page = root.get(change("tierpolicy", "free")).content.decode()
    assert "empty: 10." in page

    quotas = {kind.queue_name: number for number, kind in enumerate(TaskType, start=-1)}
    rest = {"priority": 3, "default_quota": 0, "request_limit": 100, "request_window": 60}
    root.post(change("tierpolicy", "free"), quotas | rest)

    tier = TierPolicy.objects.get(pk="free")
    assert tier.quotas == {kind.value: number for number, kind in enumerate(TaskType, start=-1)}


def test_a_quota_below_no_limit_is_refused(root: Client):
    quotas = {kind.queue_name: -2 for kind in TaskType}
    rest = {"priority": 3, "default_quota": 0, "request_limit": 100, "request_window": 60}

    response = root.post(change("tierpolicy", "free"), quotas | rest)

    assert response.status_code == 200
    assert TierPolicy.objects.get(pk="free").quota("ARCHITECT") == 10


@pytest.mark.parametrize("window", ["1e300", "0", "inf"])
def test_a_window_that_redis_cannot_keep_is_refused(root: Client, window: str):
    quotas = {kind.queue_name: 7 for kind in TaskType}
    rest = {"priority": 3, "default_quota": 0, "request_limit": 100, "request_window": window}

    tier = root.post(change("tierpolicy", "free"), quotas | rest)
    queue = root.post(
        change("queuesettings", "CODE"), {"policy": "strict", "limiter_duration": window}
    )

    assert (tier.status_code, queue.status_code) == (200, 200)
    assert TierPolicy.objects.get(pk="free").request_window == 60
    assert QueueSettings.objects.get(pk="CODE").limiter_duration is None


def test_a_new_tier_can_be_made(root: Client):
    quotas = {kind.queue_name: 7 for kind in TaskType}
    rest = {"slug": "team", "priority": 2, "request_limit": 10, "request_window": 1}
    rest |= {"default_quota": -1}

    response = root.post(reverse("admin:plugspace_queue_tierpolicy_add"), quotas | rest)

    assert response.status_code == 302
    assert TierPolicy.objects.get(pk="team").quota("CODE") == 7


def test_a_queue_is_edited_paused_and_resumed_but_not_added_or_deleted(root: Client):
    page = change("queuesettings", "CODE")
    root.post(page, {"concurrency": 8, "policy": "weighted"})
    row = QueueSettings.objects.get(pk="CODE")
    assert (row.concurrency, row.policy, row.limiter_max) == (8, "weighted", None)

    listed = reverse("admin:plugspace_queue_queuesettings_changelist")
    root.post(listed, {"action": "pause_chosen", "_selected_action": ["CODE"]})
    assert QueueSettings.objects.get(pk="CODE").is_paused
    root.post(listed, {"action": "resume_chosen", "_selected_action": ["CODE"]})
    assert not QueueSettings.objects.get(pk="CODE").is_paused

    assert root.get(reverse("admin:plugspace_queue_queuesettings_add")).status_code == 403


def test_an_organization_gets_its_tier_and_is_paused(root: Client):
    add = reverse("admin:plugspace_queue_organization_add")
    root.post(add, {"id": "acme", "name": "Acme", "tier": "starter", **NO_MEMBERS})
    assert Organization.objects.get(pk="acme").tier_id == "starter"

    listed = reverse("admin:plugspace_queue_organization_changelist")
    root.post(listed, {"action": "pause_chosen", "_selected_action": ["acme"]})
    assert Organization.objects.get(pk="acme").is_paused


@pytest.mark.parametrize("bad", ["with space", "a" * 65, "ü"])
def test_an_organization_id_that_cannot_be_a_key_is_refused(root: Client, bad: str):
    add = reverse("admin:plugspace_queue_organization_add")

    root.post(add, {"id": bad, **NO_MEMBERS})

    assert not Organization.objects.exists()


def test_a_key_is_shown_once_when_it_is_issued_and_works(root: Client):
    make_organization("acme")
    add = reverse("admin:plugspace_queue_apikey_add")

    response = root.post(add, {"organization": "acme", "name": "ci", "scopes": ["read"]})
    (secret,) = re.findall(r"psq_[\w-]{30,}", response.content.decode())

    assert "no-store" in response["Cache-Control"]
    assert ApiClient(headers={"Authorization": f"Bearer {secret}"}).ask("tasks/").status_code == 200
    key = ApiKey.objects.get()
    for address in (change("apikey", str(key.pk)), "/admin/plugspace_queue/apikey/", add):
        page = root.get(address).content.decode()
        assert secret not in page
        assert key.digest not in page


@override_settings(ROOT_URLCONF=__name__)
def test_a_new_key_is_shown_where_the_api_is_served_elsewhere(root: Client):
    make_organization("acme")

    add = reverse("admin:plugspace_queue_apikey_add")
    response = root.post(add, {"organization": "acme", "scopes": ["read"]})

    assert response.status_code == 200
    assert re.search(r"psq_[\w-]{30,}", response.content.decode())


def test_a_revoked_key_opens_nothing_any_more(root: Client):
    row, secret = ApiKey.issue(make_organization("acme"), ["read"])
    listed = reverse("admin:plugspace_queue_apikey_changelist")

    root.post(listed, {"action": "revoke_chosen", "_selected_action": [str(row.pk)]})

    assert ApiClient(headers={"Authorization": f"Bearer {secret}"}).ask("tasks/").status_code == 401


def test_a_membership_is_made(root: Client, admin_user):
    make_organization("acme")
    add = reverse("admin:plugspace_queue_membership_add")

    root.post(add, {"organization": "acme", "user": admin_user.pk, "role": "viewer"})

    assert Membership.objects.get().role == "viewer"


def test_the_list_of_queues_shows_what_waits_and_runs(root: Client):
    make_organization("acme")
    for _ in range(3):
        queue_manager.add_task(**arguments(type="EXPORT"))

    page = root.get(reverse("admin:plugspace_queue_queuesettings_changelist")).content.decode()

    row = page[page.index(">EXPORT<") :]
    assert re.search(r'field-waiting">3<.*?field-active">0<.*?field-delayed">0<', row, re.DOTALL)


def test_the_list_of_queues_counts_its_tasks_once_while_the_count_is_fresh(
    root: Client, monkeypatch: pytest.MonkeyPatch
):
    # Three pages may take a busy machine longer than the second that a count is fresh.
    monkeypatch.setattr(queues, "FRESH_FOR", 60.0)
    address = reverse("admin:plugspace_queue_queuesettings_changelist")

    with CaptureQueriesContext(connection) as asked:
        for _ in range(3):
            assert root.get(address).status_code == 200

    assert sum('COUNT("plugspace_queue_task"' in query["sql"] for query in asked) == 1
