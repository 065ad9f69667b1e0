"""What staff set over HTTP: queues and organizations; what others see of theirs."""

from collections.abc import Callable
from typing import Any

import pytest

from plugspace_queue import conf
from plugspace_queue.broker import keys
from plugspace_queue.limits import policies
from plugspace_queue.models import Organization, QueueSettings
from tests.api.conftest import ApiClient
from tests.factories import make_organization

pytestmark = pytest.mark.django_db(transaction=True)


def gates(redis: Any, queue: str = "code") -> dict[str, str]:
    return {k.decode(): v.decode() for k, v in redis.hgetall(keys.meta(queue)).items()}


def test_staff_change_a_queue_and_the_next_acquire_obeys(administrator: ApiClient, redis: Any):
    change = {
        "limiter": {"max": 7, "duration": 2.5},
        "concurrency": 9,
        "globalConcurrency": 4,
        "organizationConcurrency": 2,
        "policy": "weighted",
    }

    told = administrator.change("queues/code/", change)

    assert told.status_code == 200
    assert told.json() | change == told.json()
    assert policies.queue_settings("CODE").concurrency == 9
    written = gates(redis)
    assert (written["limiter"], written["limiter_ms"]) == ("7", "2500")
    assert (written["concurrency"], written["org_cap"], written["weighted"]) == ("4", "2", "1")


def test_what_is_left_out_stays_and_null_gives_back_the_default(administrator: ApiClient):
    administrator.change("queues/code/", {"limiter": {"max": 7, "duration": 2}, "concurrency": 9})

    kept = administrator.change("queues/code/", {"policy": "weighted"}).json()
    given_back = administrator.change("queues/code/", {"limiter": None, "concurrency": None}).json()

    assert (kept["limiter"], kept["concurrency"]) == ({"max": 7, "duration": 2.0}, 9)
    assert (given_back["limiter"]["max"], given_back["concurrency"]) == (50, 3)
    assert given_back["policy"] == "weighted"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"concurrency": 0}, ["concurrency"]),
        ({"concurrency": True}, ["concurrency"]),
        ({"concurrency": 10**12}, ["concurrency"]),
        ({"limiter": {"max": 5}}, ["limiter", "duration"]),
        ({"limiter": {"max": 5, "duration": 0}}, ["limiter", "duration"]),
        ({"limiter": {"max": 5, "duration": 1e9}}, ["limiter", "duration"]),
        ({"policy": "lottery"}, ["policy"]),
        ({"defaultPriority": 4}, ["defaultPriority"]),
        ({"isPaused": True}, ["isPaused"]),
    ],
)
def test_a_value_that_no_queue_can_have_is_named(
    staff: ApiClient, change: dict[str, Any], place: list[str]
):
    told = staff.change("queues/code/", change)

    assert (told.status_code, told.json()["code"]) == (400, "VALIDATION_ERROR")
    assert told.json()["errors"][0]["loc"] == place
    assert not QueueSettings.objects.filter(limiter_max=5).exists()


@pytest.mark.parametrize("path", ["queues/code/", "organizations/acme/"])
def test_only_staff_who_operate_change_settings(
    acme: ApiClient, member_of: Callable[..., ApiClient], path: str
):
    for client in (acme, member_of("acme", role="admin")):
        assert client.change(path, {}).json()["code"] == "PERMISSION_DENIED"


def test_a_change_without_redis_is_done_and_told_without_figures(staff: ApiClient, settings: Any):
    settings.RQ_QUEUES, _ = conf.rq_settings(url="redis://127.0.0.1:1/0")

    changed = staff.change("queues/code/", {"concurrency": 8})
    paused = staff.send("queues/code/pause/")

    assert (changed.status_code, changed.json()["concurrency"]) == (200, 8)
    assert (paused.status_code, paused.json()["isPaused"], paused.json()["active"]) == (
        200,
        True,
        None,
    )


def test_staff_change_an_organization(administrator: ApiClient, redis: Any):
    make_organization("acme", tier="free")

    told = administrator.change(
        "organizations/acme/", {"tier": "professional", "name": "Acme", "isSuspended": True}
    )

    assert told.status_code == 200
    assert (told.json()["tier"], told.json()["name"]) == ("professional", "Acme")
    assert told.json()["isSuspended"] is True
    assert redis.get(keys.organization_tier("acme")) == b"professional"
    assert administrator.change("organizations/acme/", {"tier": None}).json()["tier"] is None
    assert Organization.objects.get().name == "Acme"
    assert administrator.change("organizations/acme/", {"name": ""}).json()["name"] == ""


@pytest.mark.parametrize(
    "change", [{"tier": "gold"}, {"name": "a\u0085b"}, {"isSuspended": None}, {"id": "other"}]
)
def test_a_change_that_no_organization_can_have_is_refused(
    administrator: ApiClient, change: dict[str, Any]
):
    make_organization("acme")

    told = administrator.change("organizations/acme/", change)

    assert (told.status_code, told.json()["code"]) == (400, "VALIDATION_ERROR")
    assert Organization.objects.get().tier_id == "enterprise"


def test_a_change_makes_no_organization(administrator: ApiClient):
    told = administrator.change("organizations/nobody/", {"tier": "free"})

    assert (told.status_code, told.json()["code"]) == (404, "ORGANIZATION_UNKNOWN")
    assert not Organization.objects.exists()


def test_an_organization_sees_itself_and_no_other(key_of: Callable[..., ApiClient]):
    make_organization("rival")
    client = key_of("acme")

    assert client.ask("organizations/acme/").json()["tier"] == "enterprise"
    assert client.ask("organizations/rival/").status_code == 404


def test_usage_tells_the_running_window_of_requests(acme: ApiClient, settings: Any):
    new = {"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "A bakery"}}
    idle = acme.ask("organizations/acme/usage/").json()["requests"]
    acme.send("tasks/", new)

    window = acme.ask("organizations/acme/usage/").json()["requests"]

    assert idle == {"limit": 100, "duration": 60.0, "used": 0, "remaining": 100, "reset": 0}
    assert (window["used"], window["remaining"]) == (1, 99)
    assert 1 <= window["reset"] <= 60
    settings.RQ_QUEUES, _ = conf.rq_settings(url="redis://127.0.0.1:1/0")
    without = acme.ask("organizations/acme/usage/")
    assert without.json()["requests"]["used"] is None
    assert without.json()["usage"]["ARCHITECT"]["used"] == 1
