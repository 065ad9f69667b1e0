"""A type of a host goes everywhere that the seed's types go."""

import json
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pydantic import BaseModel
from redis import Redis

from plugspace_queue import Limiter, TaskType, errors, queue_manager, testing
from plugspace_queue.dashboards import queues
from plugspace_queue.maintenance import statistics
from plugspace_queue.models import ApiKey, Task, TierPolicy
from plugspace_queue.services import organization_stats
from tests.catalog.conftest import Declare
from tests.factories import make_organization

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = ["plugspace:transcribe", "plugspace:transcribe:wait", "plugspace:transcribe:active"]


class Audio(BaseModel):
    url: str
    language: str | None = None


class Transcript(BaseModel):
    text: str


@pytest.fixture
def transcribe(declare: Declare) -> TaskType:
    kind = declare(
        "TRANSCRIBE",
        input=Audio,
        output=Transcript,
        concurrency=4,
        limiter=Limiter(60, per=60),
        timeout=300,
        ttl=120,
        max_retries=1,
        quotas={"free": 2, "*": -1},
        label="Transcription",
    )
    make_organization("acme")
    return kind


def asked(**changes: Any) -> dict[str, Any]:
    return {
        "type": "TRANSCRIBE",
        "project_id": "p",
        "user_id": "u",
        "organization_id": "acme",
        "input": {"url": "https://example.com/a.mp3"},
        **changes,
    }


def test_it_is_submitted_and_run(transcribe: TaskType, redis: Redis):
    task = queue_manager.add_task(**asked())
    assert (task.ttl, task.max_retries, task.input["language"]) == (120, 1, None)
    assert redis.lrange("plugspace:transcribe:wait", 0, -1) == [str(task.pk).encode()]

    with testing.processors(
        {"TRANSCRIBE": lambda context: {"text": context.input.url}}, output=None
    ):
        (ended,) = testing.run_pending("TRANSCRIBE")

    assert (ended.state, ended.result) == ("complete", {"text": "https://example.com/a.mp3"})


def test_its_result_is_held_to_its_model(transcribe: TaskType):
    queue_manager.add_task(**asked())

    with testing.processors({"TRANSCRIBE": lambda context: {"words": 5}}, output=None):
        (ended,) = testing.run_pending("TRANSCRIBE")

    assert ended.error["code"] == "INVALID_RESULT"


@pytest.mark.parametrize("wrong", [{}, {"url": 5}, {"url": "a", "sped": 2}])
def test_its_input_is_held_to_its_model_and_unknown_keys_are_refused(
    transcribe: TaskType, wrong: dict[str, Any]
):
    with pytest.raises(errors.ValidationRefused) as refused:
        queue_manager.add_task(**asked(input=wrong))

    assert str(refused.value.details["field"]).startswith("input.")


def test_it_is_submitted_over_rest(transcribe: TaskType):
    _, secret = ApiKey.issue(make_organization("acme"), ["submit", "read"])
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    new = {"type": "TRANSCRIBE", "projectId": "p", "input": {"url": "https://example.com"}}

    added = client.post("/api/v1/tasks/", new, content_type="application/json")
    listed = client.get("/api/v1/tasks/?type=TRANSCRIBE").json()["results"]
    organization_stats.clear_cache()
    queue = client.get("/api/v1/queues/transcribe/").json()
    usage = client.get("/api/v1/organizations/acme/usage/").json()["usage"]["TRANSCRIBE"]

    assert (added.status_code, added.json()["type"]) == (201, "TRANSCRIBE")
    assert [one["id"] for one in listed] == [added.json()["id"]]
    assert (queue["waiting"], queue["concurrency"]) == (1, 4)
    assert queue["limiter"] == {"max": 60, "duration": 60.0}
    assert usage == {"used": 1, "quota": None, "remaining": None}


def test_its_quota_is_the_tiers_row_or_what_it_declares(transcribe: TaskType):
    make_organization("acme", tier="free")
    for _ in range(2):
        queue_manager.add_task(**asked())
    with pytest.raises(errors.QuotaExceeded):
        queue_manager.add_task(**asked())

    TierPolicy.objects.get(pk="free")
    row = TierPolicy.objects.get(pk="free")
    row.quotas = {"TRANSCRIBE": 3}
    row.save()

    queue_manager.add_task(**asked())
    with pytest.raises(errors.QuotaExceeded):
        queue_manager.add_task(**asked())


def test_a_type_without_quotas_has_the_default_of_the_tier(declare: Declare):
    declare("NOTE")
    make_organization("acme", tier="free")
    with pytest.raises(errors.QuotaExceeded):
        queue_manager.add_task(**asked(type="NOTE", input={}))

    make_organization("acme", tier="starter")
    assert queue_manager.add_task(**asked(type="NOTE", input={"any": ["thing"]})).pk


def test_a_type_without_a_limiter_has_no_limit(declare: Declare, redis: Redis):
    declare("NOTE")
    queue_manager.set_queue("NOTE", {"concurrency": 2})

    stats = queue_manager.get_queue_stats("NOTE")

    assert stats.type == "NOTE"
    assert redis.hget("plugspace:note:meta", "limiter") == b"0"


def test_operators_see_and_steer_it(transcribe: TaskType, admin_client: Client):
    task = queue_manager.add_task(**asked())

    queue_manager.pause("TRANSCRIBE")
    told = queue_manager.explain(task.pk)
    queues.clear_cache()
    board = admin_client.get("/admin/plugspace_queue/dashboard/").content.decode()
    listed = admin_client.get("/admin/plugspace_queue/task/?type__exact=TRANSCRIBE")
    tier = admin_client.get("/admin/plugspace_queue/tierpolicy/free/change/").content.decode()

    assert told.reason == "queue_paused"
    assert "TRANSCRIBE" in board
    assert str(task.pk) in listed.content.decode()
    assert 'name="transcribe"' in tier
    assert "Transcription" in tier


def test_the_tier_form_stores_what_differs_and_keeps_what_was_dropped(
    transcribe: TaskType, admin_client: Client
):
    row = TierPolicy.objects.get(pk="free")
    row.quotas = {"GONE": 7}
    row.save()
    sent = {"priority": 3, "default_quota": 0, "request_limit": 100, "request_window": 60}

    place = "/admin/plugspace_queue/tierpolicy/free/change/"
    answer = admin_client.post(place, sent | {"transcribe": 9, "code": ""})

    row.refresh_from_db()
    assert (answer.status_code, row.quotas) == (302, {"GONE": 7, "TRANSCRIBE": 9})
    assert (row.quota("TRANSCRIBE"), row.quota("CODE"), row.quota("NOPE")) == (9, 5, 0)


def test_it_is_in_the_figures(transcribe: TaskType, admin_client: Client):
    queue_manager.add_task(**asked())
    statistics.sample(timezone.now())

    page = admin_client.get("/metrics").content.decode()

    assert 'type="TRANSCRIBE"' in page


def test_the_wire_of_events_and_snapshots_names_it(transcribe: TaskType, redis: Redis):
    task = queue_manager.add_task(**asked())

    copied = json.loads(redis.get(f"plugspace:task:{task.pk}") or "")
    ((_, event),) = redis.xrange("plugspace:events")

    assert copied["type"] == "TRANSCRIBE"
    assert b'"type":"TRANSCRIBE"' in b"".join(event.values())
    assert Task.objects.get().type == "TRANSCRIBE"
