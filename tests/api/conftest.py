"""Callers of the API: keys of organizations, members, staff."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

from plugspace_queue.domain.enums import Role, Scope
from plugspace_queue.limits import policies
from plugspace_queue.models import ApiKey, Membership
from plugspace_queue.services import queue_stats
from tests.factories import make_organization


class ApiClient(Client):
    """Django's client with JSON bodies and the prefix of the API."""

    def ask(self, path: str, **query: Any) -> Any:
        return self.get(f"/api/v1/{path}", query)

    def send(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.post(
            f"/api/v1/{path}",
            {} if body is None else body,
            content_type="application/json",
            headers=headers or None,
        )

    def change(self, path: str, body: Any) -> Any:
        return self.patch(f"/api/v1/{path}", body, content_type="application/json")


@pytest.fixture(autouse=True)
def fresh_reads() -> None:
    policies.clear_cache()
    queue_stats.clear_cache()


@pytest.fixture
def key_of(db: None) -> Callable[..., ApiClient]:
    """A client with a new API key of an organization."""

    def make(organization_id: str = "acme", *scopes: Scope, **fields: Any) -> ApiClient:
        organization = make_organization(organization_id)
        _, secret = ApiKey.issue(organization, [s.value for s in scopes or Scope], **fields)
        return ApiClient(headers={"Authorization": f"Bearer {secret}"})

    return make


@pytest.fixture
def acme(key_of: Callable[..., ApiClient]) -> ApiClient:
    """A client with all scopes for acme."""
    return key_of("acme")


@pytest.fixture
def member_of(db: None) -> Callable[..., ApiClient]:
    """A signed-in member of organizations."""

    def make(*organization_ids: str, role: Role = Role.MEMBER) -> ApiClient:
        user = get_user_model().objects.create_user(f"user-{role}")
        for organization_id in organization_ids:
            organization = make_organization(organization_id)
            Membership.objects.create(organization=organization, user=user, role=role)
        client = ApiClient()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def staff(db: None) -> ApiClient:
    """A signed-in operator."""
    user = get_user_model().objects.create_user("operator", is_staff=True)
    names = ("view_task", "operate_queue")
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = ApiClient()
    client.force_login(user)
    return client


@pytest.fixture
def administrator(staff: ApiClient) -> ApiClient:
    """The same user, who may administer too."""
    user = get_user_model().objects.get(username="operator")
    user.user_permissions.add(Permission.objects.get(codename="administer_queue"))
    return staff
