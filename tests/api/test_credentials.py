"""Who may do what over HTTP: keys, scopes, members, staff; foreign things are not there."""

from collections.abc import Callable
from datetime import timedelta
from urllib.parse import unquote

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from plugspace_queue.domain.enums import Role, Scope
from plugspace_queue.models import ApiKey
from tests.api.conftest import ApiClient
from tests.factories import make_organization, make_task

pytestmark = pytest.mark.django_db

NEW = {"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "A bakery"}}


def test_without_credentials_the_answer_is_401_and_says_how():
    response = Client().get("/api/v1/tasks/")

    assert response.status_code == 401
    assert response.json()["code"] == "AUTHENTICATION_ERROR"
    assert response["Content-Type"] == "application/problem+json"
    assert response["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Bearer psq_wrong", "Bearer ", "bearer x" * 99])
def test_a_key_nobody_issued_is_refused(header: str):
    response = Client(headers={"Authorization": header}).get("/api/v1/tasks/")

    assert response.status_code == 401


def test_a_revoked_key_and_an_expired_key_are_refused(key_of: Callable[..., ApiClient]):
    past = timezone.now() - timedelta(seconds=1)

    assert key_of("acme", expires_at=past).ask("tasks/").status_code == 401
    assert key_of("acme", revoked_at=past).ask("tasks/").status_code == 401


@pytest.mark.parametrize(
    ("scope", "answers"),
    [
        (Scope.READ, (200, 403, 403)),
        (Scope.SUBMIT, (403, 201, 403)),
        (Scope.OPERATE, (403, 403, 200)),
    ],
)
def test_each_scope_of_a_key_stands_alone(
    key_of: Callable[..., ApiClient], scope: Scope, answers: tuple[int, int, int]
):
    client = key_of("acme", scope)
    task = make_task()

    told = (
        client.ask("tasks/").status_code,
        client.send("tasks/", NEW).status_code,
        client.send(f"tasks/{task.pk}/cancel/").status_code,
    )

    assert told == answers


def test_the_last_use_of_a_key_is_noted_at_most_once_a_minute(acme: ApiClient):
    acme.ask("tasks/")
    first = ApiKey.objects.get().last_used_at
    acme.ask("tasks/")

    assert first is not None
    assert ApiKey.objects.get().last_used_at == first

    ApiKey.objects.update(last_used_at=first - timedelta(minutes=2))
    acme.ask("tasks/")
    assert ApiKey.objects.get().last_used_at >= first


def test_organization_and_user_come_from_the_key_and_not_from_the_body(acme: ApiClient):
    told = acme.send("tasks/", NEW).json()
    refused = acme.send("tasks/", NEW | {"organizationId": "rival", "userId": "eve"})

    assert told["organizationId"] == "acme"
    assert told["userId"].startswith("key:psq_")
    assert refused.status_code == 400


def test_a_task_of_another_organization_is_not_there(key_of: Callable[..., ApiClient]):
    task = make_task(organization=make_organization("rival"))
    client = key_of("acme")

    told = [
        client.ask(f"tasks/{task.pk}/"),
        client.send(f"tasks/{task.pk}/cancel/"),
        client.send(f"tasks/{task.pk}/retry/"),
        client.ask("organizations/rival/usage/"),
    ]

    assert [response.status_code for response in told] == [404] * 4
    assert client.ask("tasks/").json()["results"] == []


def test_a_member_of_one_organization_acts_for_it(member_of: Callable[..., ApiClient]):
    client = member_of("acme")

    response = client.send("tasks/", NEW)

    assert response.status_code == 201
    assert response.json()["organizationId"] == "acme"
    assert response.json()["userId"] == str(get_user_model().objects.get().pk)


def test_a_viewer_reads_and_submits_nothing(member_of: Callable[..., ApiClient]):
    client = member_of("acme", role=Role.VIEWER)

    assert client.ask("tasks/").status_code == 200
    assert client.send("tasks/", NEW).status_code == 403


def test_a_member_of_several_organizations_names_one(member_of: Callable[..., ApiClient]):
    client = member_of("acme", "beta")

    assert client.send("tasks/", NEW).json()["code"] == "VALIDATION_ERROR"
    assert client.send("tasks/", NEW, **{"X-Organization": "beta"}).status_code == 201
    refused = client.send("tasks/", NEW, **{"X-Organization": "gamma"})
    assert (refused.status_code, refused.json()["code"]) == (404, "ORGANIZATION_UNKNOWN")


def test_a_user_of_no_organization_is_told_so(member_of: Callable[..., ApiClient]):
    assert member_of().ask("tasks/").json()["code"] == "PERMISSION_DENIED"


def test_staff_see_all_and_name_an_organization_to_submit(staff: ApiClient):
    make_task(organization=make_organization("acme"))
    make_task(organization=make_organization("beta"))

    assert len(staff.ask("tasks/").json()["results"]) == 2
    assert staff.send("tasks/", NEW).status_code == 400
    assert staff.send("tasks/", NEW, **{"X-Organization": "beta"}).status_code == 201


def test_is_staff_alone_opens_nothing(db: None):
    user = get_user_model().objects.create_user("clerk", password="x", is_staff=True)
    client = ApiClient()
    client.force_login(user)

    assert client.ask("tasks/").status_code == 403


def test_a_session_needs_the_csrf_token_to_submit(member_of: Callable[..., ApiClient]):
    client = member_of("acme")
    client.handler.enforce_csrf_checks = True

    response = client.send("tasks/", NEW)

    assert (response.status_code, response.json()["code"]) == (403, "PERMISSION_DENIED")


def test_a_suspended_organization_reads_and_does_not_submit(acme: ApiClient):
    make_organization("acme", is_suspended=True)

    assert acme.ask("tasks/").status_code == 200
    assert acme.send("tasks/", NEW).json()["code"] == "ORGANIZATION_SUSPENDED"


@pytest.mark.parametrize("name", ["nobody", "a%00", "%ED%A0%80", "x" * 300])
def test_an_organization_id_that_cannot_be_one_is_unknown(staff: ApiClient, name: str):
    told = staff.ask(f"organizations/{name}/usage/")
    header = staff.send("tasks/", NEW, **{"X-Organization": unquote(name, errors="replace")})

    assert [(r.status_code, r.json()["code"]) for r in (told, header)] == [
        (404, "ORGANIZATION_UNKNOWN")
    ] * 2


def test_a_session_of_an_inactive_user_opens_nothing(member_of: Callable[..., ApiClient]):
    client = member_of("acme")
    get_user_model().objects.update(is_active=False)

    assert client.ask("tasks/").status_code == 401
