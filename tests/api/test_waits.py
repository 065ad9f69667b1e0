"""`GET tasks/{id}/?wait=…`: nobody polls, and nobody holds more than a place among its streams."""

import asyncio
import gc
import json
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import override_settings
from django.utils import timezone
from redis import Redis

from plugspace_queue import queue_manager
from plugspace_queue.api import grants, stream_limits, waits
from plugspace_queue.models import ApiKey, Membership, Organization, Task
from tests.api.asgi import Request, until
from tests.api.conftest import ApiClient
from tests.factories import arguments, make_organization
from tests.support import patient, wait_until, wake_readers

pytestmark = pytest.mark.django_db(transaction=True)

Key = Callable[..., ApiClient]


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch, redis: Redis) -> Any:
    """Only events end a wait; afterwards no place, no reader and no thread is taken."""
    monkeypatch.setattr(waits, "RECHECK", 600.0)
    yield
    connections.close_all()
    # A response that never began is garbage of a cycle that REST framework makes.
    gc.collect()
    wait_until(lambda: stream_limits.open_streams() == 0, 5, "a place is still taken")
    wake_readers(redis)
    wait_until(lambda: not _alive("EndReader") and not _alive("_GrantWatch"), 5)
    assert waits._threads == 0


def asked_apart(caller: ApiClient, task: Task) -> Any:
    """A request in a thread of its own, which closes its connection as a server's would."""
    try:
        return caller.ask(f"tasks/{task.pk}/", wait=30)
    finally:
        connections.close_all()


def _alive(kind: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if type(thread).__name__ == kind]


def one_task() -> Task:
    make_organization()
    task = queue_manager.add_task(**arguments())
    connections.close_all()
    return task


def cancel(task: Task) -> None:
    queue_manager.cancel(task.pk)
    connections.close_all()


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), patient(50)))


def secret(organization_id: str = "acme") -> str:
    return ApiKey.issue(make_organization(organization_id), ["read"])[1]


def address(task: Task, seconds: object = 30) -> str:
    return f"/api/v1/tasks/{task.pk}/?wait={seconds}"


def asked(task: Task, key: str, count: int = 1, **more: Any) -> list[Request]:
    return [Request(address(task), key, accept="*/*", **more) for _ in range(count)]


def test_under_wsgi_a_request_waits_until_the_task_has_ended(acme: ApiClient):
    task = one_task()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(asked_apart, acme, task)
        wait_until(lambda: _alive("EndReader"), 10)
        assert not waiting.done()
        cancel(task)
        answer = waiting.result(patient(20))

    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")


def test_a_task_that_does_not_end_is_answered_as_it_is(acme: ApiClient):
    task = one_task()

    answer = acme.ask(f"tasks/{task.pk}/", wait=0.2)

    assert (answer.status_code, answer.json()["state"]) == (200, "waiting")


def test_a_task_that_has_ended_is_answered_at_once_and_takes_no_place(
    acme: ApiClient, monkeypatch: pytest.MonkeyPatch
):
    task = one_task()
    cancel(task)
    monkeypatch.setattr(stream_limits, "claim", None)

    answer = acme.ask(f"tasks/{task.pk}/", wait=30)

    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")


@pytest.mark.parametrize("seconds", ["31", "-1", "nan", "inf", "soon", "", "1e9"])
def test_a_wait_that_is_none_is_refused(acme: ApiClient, seconds: str):
    answer = acme.ask(f"tasks/{one_task().pk}/", wait=seconds)

    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert answer.json()["field"] == "wait"


def test_another_organizations_task_is_not_found_at_once(key_of: Key):
    answer = key_of("globex").ask(f"tasks/{one_task().pk}/", wait=30)

    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


@override_settings(PLUGSPACE_QUEUE={"WAIT_THREADS": 2})
def test_under_wsgi_few_threads_wait_and_further_requests_are_answered_at_once(acme: ApiClient):
    task = one_task()

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(asked_apart, acme, task) for _ in range(2)]
        wait_until(lambda: waits._threads == 2, 10)
        answer = acme.ask(f"tasks/{task.pk}/", wait=30)
        assert (answer.status_code, answer.json()["state"]) == (200, "waiting")
        assert not any(future.done() for future in waiting)
        cancel(task)
        answers = [future.result(patient(20)) for future in waiting]

    assert [answer.json()["state"] for answer in answers] == ["cancelled"] * 2


def test_in_a_transaction_nothing_waits(acme: ApiClient):
    task = one_task()

    with transaction.atomic():
        answer = acme.ask(f"tasks/{task.pk}/", wait=30)

    assert answer.json()["state"] == "waiting"


@pytest.mark.parametrize(
    ("limits", "status", "told"),
    [
        ({"MAX_STREAMS_PER_KEY": 1}, 429, {"limitOf": "key"}),
        ({"MAX_STREAMS_PER_ORGANIZATION": 1}, 429, {"limitOf": "organization"}),
        ({"MAX_STREAMS": 1}, 503, {"code": "UNAVAILABLE"}),
    ],
)
def test_a_wait_counts_as_a_stream(limits: dict[str, int], status: int, told: dict[str, str]):
    task = one_task()
    key = secret()

    async def main() -> Request:
        first, *_ = asked(task, key)
        await until(lambda: stream_limits.open_streams() == 1, first)
        refused, *_ = asked(task, key)
        await refused.task
        first.hang_up()
        await first.task
        return refused

    with override_settings(PLUGSPACE_QUEUE=limits):
        refused = run(main)

    assert refused.status == status
    assert told.items() <= json.loads(refused.body).items()
    assert refused.headers["Retry-After"]


