"""TENANT_OF_REQUEST: the project says who sent a request, and again while a stream is open."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.core.signals import got_request_exception
from django.db import OperationalError, connections
from django.test import Client
from rest_framework.exceptions import AuthenticationFailed

from plugspace_queue import errors
from plugspace_queue.api import grants, openapi, stream_limits
from plugspace_queue.conf import Tenant
from plugspace_queue.models import ApiKey, Membership, Organization, Task
from tests.api.asgi import Request, until
from tests.api.conftest import ApiClient
from tests.api.tenancy import COOKIE, HEADER, shop
from tests.factories import make_organization, make_task
from tests.support import patient

pytestmark = pytest.mark.django_db(transaction=True)

NEW = {"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "A bakery"}}
ANN = Tenant("acme", "ann", "member", csrf_checked=True)


@pytest.fixture(autouse=True)
def configured(settings: Any) -> Any:
    settings.PLUGSPACE_QUEUE = {"TENANT_OF_REQUEST": "tests.api.tenancy.tenant_of"}
    make_organization("acme")
    shop.tenants.clear()
    shop.asked_in.clear()
    yield
    connections.close_all()


def client_of(tenant: Any, token: str = "t1", **headers: str) -> ApiClient:
    shop.tenants[token] = tenant
    return ApiClient(headers={HEADER: token} | headers)


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


def test_the_project_says_for_whom_a_task_is_submitted():
    answer = client_of(ANN).send("tasks/", NEW)

    assert answer.status_code == 201
    task = Task.objects.get()
    assert (task.organization_id, task.user_id) == ("acme", "ann")


@pytest.mark.parametrize(
    ("role", "answers"),
    [("viewer", (200, 403, 403)), ("member", (200, 201, 403)), ("admin", (200, 201, 200))],
)
def test_each_role_may_what_a_member_with_this_role_may(role: str, answers: tuple[int, ...]):
    client = client_of(Tenant("acme", "ann", role, csrf_checked=True))
    task = make_task()

    told = (
        client.ask("tasks/").status_code,
        client.send("tasks/", NEW).status_code,
        client.send(f"tasks/{task.pk}/cancel/").status_code,
    )

    assert told == answers


def test_other_organizations_are_not_there():
    foreign = make_task(organization=make_organization("globex"))
    client = client_of(ANN)

    assert code(client.ask(f"tasks/{foreign.pk}/")) == (404, "NOT_FOUND")
    named = client_of(ANN, **{"X-Organization": "globex"})
    assert code(named.ask("tasks/")) == (404, "ORGANIZATION_UNKNOWN")
    assert code(client.ask("queues/")) == (200, "")
    assert client.send("queues/code/pause/").status_code == 403


def test_an_api_key_is_asked_first_and_a_foreign_token_is_left_to_the_project():
    _, key = ApiKey.issue(make_organization("globex"), ["read", "submit"])
    shop.tenants["eyJhbGciOi"] = ANN

    by_key = ApiClient(headers={"Authorization": f"Bearer {key}"})
    by_token = ApiClient(headers={"Authorization": "Bearer eyJhbGciOi"})

    assert by_key.send("tasks/", NEW).json()["organizationId"] == "globex"
    assert shop.asked_in == []
    assert by_token.send("tasks/", NEW).json()["organizationId"] == "acme"
    assert (
        Client(headers={"Authorization": "Bearer other"}).get("/api/v1/tasks/").status_code == 401
    )
    wrong = ApiClient(headers={"Authorization": "Bearer psq_wrong", HEADER: "t1"})
    assert code(wrong.ask("tasks/")) == (401, "AUTHENTICATION_ERROR")


def test_whom_the_project_does_not_know_the_session_decides():
    user = get_user_model().objects.create_user("kim")
    Membership.objects.create(organization=make_organization("globex"), user=user)
    client = ApiClient()
    client.force_login(user)

    assert client.ask("organizations/globex/usage/").status_code == 200
    assert code(Client().get("/api/v1/tasks/")) == (401, "AUTHENTICATION_ERROR")


def by_cookie(tenant: Tenant, **headers: str) -> ApiClient:
    shop.tenants["c1"] = tenant
    client = ApiClient(enforce_csrf_checks=True, headers=headers or None)
    client.cookies[COOKIE] = "c1"
    return client


def test_a_credential_that_may_be_a_cookie_needs_the_csrf_token_for_what_changes_something():
    client = by_cookie(Tenant("acme", "ann", "member"))

    assert client.ask("tasks/").status_code == 200
    refused = client.send("tasks/", NEW)
    assert code(refused) == (403, "PERMISSION_DENIED")
    assert "CSRF" in refused.json()["detail"]
    token = "a" * 32
    client.cookies["csrftoken"] = token
    assert client.send("tasks/", NEW, **{"X-CSRFToken": token}).status_code == 201


def test_a_credential_that_is_no_cookie_needs_none():
    assert by_cookie(ANN).send("tasks/", NEW).status_code == 201


def test_an_organization_is_made_when_the_project_says_so():
    made = client_of(Tenant("new-one", "ann", "member", csrf_checked=True, create=True))
    other = client_of(Tenant("other", "ann", "member", csrf_checked=True), "t2")

    assert made.send("tasks/", NEW).status_code == 201
    assert Organization.objects.get(pk="new-one").tier is None
    assert code(other.ask("tasks/")) == (404, "ORGANIZATION_UNKNOWN")
    assert code(other.send("tasks/", NEW)) == (404, "ORGANIZATION_UNKNOWN")
    assert not Organization.objects.filter(pk="other").exists()


def test_without_the_csrf_token_no_organization_is_made():
    client = by_cookie(Tenant("new-one", "ann", "member", create=True))

    assert client.send("tasks/", NEW).status_code == 403
    assert not Organization.objects.filter(pk="new-one").exists()


NONSENSE: dict[str, Any] = {
    "an error": ZeroDivisionError("secret detail"),
    "a key error": KeyError("secret detail"),
    "text": "acme",
    "a dict": {"organization_id": "acme", "user_id": "ann", "role": "member"},
    "an id that is none": Tenant("no such id", "ann", "member"),
    "an id of another type": Tenant(7, "ann", "member"),  # type: ignore[arg-type]
    "no user": Tenant("acme", "", "member"),
    "a user of another type": Tenant("acme", 7, "member"),  # type: ignore[arg-type]
    "a role that is none": Tenant("acme", "ann", "owner"),
    "a flag that is none": Tenant("acme", "ann", "member", csrf_checked="yes"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("found", NONSENSE.values(), ids=NONSENSE)
def test_a_callable_that_fails_or_returns_nonsense_is_a_problem_that_operators_see(
    found: Any, caplog: pytest.LogCaptureFixture
):
    reported: list[Any] = []

    def report(sender: Any, **kwargs: Any) -> None:
        reported.append(sender)

    got_request_exception.connect(report)
    client = client_of(found)
    client.raise_request_exception = False
    try:
        answer = client.ask("tasks/")
    finally:
        got_request_exception.disconnect(report)

    assert code(answer) == (500, "TENANT_CALLABLE_FAILED")
    assert answer["Content-Type"] == "application/problem+json"
    assert "secret" not in answer.content.decode()
    (record,) = [r for r in caplog.records if r.name == "plugspace_queue.api"]
    assert "TENANT_OF_REQUEST" in record.getMessage()
    assert record.exc_info
    assert reported


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (errors.AuthenticationRefused("expired"), (401, "AUTHENTICATION_ERROR")),
        (AuthenticationFailed("expired"), (401, "AUTHENTICATION_ERROR")),
        (PermissionDenied("not you"), (403, "PERMISSION_DENIED")),
        (OperationalError("away"), (503, "UNAVAILABLE")),
    ],
)
def test_a_callable_may_refuse_by_itself(raised: Exception, told: tuple[int, str]):
    assert code(client_of(raised).ask("tasks/")) == told


def test_the_document_says_that_the_project_has_credentials_of_its_own():
    openapi.clear_cache()
    try:
        document = openapi.document()
    finally:
        openapi.clear_cache()

    assert "project" in document["components"]["securitySchemes"]
    names = [name for one in document["paths"]["/api/v1/tasks/"]["get"]["security"] for name in one]
    assert names == ["apiKey", "project", "session"]


# Streams.


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), patient(50)))


async def opened(**more: Any) -> Request:
    stream = Request("/api/v1/organizations/acme/events/", **more)
    await until(lambda: stream.body, stream)
    return stream


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants, "TENANT_INTERVAL", 0.1)


def test_an_open_stream_ends_when_the_project_no_longer_knows_its_token(often: None):
    shop.tenants["eyJ1"], shop.tenants["eyJ2"] = ANN, ANN

    async def main() -> Request:
        first, second = await opened(key="eyJ1"), await opened(key="eyJ2")
        asked = len(shop.asked_in)
        await until(lambda: len(shop.asked_in) > asked + 2, first, second)
        assert b"event: end" not in first.body + second.body
        del shop.tenants["eyJ1"]
        await first.task
        assert not second.task.done()
        second.hang_up()
        await second.task
        return first

    ended = run(main)

    assert b'"reason": "forbidden"' in ended.body
    assert any("plugspace-tenants" in name for name in shop.asked_in)
    assert "MainThread" not in shop.asked_in
    assert stream_limits.open_streams() == 0


@pytest.mark.parametrize(
    "now",
    [
        None,
        errors.AuthenticationRefused("expired"),
        Tenant("globex", "ann", "member"),
        Tenant("acme", "bob", "member"),
    ],
    ids=["unknown", "refused", "of another organization", "another user"],
)
def test_an_open_stream_ends_when_the_answer_has_changed(often: None, now: Any):
    shop.tenants["eyJ1"] = ANN

    async def main() -> bytes:
        stream = await opened(key="eyJ1")
        shop.tenants["eyJ1"] = now
        await stream.task
        return stream.body

    assert b'"reason": "forbidden"' in run(main)


def test_an_open_stream_ends_when_its_organization_is_suspended(often: None):
    shop.tenants["eyJ1"] = ANN

    def suspend() -> None:
        Organization.objects.update(is_suspended=True)
        connections.close_all()

    async def main() -> bytes:
        stream = await opened(key="eyJ1")
        await asyncio.to_thread(suspend)
        await stream.task
        return stream.body

    assert b'"reason": "forbidden"' in run(main)


@pytest.mark.parametrize(
    "failing", [ZeroDivisionError("away"), OperationalError("away"), "nonsense"]
)
def test_an_open_stream_stays_while_the_callable_fails(
    often: None, failing: Any, caplog: pytest.LogCaptureFixture
):
    shop.tenants["eyJ1"] = ANN

    async def main() -> None:
        stream = await opened(key="eyJ1")
        shop.tenants["eyJ1"] = failing
        asked = len(shop.asked_in)
        await until(lambda: len(shop.asked_in) > asked + 2, stream)
        assert b"event: end" not in stream.body
        stream.hang_up()
        await stream.task

    run(main)

    assert "TENANT_OF_REQUEST" in caplog.text


def test_a_user_who_is_deactivated_is_read_anew_for_an_open_stream(often: None, settings: Any):
    settings.PLUGSPACE_QUEUE = {"TENANT_OF_REQUEST": "tests.api.tenancy.of_session"}
    user = get_user_model().objects.create_user("kim")
    client = Client()
    client.force_login(user)

    def deactivate() -> None:
        get_user_model().objects.update(is_active=False)
        connections.close_all()

    async def main() -> bytes:
        stream = await opened(cookie=client.cookies["sessionid"].value)
        await asyncio.to_thread(deactivate)
        await stream.task
        return stream.body

    assert b'"reason": "forbidden"' in run(main)


def test_streams_of_one_tenant_share_the_limits_of_a_user(settings: Any):
    settings.PLUGSPACE_QUEUE = {**settings.PLUGSPACE_QUEUE, "MAX_STREAMS_PER_KEY": 1}
    shop.tenants["eyJ1"] = shop.tenants["eyJ2"] = ANN

    async def main() -> Request:
        first = await opened(key="eyJ1")
        second = Request("/api/v1/organizations/acme/events/", "eyJ2")
        await second.task
        first.hang_up()
        await first.task
        return second

    refused = run(main)

    assert refused.status == 429
    assert json.loads(refused.body)["limitOf"] == "user"
