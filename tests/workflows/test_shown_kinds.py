"""REST, its document, Redis and the admin show declared kinds, and rows of kinds that are gone."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client

from plugspace_queue import queue_manager, workflow_kind
from plugspace_queue.api import openapi
from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import State
from plugspace_queue.models import ApiKey, Task, Workflow
from plugspace_queue.testing import processors, run_pending
from tests.api.conftest import ApiClient
from tests.workflows.podcasts import DOERS, declare_types

pytestmark = pytest.mark.django_db(transaction=True)

BODY = {"kind": "podcast", "projectId": "show", "input": {"url": "u", "words": 3}}
ADMIN = "/admin/plugspace_queue/workflow/"


@pytest.fixture
def types(declare: Any) -> Any:
    queue_manager.set_organization("acme", tier="enterprise")
    return SimpleNamespace(**declare_types(declare))


@pytest.fixture
def podcast(types: Any) -> Any:
    return workflow_kind(
        "podcast",
        steps=[
            types.TRANSCRIBE.step(name="listen"),
            types.SUMMARIZE.step(name="tell-it-in-only-a-few-words", on_failure="continue"),
            types.CHAPTERS.step(),
        ],
    )


@pytest.fixture
def api() -> ApiClient:
    acme = queue_manager.set_organization("acme", tier="enterprise")
    _, secret = ApiKey.issue(acme, ["read", "submit", "operate"])
    return ApiClient(headers={"Authorization": f"Bearer {secret}"})


def gone() -> Workflow:
    """A workflow of a kind that nobody declares, with its steps."""
    handle = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A bakery"})
    Workflow.objects.filter(pk=handle.workflow_id).update(kind="of-old", kind_version="0" * 16)
    return Workflow.objects.get(pk=handle.workflow_id)


def test_any_declared_kind_is_posted_and_its_steps_have_their_names(podcast: Any, api: ApiClient):
    told = api.send("workflows/", BODY)

    assert told.status_code == 201
    shown = api.ask(f"workflows/{told.json()['workflowId']}/").json()
    assert shown["kind"] == "podcast"
    assert [task.get("stepName") for task in shown["tasks"]] == [
        "listen",
        "tell-it-in-only-a-few-words",
        None,
    ]
    (row,) = api.ask("workflows/", kind="podcast").json()["results"]
    assert row["id"] == shown["id"]


def test_an_unknown_kind_is_refused_with_the_list_of_all(podcast: Any, api: ApiClient):
    told = api.send("workflows/", BODY | {"kind": "Podcast"})

    assert told.status_code == 400
    (fault,) = told.json()["errors"]
    assert fault["loc"] == ["kind"]
    assert fault["msg"] == (
        "Input should be 'create', 'clone', 'refine', 'design-only', 'code-only',"
        " 'analyze-only' or 'podcast'"
    )


def test_the_document_lists_the_declared_kinds(podcast: Any):
    openapi.clear_cache()
    try:
        document = openapi.document()
    finally:
        openapi.clear_cache()

    kinds = document["components"]["schemas"]["PlugspaceKind"]["enum"]
    assert kinds[0] == "create"
    assert kinds[-1] == "podcast"


def test_copies_of_steps_in_redis_have_their_names_before_and_after_they_run(
    podcast: Any, redis: Any
):
    handle = podcast.submit(BODY["input"], organization="acme", project="show", user="ann")
    first = str(handle.task_ids[0])
    assert json.loads(redis.get(keys.task(first)))["stepName"] == "listen"

    with processors(DOERS, output=None):
        run_pending()

    assert json.loads(redis.get(keys.task(first)))["stepName"] == "listen"
    assert "stepName" not in json.loads(redis.get(keys.task(str(handle.task_ids[2]))))


def test_rows_of_a_kind_that_is_gone_stay_readable_over_rest(api: ApiClient):
    row = gone()

    assert api.ask(f"workflows/{row.pk}/").json()["kind"] == "of-old"
    assert [one["kind"] for one in api.ask("workflows/").json()["results"]] == ["of-old"]
    assert api.ask("workflows/", kind="of-old").status_code == 400
    assert api.send("workflows/", BODY | {"kind": "of-old"}).status_code == 400


def test_a_workflow_of_a_kind_that_is_gone_is_cancelled_and_retried(api: ApiClient):
    row = gone()

    assert api.send(f"workflows/{row.pk}/cancel/").status_code == 200
    assert api.send(f"workflows/{row.pk}/retry/").status_code == 200
    assert {step.state for step in Task.objects.all()} == {State.WAITING, State.BLOCKED}


def test_the_admin_shows_kinds_steps_and_what_became_of_the_kind(
    podcast: Any, admin_client: Client
):
    handle = podcast.submit(BODY["input"], organization="acme", project="show", user="ann")
    Task.objects.filter(step_name="tell-it-in-only-a-few-words").update(
        state=State.FAILED, completed_at="2026-01-01T00:00:00Z"
    )
    page = f"{ADMIN}{handle.workflow_id}/change/"

    shown = admin_client.get(page).content.decode()
    assert f"podcast, version {podcast.version}" in shown
    assert ">listen</a> (TRANSCRIBE)" in shown
    assert "tell-it-in-only-a…" in shown
    assert "after tell-it-in-only-a-few-words" in shown
    assert "its workflow continues without it" in shown

    workflow_kind("podcast", steps=["TRANSCRIBE"], replace=True)
    assert "(changed since)" in admin_client.get(page).content.decode()
    Workflow.objects.update(kind="of-old")
    assert "(not declared any more)" in admin_client.get(page).content.decode()
    Workflow.objects.update(kind="create", kind_version="")
    assert "version" not in admin_client.get(page).content.decode().split("psq-live")[-1]


def test_the_filter_of_the_admin_offers_declared_kinds(podcast: Any, admin_client: Client):
    gone()
    podcast.submit(BODY["input"], organization="acme", project="show", user="ann")

    every = admin_client.get(ADMIN).content.decode()
    some = admin_client.get(ADMIN, {"kind__exact": "podcast"}).content.decode()

    assert "?kind__exact=podcast" in every
    assert ">of-old<" in every
    assert ">of-old<" not in some
    old = admin_client.get(ADMIN, {"kind__exact": "of-old"}).content.decode()
    assert ">of-old<" in old
