"""The OpenAPI document is part of the promise: a change of it must be seen in a review."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator

from plugspace_queue.api import openapi
from plugspace_queue.api.examples import SENT
from plugspace_queue.api.openapi import SETTINGS
from plugspace_queue.errors import QueueError
from tests.api.conftest import ApiClient
from tests.factories import make_organization

SNAPSHOT = Path(__file__).with_name("openapi.json")
RENEW = "The API has changed: look at the difference, then `make snapshot`."


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    with patched_settings(SETTINGS):
        generator = SchemaGenerator(urlconf="plugspace_queue.urls")
        made = generator.get_schema(request=None, public=True)
    # As JSON, for the generator's dicts and lists are classes of its own.
    plain: dict[str, Any] = json.loads(json.dumps(made, default=str))
    return plain


def test_the_document_is_the_one_in_the_repository(document: dict[str, Any]):
    assert json.loads(SNAPSHOT.read_text()) == document, RENEW


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]):
    validate_schema(document)

    assert document["openapi"] == "3.1.1"


def test_every_operation_documents_its_refusals_as_problems(document: dict[str, Any]):
    operations = [o for path in document["paths"].values() for o in path.values()]

    assert len({o["operationId"] for o in operations}) == len(operations) == 30
    for operation in operations:
        refusals = {code: told for code, told in operation["responses"].items() if code >= "400"}
        assert {"401", "403", "404", "503"} <= set(refusals)
        assert all("application/problem+json" in told["content"] for told in refusals.values())


@pytest.mark.django_db
def test_the_running_site_serves_the_document_and_its_page_offline(document: dict[str, Any]):
    served = Client().get("/api/v1/schema/", headers={"Accept": "application/json"})
    page = Client().get("/api/v1/docs/").content.decode()

    assert served.json()["paths"].keys() == document["paths"].keys()
    assert "/api/v1/schema/" in page
    assert "//cdn" not in page
    assert "drf_spectacular_sidecar" in page


@pytest.mark.django_db
def test_the_page_of_the_document_has_nothing_inline_and_forbids_it():
    told = Client().get("/api/v1/docs/")
    page, policy = told.content.decode(), told.headers["Content-Security-Policy"]

    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "unsafe" not in policy
    assert page.count("<script") == page.count("<script src=") == 2
    assert "<style" not in page
    assert " style=" not in page


def test_the_document_is_made_once_in_a_process(monkeypatch: pytest.MonkeyPatch):
    made: list[SchemaGenerator] = []
    get_schema = SchemaGenerator.get_schema

    def counted(generator: SchemaGenerator, *args: Any, **told: Any) -> Any:
        made.append(generator)
        return get_schema(generator, *args, **told)

    monkeypatch.setattr(SchemaGenerator, "get_schema", counted)
    openapi.clear_cache()

    def ask(accept: str, **query: str) -> Any:
        return Client().get("/api/v1/schema/", query, headers={"Accept": accept})

    told = [ask("application/json"), ask("application/json"), ask("application/json", lang="de")]
    yaml = [ask("application/vnd.oai.openapi"), ask("*/*"), ask("*/*", format="yaml")]

    assert len(made) == 1
    assert len({response.content for response in told}) == 1
    assert len({response.content for response in yaml}) == 1
    assert told[1]["Content-Type"] == told[0]["Content-Type"]
    assert yaml[0].content.startswith(b"openapi: 3.1.1")
    assert ask("text/csv").status_code == 406


@pytest.mark.parametrize("page", ["schema", "docs"])
def test_the_document_in_a_format_that_nobody_speaks_is_a_problem_in_json(page: str):
    told = Client().get(f"/api/v1/{page}/", {"format": "xml"})

    assert (told.status_code, told["Content-Type"]) == (406, "application/problem+json")
    assert told.json()["code"] == "NOT_ACCEPTABLE"


@pytest.mark.django_db
def test_a_task_has_only_the_members_that_the_document_names(
    acme: ApiClient, document: dict[str, Any]
):
    new = {"type": "CODE", "projectId": "site", "input": {}}
    told = acme.send("tasks/", new).json()
    known = document["components"]["schemas"]["PlugspaceCodeTask"]

    assert set(told) <= set(known["properties"])
    assert set(known["required"]) <= set(told)


def _examples(told: dict[str, Any], media_type: str) -> list[Any]:
    content = told.get("content", {}).get(media_type, {})
    return [example["value"] for example in content.get("examples", {}).values()]


def _checked(document: dict[str, Any], told: dict[str, Any], media_type: str) -> list[Any]:
    """The examples of a body; each must be valid by the schema beside it."""
    found = _examples(told, media_type)
    for value in found:
        shape = told["content"][media_type]["schema"] | {"components": document["components"]}
        Draft202012Validator(shape).validate(value)
    return found


def test_every_body_and_every_answer_in_json_has_a_valid_example(document: dict[str, Any]):
    operations = [o for path in document["paths"].values() for o in path.values()]

    for operation in operations:
        if "requestBody" in operation:
            assert _checked(document, operation["requestBody"], "application/json"), operation
        for status, told in operation["responses"].items():
            if status < "300" and "application/json" in told.get("content", {}):
                assert _checked(document, told, "application/json"), (operation, status)


def test_every_code_that_the_api_answers_has_an_example_of_its_problem(document: dict[str, Any]):
    never = {"QUEUE_ERROR", "INVALID_TRANSITION", "PROCESSOR_CONFLICT", "INVALID_PROCESSOR"}
    never |= {"INVALID_TASK_TYPE", "TASK_TYPE_RESERVED", "TASK_TYPE_CONFLICT", "CATALOG_FROZEN"}
    never |= {"INVALID_KIND", "KIND_CONFLICT"}
    never |= {"TASK_FAILED", "WAIT_TIMEOUT"}
    answered = {error.code for error in _below(QueueError)} - never
    operations = [o for path in document["paths"].values() for o in path.values()]

    shown = {
        problem["code"]
        for operation in operations
        for told in operation["responses"].values()
        for problem in _checked(document, told, "application/problem+json")
    }
    assert shown == answered


def _below(kind: type[QueueError]) -> set[type[QueueError]]:
    found = {error for error in kind.__subclasses__() if "plugspace_queue" in error.__module__}
    return found.union(*(_below(error) for error in found))


@pytest.mark.django_db(transaction=True)
def test_the_examples_of_bodies_are_accepted_as_they_stand(administrator: ApiClient, redis: Any):
    make_organization("acme", tier="enterprise")
    administrator.defaults["HTTP_X_ORGANIZATION"] = "acme"

    task = administrator.send("tasks/", SENT["addTask"])
    workflow = administrator.send("workflows/", SENT["addWorkflow"])
    paths = {
        "addTasks": "tasks/bulk/",
        "cancelTask": f"tasks/{task.json()['id']}/cancel/",
        "retryTask": f"tasks/{task.json()['id']}/retry/",
        "cancelWorkflow": f"workflows/{workflow.json()['workflowId']}/cancel/",
        "retryWorkflow": f"workflows/{workflow.json()['workflowId']}/retry/",
        "pauseQueue": "queues/code/pause/",
        "resumeQueue": "queues/code/resume/",
        "addGrant": "organizations/acme/grants/",
        "addOverride": "queues/code/overrides/",
    }
    done = [administrator.send(path, SENT[name]) for name, path in paths.items()]
    done.append(administrator.change("queues/code/", SENT["changeQueue"]))
    done.append(administrator.change("organizations/acme/", SENT["changeOrganization"]))

    assert [r.status_code for r in (task, workflow)] == [201, 201]
    added = {"addTasks", "addGrant", "addOverride"}
    expected = [201 if name in added else 200 for name in paths]
    assert [r.status_code for r in done] == [*expected, 200, 200]
    assert len(done) + 2 == len(SENT)
