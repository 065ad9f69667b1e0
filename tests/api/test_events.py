"""Events over HTTP without an ASGI server: pages to poll, and streams that answer at once."""

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from plugspace_queue import conf, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import EventName, State
from plugspace_queue.events import publish
from plugspace_queue.models import Task
from tests.api.conftest import ApiClient
from tests.factories import arguments, make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)

SSE = {"Accept": "text/event-stream"}


def names(page: dict[str, Any]) -> list[str]:
    return [event["name"] for event in page["results"]]


def added() -> Task:
    make_organization("acme")
    return queue_manager.add_task(**arguments())


def test_a_poll_tells_what_happened_and_goes_on_from_its_cursor(acme: ApiClient):
    task, other = added(), added()
    address = f"tasks/{task.pk}/events/"

    first = acme.ask(address, since="0").json()
    queue_manager.cancel(other.pk)
    nothing = acme.ask(address, since=first["cursor"]).json()
    queue_manager.cancel(task.pk)
    rest = acme.ask(address, since=nothing["cursor"]).json()

    assert (names(first), names(nothing)) == (["taskAdded"], [])
    assert names(rest) == ["taskCancelled", "taskFailed"]
    assert {event["jobId"] for event in rest["results"]} == {str(task.pk)}
    assert names(acme.ask(address, since=rest["results"][0]["id"]).json()) == ["taskFailed"]


def test_an_organization_polls_in_pages_of_its_own(acme: ApiClient, redis: Redis):
    tasks = [added() for _ in range(5)]
    make_organization("rival")
    queue_manager.add_task(**arguments(organization_id="rival"))
    address, cursor, seen = "organizations/acme/events/", "0", []

    while page := acme.ask(address, since=cursor, limit=2).json():
        seen += [event["jobId"] for event in page["results"]]
        cursor = page["cursor"]
        if not page["results"]:
            break

    assert seen == [str(task.pk) for task in tasks]
    assert cursor == redis.xrevrange(keys.events(), count=1)[0][0].decode()


def test_a_workflow_tells_of_all_its_steps(acme: ApiClient):
    make_organization("acme")
    handle = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A bakery"})

    page = acme.ask(f"workflows/{handle.workflow_id}/events/", since="0").json()

    assert {event["jobId"] for event in page["results"]} == {str(pk) for pk in handle.task_ids}
    assert {event["workflowId"] for event in page["results"]} == {str(handle.workflow_id)}


@pytest.mark.parametrize("accept", [{}, SSE])
def test_a_stream_without_an_asgi_server_answers_with_what_is_there(
    acme: ApiClient, accept: dict[str, str]
):
    task = added()

    told = acme.get(f"/api/v1/tasks/{task.pk}/events/", headers=accept)

    assert told["Content-Type"] == "text/event-stream"
    lines = told.content.decode().splitlines()
    assert lines[0] == "retry: 2000"
    assert lines[2].startswith("id: ")
    assert lines[3] == "event: taskAdded"
    again = acme.get(
        f"/api/v1/tasks/{task.pk}/events/", headers={"Last-Event-ID": lines[2].split()[1]}
    )
    assert again.content.decode().splitlines() == ["retry: 2000", ""]


def test_who_has_seen_the_end_is_told_not_to_come_again(acme: ApiClient):
    task = added()
    queue_manager.cancel(task.pk)
    ids = [e["id"] for e in acme.ask(f"tasks/{task.pk}/events/", since="0").json()["results"]]

    def resumed(cursor: str) -> int:
        headers = SSE | {"Last-Event-ID": cursor}
        return acme.get(f"/api/v1/tasks/{task.pk}/events/", headers=headers).status_code

    assert [resumed(cursor) for cursor in ids] == [200, 200, 204]


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("kind", ["tasks", "workflows", "organizations"])
def test_what_is_another_organizations_cannot_be_listened_to(
    key_of: Callable[..., ApiClient], accept: str, kind: str
):
    make_organization("rival")
    handle = queue_manager.add_workflow("site", "ann", "rival", {"prompt": "A bakery"})
    names_of = {"tasks": handle.task_ids[0], "workflows": handle.workflow_id}
    path = f"{kind}/{names_of.get(kind, 'rival')}/events/"

    told = key_of("acme").get(f"/api/v1/{path}", headers={"Accept": accept})

    assert (told.status_code, told["Content-Type"]) == (404, "application/problem+json")
    assert told.json()["code"] in ("NOT_FOUND", "ORGANIZATION_UNKNOWN")


def test_a_suspended_organization_may_poll_and_is_refused_a_stream(
    acme: ApiClient, staff: ApiClient
):
    make_organization("acme", is_suspended=True)
    address = "/api/v1/organizations/acme/events/"

    polled, refused = acme.get(f"{address}?since=0"), acme.get(address, headers=SSE)

    assert (polled.status_code, polled.json()["results"]) == (200, [])
    assert (refused.status_code, refused.json()["code"]) == (403, "ORGANIZATION_SUSPENDED")
    assert staff.get(address, headers=SSE).status_code == 200


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_without_redis_listeners_are_told_to_come_again(
    acme: ApiClient, settings: Any, accept: str
):
    settings.RQ_QUEUES, _ = conf.rq_settings(url="redis://127.0.0.1:1/0")

    told = acme.get("/api/v1/organizations/acme/events/", headers={"Accept": accept})

    assert (told.status_code, told.json()["code"]) == (503, "UNAVAILABLE")
    assert int(told["Retry-After"]) >= 1


@pytest.mark.parametrize("cursor", ["x", "1-2-3", "-", "9" * 20])
def test_a_cursor_that_is_none_is_refused(acme: ApiClient, cursor: str):
    by_query = acme.ask("organizations/acme/events/", since=cursor)
    by_header = acme.get(
        "/api/v1/organizations/acme/events/", headers={"Last-Event-ID": cursor} | SSE
    )

    assert [r.status_code for r in (by_query, by_header)] == [400, 400]
    assert by_header.json()["code"] == "VALIDATION_ERROR"


def test_only_staff_see_the_stack_in_an_event(acme: ApiClient, staff: ApiClient):
    task = make_task(state=State.FAILED)
    error = {"code": "INTERNAL_ERROR", "message": "broken", "stack": "File …"}
    publish.emit(EventName.FAILED, task, error=error)

    def stack(client: ApiClient, **headers: str) -> bool:
        address = f"/api/v1/tasks/{task.pk}/events/"
        return "File" in client.get(address, headers=headers).content.decode()

    for accept in ("application/json", "text/event-stream"):
        assert not stack(acme, Accept=accept)
        assert stack(staff, Accept=accept)
