"""Bodies of every size and kind, over WSGI and ASGI: read up to the limit, never answered 500."""

import asyncio
import http.client
import io
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.conf import global_settings, settings
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application

from plugspace_queue.domain.enums import Role
from plugspace_queue.models import ApiKey, Membership, Task
from tests.api.conftest import ApiClient
from tests.factories import make_organization
from tests.processes import web
from tests.support import patient

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 1024 * 1024
DJANGOS_LIMIT = 2_621_440
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=xx"
KINDS = ["application/json", FORM, MULTIPART]
PATHS = ["tasks/", "tasks/bulk/", "workflows/"]


def bulk(size: int) -> bytes:
    """A bulk of valid tasks with at most `size` bytes."""
    task = {"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "x" * 19_000}}
    count = size // (len(json.dumps(task)) + 2)
    return json.dumps({"tasks": [task] * count}).encode()


def code_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


@pytest.fixture
def member(db: None) -> ApiClient:
    """A signed-in member whose requests are checked for CSRF as a browser's are."""
    user = get_user_model().objects.create_user("ann")
    Membership.objects.create(organization=make_organization(), user=user, role=Role.ADMIN)
    client = ApiClient(enforce_csrf_checks=True)
    client.force_login(user)
    client.cookies["csrftoken"] = token = "a" * 32
    client.defaults["HTTP_X_CSRFTOKEN"] = token
    return client


def test_a_bulk_of_8_mib_is_accepted_with_the_default_limit_of_django(acme: ApiClient):
    assert settings.DATA_UPLOAD_MAX_MEMORY_SIZE == global_settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    body = bulk(8 * MIB)

    response = acme.post("/api/v1/tasks/bulk/", body, content_type="application/json")

    assert len(body) > 3 * DJANGOS_LIMIT
    assert response.status_code == 201
    assert Task.objects.count() == len(response.json()["results"]) > 400


@pytest.mark.parametrize("path", PATHS)
def test_a_body_above_the_limit_of_its_address_is_413(acme: ApiClient, path: str):
    for size in (DJANGOS_LIMIT + 1, 9 * MIB):
        if path == "tasks/bulk/" and size < 8 * MIB:
            continue
        response = acme.post(f"/api/v1/{path}", b" " * size, content_type="application/json")
        assert code_of(response) == (413, "PAYLOAD_TOO_LARGE")


def test_nothing_is_read_of_a_body_that_says_it_is_too_large(acme: ApiClient):
    """A client that announces a terabyte holds no memory and no thread of the server."""
    told = acme.generic(
        "POST",
        "/api/v1/tasks/bulk/",
        CONTENT_TYPE="application/json",
        CONTENT_LENGTH=str(1 << 40),
        **{"wsgi.input": Unread()},
    )

    assert code_of(told) == (413, "PAYLOAD_TOO_LARGE")


class Unread(io.BytesIO):
    """A body that nobody may read."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise AssertionError("the body was read")


def test_a_body_of_http_2_without_a_length_is_not_taken_for_an_empty_one(acme: ApiClient):
    assert asyncio.run(over_http_2(acme, b'{"tasks": []}')) == 411
    assert asyncio.run(over_http_2(acme, b"")) == 400


async def over_http_2(client: ApiClient, body: bytes) -> int:
    """The status of a POST as an HTTP/2 server hands it on: neither length nor chunks."""
    authorization = client.defaults["HTTP_AUTHORIZATION"].encode()
    scope = {
        "type": "http",
        "http_version": "2",
        "method": "POST",
        "path": "/api/v1/tasks/bulk/",
        "query_string": b"",
        "headers": [
            (b"host", b"testserver"),
            (b"content-type", b"application/json"),
            (b"authorization", authorization),
        ],
    }
    talk = ApplicationCommunicator(get_asgi_application(), scope)
    await talk.send_input({"type": "http.request", "body": body})
    start = await talk.receive_output(timeout=patient(10))
    await talk.wait(timeout=patient(10))
    return int(start["status"])


@pytest.mark.parametrize("who", ["acme", "member"])
@pytest.mark.parametrize("size", [100, DJANGOS_LIMIT + 1, 9 * MIB])
@pytest.mark.parametrize("kind", [FORM, MULTIPART])
def test_a_form_is_no_media_type_of_ours_however_large_and_whoever_sends_it(
    request: pytest.FixtureRequest, who: str, size: int, kind: str
):
    client: ApiClient = request.getfixturevalue(who)

    response = client.post("/api/v1/tasks/bulk/", b"a=1" + b"x" * size, content_type=kind)

    assert code_of(response) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("kind", [FORM, MULTIPART])
def test_more_fields_than_django_takes_are_no_error_of_the_server(member: ApiClient, kind: str):
    body = b"&".join(b"a=1" for _ in range(5000))
    if kind is MULTIPART:
        part = b'--xx\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        body = part * 5000 + b"--xx--"

    response = member.post("/api/v1/tasks/", body, content_type=kind)

    assert code_of(response) == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_a_member_presses_a_button_without_a_body_and_sends_a_large_bulk(member: ApiClient):
    response = member.post("/api/v1/tasks/bulk/", bulk(4 * MIB), content_type="application/json")
    task = response.json()["results"][0]["id"]
    pressed = member.post(f"/api/v1/tasks/{task}/cancel/", b"", content_type=FORM)

    assert response.status_code == 201
    assert pressed.status_code == 200


def test_a_middleware_that_reads_the_body_first_gets_the_answer_of_django(
    acme: ApiClient, settings: Any
):
    settings.MIDDLEWARE = [f"{__name__}.reading", *settings.MIDDLEWARE]

    small = acme.post("/api/v1/tasks/bulk/", bulk(1 * MIB), content_type="application/json")
    large = acme.post("/api/v1/tasks/bulk/", bulk(4 * MIB), content_type="application/json")

    assert (small.status_code, large.status_code) == (201, 400)


def reading(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A host's middleware that looks at every body."""

    def middleware(request: Any) -> Any:
        assert request.body
        return get_response(request)

    return middleware


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_a_server_reads_large_bodies_and_refuses_larger_ones_and_chunks(
    request: pytest.FixtureRequest, redis: Any, interface: str
):
    _, secret = ApiKey.issue(make_organization(), ["submit", "read"])
    with serving(request, interface) as port:
        accepted = sent(port, secret, "/api/v1/tasks/bulk/", bulk(8 * MIB))
        refused = [sent(port, secret, f"/api/v1/{path}", b" " * (9 * MIB)) for path in PATHS]
        chunked = [
            sent(port, secret, f"/api/v1/{path}", (b"x" * MIB for _ in range(count)), kind)
            for path in PATHS
            for kind in KINDS
            for count in (1, 4)
        ]
        after = sent(port, secret, "/api/v1/tasks/bulk/", bulk(MIB))

    assert (accepted, after) == ((201, None), (201, None))
    assert set(refused) == {(413, "PAYLOAD_TOO_LARGE")}
    assert set(chunked) == {(411, "LENGTH_REQUIRED")}


@contextmanager
def serving(request: pytest.FixtureRequest, interface: str) -> Iterator[int]:
    if interface == "asgi":
        with web.serving(request.getfixturevalue("tmp_path") / "web.log") as server:
            yield server.port
        return
    yield int(request.getfixturevalue("live_server").url.rpartition(":")[2])


def sent(
    port: int, secret: str, path: str, body: Any, kind: str = "application/json"
) -> tuple[int, str | None]:
    """Status and code of one request; an iterator is sent in chunks, without a length."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patient(30))
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": kind}
    with closing(connection):
        # The answer may come before the whole body has gone.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()).get("code")
