"""Our URLs below any prefix: every link, the document and its page lead back to where they are."""

import json
import re
from typing import Any

import pytest
from django.test import Client, RequestFactory, override_settings
from django.urls import NoReverseMatch, set_script_prefix
from drf_spectacular.settings import patched_settings, spectacular_settings
from drf_spectacular.validation import validate_schema

from plugspace_queue import queue_manager
from plugspace_queue.api import openapi
from plugspace_queue.broker import result_notes
from plugspace_queue.domain.addresses import address
from tests.api import host_api
from tests.factories import make_organization

pytestmark = pytest.mark.django_db

PREFIXED, NESTED = "tests.api.urls_prefixed", "tests.api.urls_nested"
NEW = {"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "A bakery"}}
PLACES = [(PREFIXED, "/queue"), (NESTED, "/shop/queue")]


@pytest.fixture
def client() -> Client:
    make_organization("acme")
    _, secret = queue_manager.create_key("acme", scopes=["read", "submit", "operate"])
    return Client(headers={"Authorization": f"Bearer {secret}"})


@pytest.fixture(params=PLACES, ids=["below a prefix", "in a namespaced include"])
def base(request: pytest.FixtureRequest) -> Any:
    urlconf, prefix = request.param
    with override_settings(ROOT_URLCONF=urlconf):
        yield prefix


def add(client: Client, base: str, path: str = "tasks/", body: Any = NEW) -> Any:
    return client.post(f"{base}/api/v1/{path}", body, content_type="application/json")


def test_location_and_the_links_of_pages_lead_back(client: Client, base: str):
    places = [add(client, base)["Location"] for _ in range(3)]

    assert {client.get(place).status_code for place in places} == {200}
    assert places[0].startswith(f"{base}/api/v1/tasks/")
    flow = add(client, base, "workflows/", {"projectId": "p", "input": {"prompt": "x"}})
    assert client.get(flow["Location"]).status_code == 200
    page = client.get(f"{base}/api/v1/tasks/", {"limit": 2}).json()
    following = client.get(page["next"]).json()
    assert following["results"]
    assert client.get(following["previous"]).json()["results"] == page["results"]


@pytest.mark.slow
def test_the_document_names_its_site_and_the_page_shows_it(client: Client, base: str):
    page = client.get(f"{base}/api/v1/docs/").content.decode()
    (place,) = re.findall(r'data-document="([^"]+)"', page)
    document = client.get(place, headers={"Accept": "application/json"}).json()

    assert place == f"{base}/api/v1/schema/"
    assert document["servers"] == [{"url": base}]
    server, *_ = document["servers"]
    assert client.get(server["url"] + "/api/v1/tasks/").status_code == 200
    assert "/api/v1/tasks/" in document["paths"]
    validate_schema(document)


def test_at_the_root_the_document_names_no_server(client: Client):
    served = client.get("/api/v1/schema/", headers={"Accept": "application/json"}).json()

    assert "servers" not in served


def test_a_script_name_is_part_of_every_link(client: Client):
    # As Django's handlers do.
    set_script_prefix("/app/")
    with override_settings(ROOT_URLCONF=PREFIXED):
        try:
            posted = client.post(
                "/queue/api/v1/tasks/", NEW, content_type="application/json", SCRIPT_NAME="/app"
            )
            schema = client.get(
                "/queue/api/v1/schema/", SCRIPT_NAME="/app", headers={"Accept": "application/json"}
            )
            docs = client.get("/queue/api/v1/docs/", SCRIPT_NAME="/app").content.decode()
            page = client.get("/queue/api/v1/tasks/", {"limit": 1}, SCRIPT_NAME="/app").json()
        finally:
            set_script_prefix("/")

    assert posted["Location"].startswith("/app/queue/api/v1/tasks/")
    assert schema.json()["servers"] == [{"url": "/app/queue"}]
    assert 'data-document="/app/queue/api/v1/schema/"' in docs
    assert page["next"] is None or "/app/queue/api/v1/tasks/" in page["next"]


def test_what_has_no_request_finds_the_addresses_as_well(base: str):
    result_notes._note.cache_clear()

    assert address("tasks") == f"{base}/api/v1/tasks/"
    assert f"{base}/api/v1/tasks/%s/" in result_notes.result_note()
    result_notes._note.cache_clear()


def test_a_project_without_our_urls_has_no_address():
    with override_settings(ROOT_URLCONF="django_rq.urls"), pytest.raises(NoReverseMatch):
        address("tasks")


@override_settings(ROOT_URLCONF=PREFIXED)
def test_the_page_of_a_new_key_shows_where_it_works(admin_client: Client):
    make_organization("acme")
    form = {"organization": "acme", "name": "", "scopes": ["read"]}

    shown = admin_client.post("/backoffice/admin/plugspace_queue/apikey/add/", form)

    assert "http://testserver/queue/api/v1/tasks/" in shown.content.decode()


@override_settings(ROOT_URLCONF=PREFIXED, PLUGSPACE_QUEUE={})
def test_addresses_of_the_project_below_ours_are_its_own(client: Client):
    assert client.get("/queue/api/v1/hello/").content == b"the project's own"
    missing = client.get("/queue/api/v1/nothing/")
    assert missing.status_code == 404
    assert missing["Content-Type"].startswith("text/html")


@override_settings(ROOT_URLCONF=PREFIXED, PLUGSPACE_QUEUE={"CATCH_ALL": True})
def test_unknown_addresses_are_ours_when_the_project_says_so(client: Client):
    missing = client.get("/queue/api/v1/nothing/")

    assert (missing.status_code, missing.json()["code"]) == (404, "NOT_FOUND")


def test_the_document_names_the_cookie_of_the_project():
    openapi.clear_cache()
    with override_settings(SESSION_COOKIE_NAME="shop_session"):
        document = openapi.document()
    openapi.clear_cache()

    assert document["components"]["securitySchemes"]["session"]["name"] == "shop_session"


STRANGE: dict[str, Any] = {
    "TITLE": "The shop",
    "SWAGGER_UI_DIST": "https://cdn.example.com/swagger",
    "SWAGGER_UI_FAVICON_HREF": "https://cdn.example.com/favicon.png",
    "SWAGGER_UI_SETTINGS": {"url": "https://elsewhere.example.com/schema"},
    "SCHEMA_PATH_PREFIX_TRIM": True,
    "SERVERS": [{"url": "https://elsewhere.example.com"}],
    "COMPONENT_NO_READ_ONLY_REQUIRED": True,
    "PREPROCESSING_HOOKS": ["tests.api.test_prefixes.nothing"],
    "APPEND_COMPONENTS": {"schemas": {"Stranger": {"type": "object"}}},
}


def nothing(endpoints: Any, **kwargs: Any) -> list[Any]:
    """A hook of the project's that leaves nothing in its document."""
    return []


def test_document_and_page_are_the_same_whatever_the_project_tells_spectacular(client: Client):
    before = json.dumps(openapi.document(), default=str)
    openapi.clear_cache()
    with patched_settings(STRANGE):
        page = client.get("/api/v1/docs/").content.decode()
    # The settings of a project are in force all the time.
    kept = {name: getattr(spectacular_settings, name) for name in STRANGE}
    try:
        for name, value in STRANGE.items():
            setattr(spectacular_settings, name, [nothing] if name.startswith("PRE") else value)
        document = json.dumps(openapi.document(), default=str)
        assert spectacular_settings.TITLE == "The shop"
    finally:
        for name, value in kept.items():
            setattr(spectacular_settings, name, value)
        openapi.clear_cache()

    assert document == before
    assert "example.com" not in page
    assert "drf_spectacular_sidecar" in page


def host_document() -> dict[str, Any]:
    factory = RequestFactory()
    view = host_api.urlpatterns[-1].callback
    with override_settings(ROOT_URLCONF="tests.api.host_api"):
        answer = view(factory.get("/schema/", headers={"Accept": "application/json"}))
        answer.render()
    made: dict[str, Any] = json.loads(answer.content)
    return made


def test_the_projects_own_document_has_nothing_of_ours():
    document = host_document()

    assert set(document["paths"]) == {"/api/tasks/"}
    assert set(document["components"]["schemas"]) == {"Task", "StatusEnum"}
    assert "Plugspace" not in json.dumps(document)


@pytest.mark.slow
def test_the_projects_own_document_shows_ours_when_it_asks_under_names_of_their_own(
    settings: Any,
):
    settings.PLUGSPACE_QUEUE = {"IN_HOST_SCHEMA": True}
    plain = {"Task", "StatusEnum"}

    document = host_document()

    assert {"/api/tasks/", "/queue/api/v1/tasks/", "/queue/api/v1/queues/"} <= set(
        document["paths"]
    )
    named = set(document["components"]["schemas"])
    assert plain <= named
    # drf-spectacular puts "Patched" before the names of bodies of PATCH.
    assert {n for n in named - plain if not n.removeprefix("Patched").startswith("Plug")} == set()
    assert document["components"]["schemas"]["Task"]["properties"].keys() == {"status"}
    schemes = document["components"]["securitySchemes"]
    assert {name for name in schemes if "ookie" not in name} == {
        "plugspaceApiKey",
        "plugspaceSession",
    }
    validate_schema(document)