def test_a_suspended_organization_may_look_but_not_wait(acme: ApiClient):
    task = one_task()
    Organization.objects.update(is_suspended=True)

    assert acme.ask(f"tasks/{task.pk}/").status_code == 200
    answer = acme.ask(f"tasks/{task.pk}/", wait=1)

    assert (answer.status_code, answer.json()["code"]) == (403, "ORGANIZATION_SUSPENDED")


def test_under_asgi_many_requests_wait_in_no_thread(key_of: Key):
    task, key, count = one_task(), secret(), 40

    async def main() -> list[Request]:
        before = threading.active_count()
        requests = asked(task, key, count)
        await until(lambda: stream_limits.open_streams() == count, *requests)
        # The reader, the watch of grants, and the small pool; none of a request's own.
        await until(lambda: threading.active_count() <= before + 8, *requests)
        await asyncio.to_thread(cancel, task)
        await asyncio.gather(*(request.task for request in requests))
        return requests

    requests = run(main)

    assert {request.status for request in requests} == {200}
    assert {json.loads(request.body)["state"] for request in requests} == {"cancelled"}
    assert requests[0].headers["Content-Type"] == "application/json"
    assert "no-store" in requests[0].headers["Cache-Control"]


def test_under_asgi_a_task_that_does_not_end_is_answered_as_it_is():
    task, key = one_task(), secret()

    async def main() -> Request:
        request = Request(address(task, 0.2), key, accept="*/*")
        await request.task
        return request

    request = run(main)

    assert (request.status, json.loads(request.body)["state"]) == (200, "waiting")


def test_a_client_that_goes_away_gives_its_place_back():
    task, key = one_task(), secret()

    async def main() -> None:
        request, *_ = asked(task, key)
        await until(lambda: stream_limits.open_streams() == 1, request)
        request.hang_up()
        await request.task

    run(main)


def revoke() -> None:
    ApiKey.objects.update(revoked_at=timezone.now())
    connections.close_all()


def test_under_asgi_a_revoked_key_ends_the_wait(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(grants, "INTERVAL", 0.1)
    task, key = one_task(), secret()

    async def main() -> Request:
        request, *_ = asked(task, key)
        await until(lambda: stream_limits.open_streams() == 1, request)
        await asyncio.to_thread(revoke)
        await request.task
        return request

    request = run(main)

    assert (request.status, json.loads(request.body)["code"]) == (401, "AUTHENTICATION_ERROR")
    assert request.headers["WWW-Authenticate"].startswith("Bearer")


def test_under_asgi_a_suspension_ends_the_wait_and_is_told_as_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(grants, "INTERVAL", 0.1)
    task, key = one_task(), secret()

    def suspend() -> None:
        Organization.objects.update(is_suspended=True)
        connections.close_all()

    async def main() -> Request:
        request, *_ = asked(task, key)
        await until(lambda: stream_limits.open_streams() == 1, request)
        await asyncio.to_thread(suspend)
        await request.task
        return request

    request = run(main)

    # The key is as good as before, so a client must not throw it away.
    assert (request.status, json.loads(request.body)["code"]) == (403, "ORGANIZATION_SUSPENDED")


def test_under_wsgi_a_membership_that_is_gone_ends_the_wait(
    member_of: Callable[..., ApiClient], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(grants, "INTERVAL", 0.1)
    task, member = one_task(), member_of("acme")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(asked_apart, member, task)
        wait_until(lambda: waits._threads == 1, 10)
        Membership.objects.all().delete()
        answer = waiting.result(patient(20))

    assert (answer.status_code, answer.json()["code"]) == (401, "AUTHENTICATION_ERROR")


def test_an_end_that_no_event_tells_is_found_by_reading_the_row(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(waits, "RECHECK", 0.1)
    task, key = one_task(), secret()

    def end_quietly() -> None:
        Task.objects.filter(pk=task.pk).update(state="cancelled", completed_at=timezone.now())
        connections.close_all()

    async def main() -> Request:
        request, *_ = asked(task, key)
        await until(lambda: stream_limits.open_streams() == 1, request)
        await asyncio.to_thread(end_quietly)
        await request.task
        return request

    assert json.loads(run(main).body)["state"] == "cancelled"


def test_a_wait_holds_no_transaction_open_whatever_the_project_says(acme: ApiClient):
    task = one_task()
    settings = connections["default"].settings_dict
    settings["ATOMIC_REQUESTS"] = True
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(asked_apart, acme, task)
            wait_until(lambda: waits._threads == 1, 10)
            cancel(task)
            assert waiting.result(patient(20)).json()["state"] == "cancelled"
    finally:
        settings["ATOMIC_REQUESTS"] = False
