"""Keys, members and organizations by Python calls, as a host project makes them."""

import inspect
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.models import ApiKey, Membership, Organization
from tests.factories import make_organization

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def acme() -> Organization:
    return make_organization("acme")


def asked(secret: str) -> int:
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    return client.get("/api/v1/tasks/").status_code


def test_a_key_works_until_it_is_revoked():
    key, secret = queue_manager.create_key("acme", scopes=["read", "read"], name="Billing")

    assert (key.organization_id, key.scopes, key.name) == ("acme", ["read"], "Billing")
    assert secret.startswith("psq_")
    assert asked(secret) == 200
    revoked = queue_manager.revoke_key(key)
    assert asked(secret) == 401
    assert queue_manager.revoke_key(str(key.pk)).revoked_at == revoked.revoked_at


def test_a_key_reads_and_submits_unless_told_otherwise():
    key, _ = queue_manager.create_key("acme")

    assert (key.scopes, key.name, key.expires_at) == (["read", "submit"], "", None)


def test_a_key_may_expire():
    soon = timezone.now() + timedelta(hours=1)
    key, secret = queue_manager.create_key("acme", scopes=["read"], expires_at=soon)
    assert asked(secret) == 200

    ApiKey.objects.update(expires_at=timezone.now())

    assert asked(secret) == 401
    assert key.expires_at == soon


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["admin"]}, "scopes"),
        ({"name": "x" * 101}, "name"),
        ({"name": 7}, "name"),
        ({"expires_at": datetime(2030, 1, 1)}, "expires_at"),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "expires_at"),
        ({"expires_at": "2030-01-01"}, "expires_at"),
    ],
)
def test_a_key_that_could_not_work_is_refused(arguments: dict[str, Any], field: str):
    with pytest.raises(errors.ValidationRefused) as refused:
        queue_manager.create_key("acme", **arguments)

    assert refused.value.details["field"] == field
    assert not ApiKey.objects.exists()


def test_nobody_has_a_key_of_an_unknown_organization():
    for call in (queue_manager.create_key, queue_manager.revoke_keys):
        with pytest.raises(errors.OrganizationUnknown):
            call("nobody")


@pytest.mark.parametrize("wrong", [0, "x", None, "²", uuid.uuid4()])
def test_a_key_that_is_not_there_is_not_found(wrong: Any):
    with pytest.raises(errors.NotFound):
        queue_manager.revoke_key(wrong)


def test_with_an_organization_named_the_keys_of_others_are_not_found():
    key, secret = queue_manager.create_key("acme")

    with pytest.raises(errors.NotFound):
        queue_manager.revoke_key(key, "globex")
    assert asked(secret) == 200


def test_the_keys_of_an_organization_are_revoked_at_once_or_by_their_name():
    make_organization("globex")
    _, first = queue_manager.create_key("acme", name="Old")
    _, second = queue_manager.create_key("acme", name="New")
    _, other = queue_manager.create_key("globex", name="Old")

    assert queue_manager.revoke_keys("acme", name="Old") == 1
    assert [asked(first), asked(second), asked(other)] == [401, 200, 200]
    assert queue_manager.revoke_keys("acme") == 1
    assert [asked(second), asked(other)] == [401, 200]


def test_a_member_may_what_its_role_may_until_it_is_removed():
    user = get_user_model().objects.create_user("kim")
    client = Client()
    client.force_login(user)

    assert queue_manager.set_member("acme", user).role == "member"
    assert client.get("/api/v1/tasks/").status_code == 200
    assert queue_manager.set_member("acme", str(user.pk), role="viewer").role == "viewer"
    assert Membership.objects.count() == 1
    assert queue_manager.remove_member("acme", user) is True
    assert queue_manager.remove_member("acme", user.pk) is False
    assert client.get("/api/v1/tasks/").status_code == 403


def test_a_member_needs_a_user_a_role_and_an_organization():
    user = get_user_model().objects.create_user("kim")

    for wrong in (user.pk + 1, "x", None, get_user_model()(username="new")):
        with pytest.raises(errors.NotFound):
            queue_manager.set_member("acme", wrong)
    with pytest.raises(errors.ValidationRefused, match="role"):
        queue_manager.set_member("acme", user, role="owner")
    with pytest.raises(errors.OrganizationUnknown):
        queue_manager.set_member("nobody", user)
    with pytest.raises(errors.OrganizationUnknown):
        queue_manager.remove_member("nobody", user)
    assert queue_manager.remove_member("acme", "x") is False


def test_a_sync_makes_what_is_missing_changes_what_differs_and_leaves_the_rest(redis: Any):
    make_organization("globex", tier="starter", name="Globex", is_suspended=True)
    number = uuid.uuid4()

    done = queue_manager.sync_organizations(
        [
            "acme",
            {"id": "globex", "name": "Globex Corp"},
            {"id": 7, "tier": "free", "name": "Seven"},
            {"id": number, "is_suspended": True},
        ]
    )

    assert (done.created, done.changed, done.unchanged) == (2, 1, 1)
    globex = Organization.objects.get(pk="globex")
    assert (globex.name, globex.tier_id, globex.is_suspended) == ("Globex Corp", "starter", True)
    assert Organization.objects.get(pk="7").tier_id == "free"
    assert redis.get(keys.organization_tier("7")) == b"free"
    assert Organization.objects.get(pk=str(number)).is_suspended
    again = queue_manager.sync_organizations([{"id": "globex", "name": "Globex Corp"}])
    assert (again.created, again.changed, again.unchanged) == (0, 0, 1)
    assert Organization.objects.count() == 4


def test_a_sync_takes_a_tier_away_only_when_told_so():
    make_organization("globex", tier="starter")

    queue_manager.sync_organizations([{"id": "globex"}])
    assert Organization.objects.get(pk="globex").tier_id == "starter"
    queue_manager.sync_organizations([{"id": "globex", "tier": None}])

    assert Organization.objects.get(pk="globex").tier_id is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "a b"},
        {"name": "nobody"},
        {"id": "x", "tier": "gold"},
        {"id": "x", "colour": "red"},
        {"id": "x", "is_suspended": 1},
        None,
        "",
    ],
)
def test_a_sync_is_done_as_a_whole_or_not_at_all(wrong: Any):
    with pytest.raises(errors.ValidationRefused) as refused:
        queue_manager.sync_organizations([{"id": "new"}, wrong])

    assert refused.value.details["index"] == 1
    assert not Organization.objects.filter(pk="new").exists()


def test_a_sync_of_many_takes_a_few_statements(django_assert_max_num_queries: Any):
    rows = ({"id": f"org-{number}", "tier": "starter"} for number in range(1200))

    with django_assert_max_num_queries(20):
        done = queue_manager.sync_organizations(rows)

    assert done.created == 1200


@pytest.mark.parametrize(
    "verb", ["create_key", "revoke_key", "revoke_keys", "set_member", "remove_member"]
)
def test_each_call_has_an_awaitable_twin(verb: str):
    assert inspect.iscoroutinefunction(getattr(queue_manager, f"a{verb}"))
    assert inspect.iscoroutinefunction(queue_manager.async_organizations)
