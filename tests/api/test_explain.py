"""Explain over HTTP: whoever may read a task may ask why it waits, and sees nothing of others."""

from collections.abc import Callable

import pytest

from plugspace_queue import queue_manager
from plugspace_queue.broker import presence, routing, task_store
from plugspace_queue.domain.enums import Scope, State
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.publishing import projections
from tests.api.conftest import ApiClient
from tests.factories import arguments, make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)

QUEUE = "architect"


@pytest.fixture
def running() -> list[str]:
    """Two tasks of a rival and one of acme run on the worker host-7."""
    projections.write_queue(TaskType.ARCHITECT)
    routing.ask(presence.heartbeat(QUEUE, worker="host-7", slots=5), QUEUE)
    ids = []
    for organization in ("acme", "rival", "rival"):
        make_organization(organization)
        ids.append(str(queue_manager.add_task(**arguments(organization_id=organization)).pk))
    routing.ask(task_store.acquire(QUEUE, worker="host-7", want=3, lease_ms=10_000), QUEUE)
    return ids


def waiting() -> str:
    make_organization()
    return str(queue_manager.add_task(**arguments()).pk)


def test_a_key_that_may_read_gets_the_reason_why_its_task_waits(
    key_of: Callable[..., ApiClient], running: list[str]
):
    client = key_of("acme", Scope.READ)
    task_id = waiting()

    response = client.ask(f"tasks/{task_id}/explain/")
    told = response.json()

    assert response.status_code == 200
    assert (told["taskId"], told["reason"]) == (task_id, "waiting_its_turn")
    assert told["gates"][0] == {"gate": "queue_paused", "verdict": "open"}
    assert told["slots"]["used"] == 3
    assert [holder["taskId"] for holder in told["slots"]["holders"]] == [running[0]]
    text = response.content.decode()
    assert not any(word in text for word in ("rival", "host-7", *running[1:]))


def test_staff_see_which_organizations_occupy_the_slots(staff: ApiClient, running: list[str]):
    told = staff.ask(f"tasks/{waiting()}/explain/").json()

    holders = told["slots"]["holders"]
    assert {holder["taskId"] for holder in holders} == set(running)
    assert {holder["worker"] for holder in holders} == {"host-7"}
    assert {holder["organizationId"] for holder in holders} == {"acme", "rival"}


def test_another_organizations_task_is_not_found(key_of: Callable[..., ApiClient]):
    task_id = waiting()

    response = key_of("rival").ask(f"tasks/{task_id}/explain/")

    assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")


def test_a_key_that_may_not_read_is_refused(key_of: Callable[..., ApiClient]):
    client = key_of("acme", Scope.SUBMIT)

    assert client.ask(f"tasks/{waiting()}/explain/").status_code == 403


def test_without_redis_only_an_ended_task_can_be_explained(acme: ApiClient, settings):
    live, ended = waiting(), make_task(state=State.EXPIRED).pk
    settings.RQ_QUEUES = {
        name: config | {"UNIX_SOCKET_PATH": "/nowhere/redis.sock"}
        for name, config in settings.RQ_QUEUES.items()
    }

    away = acme.ask(f"tasks/{live}/explain/")

    assert (away.status_code, away.json()["code"]) == (503, "UNAVAILABLE")
    assert away["Retry-After"]
    assert acme.ask(f"tasks/{ended}/explain/").json()["reason"] == "expired"
