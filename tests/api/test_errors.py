"""One shape for every error, whoever raised it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client, override_settings

from plugspace_queue import conf
from plugspace_queue.api import health
from plugspace_queue.api.base import ApiView
from plugspace_queue.models import Task, TierPolicy
from tests.api.conftest import ApiClient
from tests.factories import make_organization

pytestmark = pytest.mark.django_db

NEW = {"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "A bakery"}}
MEMBERS = {"type", "title", "status", "code", "detail"}


def raw(client: ApiClient, body: bytes | str, content_type: str = "application/json"):
    return client.post("/api/v1/tasks/", body, content_type=content_type)


def assert_problem(response, status: int, code: str):
    body = response.json()
    assert (response.status_code, body["code"], body["status"]) == (status, code, status)
    assert set(body) >= MEMBERS
    assert body["type"] == "about:blank"
    assert response["Content-Type"] == "application/problem+json"
    assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize(
    "body",
    ["{", '{"a": NaN}', b"\xff\xfe", "[" * 100_000, '{"a": 1' + "0" * 5000 + "}", "[]", "7", ""],
)
def test_a_body_that_is_no_json_object_is_a_validation_error(acme: ApiClient, body: bytes | str):
    assert_problem(raw(acme, body), 400, "VALIDATION_ERROR")


INPUT = '"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "A bakery"}'


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        ("tasks/", f'{{{INPUT}, "projectId": "site"}}', "projectId"),
        ("tasks/", f'{{{INPUT}, "project\\u0049d": "other"}}', "projectId"),
        ("tasks/", f'{{{INPUT.replace("}", ", ")}"prompt": "B"}}}}', "prompt"),
        ("tasks/bulk/", f'{{"tasks": [{{{INPUT}}}, {{{INPUT}, "type": "CODE"}}]}}', "type"),
        ("workflows/", '{"projectId": "a", "input": {"prompt": "b"}, "input": {}}', "input"),
        ("tasks/", '{"a": [{"b": {"' + "k" * 5_000 + '": 1, "' + "k" * 5_000 + '": 1}}]}', "kkk"),
    ],
)
def test_a_repeated_key_in_an_object_is_refused(acme: ApiClient, path: str, body: str, key: str):
    response = acme.post(f"/api/v1/{path}", body, content_type="application/json")

    assert_problem(response, 400, "VALIDATION_ERROR")
    assert key in response.json()["detail"]
    assert len(response.json()["detail"]) < 300
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"type": "PAINT"}, ["type"]),
        ({"projectId": ""}, ["projectId"]),
        ({"input": "words"}, ["input"]),
        ({"priority": "1"}, ["priority"]),
        ({"runAt": 17}, ["runAt"]),
        ({"runAt": "1999999999"}, ["runAt"]),
        ({"runAt": "2030-01-01T00:00:00"}, ["runAt"]),
        ({"nonsense": 1}, ["nonsense"]),
    ],
)
def test_a_wrong_field_is_named(acme: ApiClient, change: dict[str, object], place: list[str]):
    response = acme.send("tasks/", NEW | change)

    assert_problem(response, 400, "VALIDATION_ERROR")
    assert response.json()["errors"][0]["loc"] == place


def test_an_input_that_the_type_does_not_take_is_refused_with_its_place(acme: ApiClient):
    response = acme.send("tasks/", NEW | {"input": {"prompt": "x", "colour": "red"}})

    assert_problem(response, 400, "VALIDATION_ERROR")
    assert "colour" in str(response.json()["errors"])


@pytest.mark.parametrize("text", ["nul \x00", "lone \ud800"])
def test_text_that_no_database_stores_is_refused(acme: ApiClient, text: str):
    response = acme.send("tasks/", NEW | {"input": {"prompt": text}})

    assert_problem(response, 400, "VALIDATION_ERROR")


def test_wrong_method_media_type_and_accept_have_codes_of_their_own(acme: ApiClient):
    assert_problem(acme.delete("/api/v1/tasks/"), 405, "METHOD_NOT_ALLOWED")
    assert_problem(raw(acme, "a=1", "text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE")
    response = acme.get("/api/v1/tasks/", headers={"Accept": "text/csv"})
    assert_problem(response, 406, "NOT_ACCEPTABLE")


@pytest.mark.parametrize("path", ["tasks/", "queues/code/", "exports/x/"])
def test_another_format_is_not_acceptable_rather_than_not_there(acme: ApiClient, path: str):
    response = acme.ask(path, format="xml")

    assert_problem(response, 406, "NOT_ACCEPTABLE")
    assert "application/json" in response.json()["detail"]


@pytest.mark.parametrize("name", ["projectId", "cursor"])
def test_a_query_that_no_database_stores_is_refused_as_a_query(acme: ApiClient, name: str):
    response = acme.ask("tasks/", **{name: "a\x00b"})

    assert_problem(response, 400, "VALIDATION_ERROR")
    assert response.json()["detail"].startswith("query: ")


@pytest.mark.parametrize("path", ["nowhere/", "tasks", "tasks/7/", "tasks/a%0Ab/", "queues/paint/"])
def test_an_unknown_address_is_a_problem_too(acme: ApiClient, path: str):
    assert_problem(acme.ask(path), 404, "NOT_FOUND")


def test_a_body_above_the_limit_is_413_before_it_is_parsed(acme: ApiClient):
    response = raw(acme, b"[" * 400_000)

    assert_problem(response, 413, "PAYLOAD_TOO_LARGE")
    assert response.json()["title"] == "Content Too Large", "the phrase of Python 3.11 is another"


@pytest.mark.parametrize("path", ["tasks/", "tasks/bulk/", "workflows/"])
def test_a_body_in_chunks_is_refused_and_not_taken_for_an_empty_one(acme: ApiClient, path: str):
    response = acme.post(
        f"/api/v1/{path}",
        NEW,
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        CONTENT_LENGTH="",
    )

    assert_problem(response, 411, "LENGTH_REQUIRED")
    assert "Content-Length" in response.json()["detail"]


def test_an_input_above_the_limit_is_413(acme: ApiClient):
    features = ["x" * 290] * 50
    big = {"prompt": "x" * 19_000, "context": {"features": features}}
    with override_settings(PLUGSPACE_QUEUE={"MAX_INPUT": 20_000}):
        response = acme.send("tasks/", NEW | {"input": big})

    assert_problem(response, 413, "PAYLOAD_TOO_LARGE")


def test_a_used_up_quota_is_402_with_its_figures(acme: ApiClient):
    make_organization("acme", tier="free")
    told = [acme.send("tasks/", NEW | {"type": "DEPLOY", "input": {}}) for _ in range(2)]

    assert told[0].status_code == 201
    assert_problem(told[1], 402, "QUOTA_EXCEEDED")
    assert told[1].json()["limit"] == 1


def test_a_full_window_is_429_with_retry_after_and_headers(acme: ApiClient):
    TierPolicy.objects.filter(slug="enterprise").update(request_limit=1)
    first, second = acme.send("tasks/", NEW), acme.send("tasks/", NEW)

    assert (first["RateLimit-Limit"], first["RateLimit-Remaining"]) == ("1", "0")
    assert 1 <= int(first["RateLimit-Reset"]) <= 60
    assert_problem(second, 429, "REQUEST_RATE_LIMITED")
    assert 1 <= int(second["Retry-After"]) <= 60
    assert second["RateLimit-Remaining"] == "0"


def test_a_priority_above_the_tier_is_refused(acme: ApiClient):
    make_organization("acme", tier="free")

    assert_problem(acme.send("tasks/", NEW | {"priority": 0}), 403, "PERMISSION_DENIED")


def test_an_unavailable_database_is_503_with_retry_after(
    acme: ApiClient, monkeypatch: pytest.MonkeyPatch
):
    def fail(*args: object, **kwargs: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(ApiView, "initial", fail)
    response = acme.ask("tasks/")

    assert_problem(response, 503, "UNAVAILABLE")
    assert int(response["Retry-After"]) >= 1


def test_an_unexpected_error_is_logged_and_hides_its_details(
    key_of: Callable[..., ApiClient],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(ApiView, "initial", fail)
    client = key_of("acme")
    client.raise_request_exception = False
    response = client.ask("tasks/")

    assert_problem(response, 500, "INTERNAL_ERROR")
    assert "secret" not in response.content.decode()
    assert "unexpected error" in caplog.text


def test_probes_need_no_credentials():
    assert Client().get("/healthz").json() == {"status": "ok"}
    assert Client().get("/readyz").json() == {"status": "ok", "database": "ok", "redis": "ok"}


def test_without_redis_tasks_are_accepted_and_only_live_reads_are_503(
    acme: ApiClient, settings: Any
):
    settings.RQ_QUEUES, _ = conf.rq_settings(url="redis://127.0.0.1:1/0")

    told = acme.send("tasks/", NEW)
    cancelled = acme.send(f"tasks/{told.json()['id']}/cancel/")

    assert told.status_code == 201
    assert "RateLimit-Limit" not in told
    assert acme.ask("tasks/").status_code == 200
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "waiting")
    assert_problem(acme.ask("queues/"), 503, "UNAVAILABLE")
    probe = acme.get("/readyz")
    assert (probe.status_code, probe.json()["status"]) == (200, "degraded")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"projectId": "a\u0085b"}, "projectId"),
        ({"runAt": "2999-01-01T00:00:00Z"}, "runAt"),
        ({"runAt": "0001-01-01T00:00:00+23:59"}, "runAt"),
    ],
)
def test_a_field_is_named_as_it_was_sent(acme: ApiClient, change: dict[str, str], place: str):
    response = acme.send("tasks/", NEW | change)

    assert_problem(response, 400, "VALIDATION_ERROR")
    assert response.json()["errors"][0]["loc"] == [place]
    assert response.json()["detail"].startswith(f"{place}: ")


def test_the_probe_reports_a_broken_connection_to_the_database(monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise InterfaceError("connection already closed")

    monkeypatch.setattr(health.connection, "cursor", fail)
    response = Client().get("/readyz")

    assert (response.status_code, response.json()["database"]) == (503, "down")


def test_no_detail_replaces_a_standard_member_of_a_problem(acme: ApiClient):
    workflow = acme.send("workflows/", {"projectId": "site", "input": {"prompt": "A bakery"}})
    path = f"workflows/{workflow.json()['workflowId']}/retry/"

    refused = acme.send(path, {})

    assert_problem(refused, 409, "INVALID_STATE")
    assert refused.json()["currentStatus"] == "pending"
