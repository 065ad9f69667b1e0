"""Every route, every role, own and another organization: one expected status each."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import transaction
from django.urls import URLPattern

from plugspace_queue import exports, queue_manager
from plugspace_queue.api import prometheus, urls
from plugspace_queue.api.tasks import TaskViewSet
from plugspace_queue.domain.enums import Role, Scope, State
from plugspace_queue.models import Task
from tests.api.conftest import ApiClient
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db

TASK = {"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "A bakery"}}
GRANT = {"type": "CODE", "amount": 1, "reason": "why"}
WORKFLOW = {"projectId": "site", "input": {"prompt": "A bakery"}}

ROLES = (
    "anonymous",
    "key:read",
    "key:submit",
    "key:operate",
    "viewer",
    "member",
    "admin",
    "clerk",
    "staff viewer",
    "operator",
    "administrator",
)

# What a role may: anonymous, three keys, three kinds of members, is_staff alone, three of staff.
READ = (401, 200, 403, 403, 200, 200, 200, 403, 200, 200, 200)
FOREIGN = (401, 404, 403, 403, 404, 404, 404, 403, 200, 200, 200)
# A clerk names an organization that is not his.
SUBMIT = (401, 403, 201, 403, 403, 201, 201, 404, 403, 201, 201)
OPERATE = (401, 403, 403, 200, 403, 403, 200, 403, 403, 200, 200)
FOREIGN_OPERATE = (401, 403, 403, 404, 403, 403, 404, 403, 403, 200, 200)
STAFF = (401, 403, 403, 403, 403, 403, 403, 403, 403, 200, 200)
ADMINISTER = (401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 200)
GRANTS = (401, 403, 403, 403, 403, 403, 403, 404, 403, 403, 201)
OVERRIDES = (401, 403, 403, 403, 403, 403, 403, 404, 403, 201, 201)
PUBLIC = (200,) * len(ROLES)
FIGURES = (401, 403, 403, 403, 403, 403, 403, 403, 200, 200, 200)

Row = tuple[str, str, Any, tuple[int, ...], tuple[int, ...] | None]

# Method, path, body, statuses for the own organization, and for another (None: there is none).
TABLE: tuple[Row, ...] = (
    ("GET", "tasks/", None, READ, None),
    ("POST", "tasks/", TASK, SUBMIT, None),
    ("POST", "tasks/bulk/", {"tasks": [TASK]}, SUBMIT, None),
    ("GET", "tasks/{task}/", None, READ, FOREIGN),
    ("POST", "tasks/{task}/cancel/", None, OPERATE, FOREIGN_OPERATE),
    ("POST", "tasks/{ended}/retry/", None, OPERATE, FOREIGN_OPERATE),
    ("GET", "tasks/{task}/explain/", None, READ, FOREIGN),
    ("GET", "tasks/{task}/events/", None, READ, FOREIGN),
    ("GET", "workflows/", None, READ, None),
    ("POST", "workflows/", WORKFLOW, SUBMIT, None),
    ("GET", "workflows/{workflow}/", None, READ, FOREIGN),
    ("POST", "workflows/{workflow}/cancel/", None, OPERATE, FOREIGN_OPERATE),
    ("POST", "workflows/{over}/retry/", None, OPERATE, FOREIGN_OPERATE),
    ("GET", "workflows/{workflow}/events/", None, READ, FOREIGN),
    ("GET", "queues/", None, READ, None),
    ("GET", "queues/code/", None, READ, None),
    ("PATCH", "queues/code/", {"concurrency": 2}, STAFF, None),
    ("PATCH", "queues/code/", {"policy": "weighted"}, ADMINISTER, None),
    ("POST", "queues/code/pause/", None, STAFF, None),
    ("POST", "queues/code/resume/", None, STAFF, None),
    ("GET", "organizations/{organization}/", None, READ, FOREIGN),
    ("PATCH", "organizations/{organization}/", {"name": "New"}, ADMINISTER, ADMINISTER),
    ("GET", "organizations/{organization}/usage/", None, READ, FOREIGN),
    ("GET", "organizations/{organization}/events/", None, READ, FOREIGN),
    ("GET", "organizations/{organization}/grants/", None, FIGURES, FIGURES),
    ("POST", "organizations/{organization}/grants/", GRANT, GRANTS, GRANTS),
    ("DELETE", "organizations/{organization}/grants/{grant}/", None, ADMINISTER, ADMINISTER),
    ("GET", "queues/code/overrides/", None, FIGURES, None),
    ("POST", "queues/code/overrides/", {"concurrency": 9, "reason": "why"}, OVERRIDES, None),
    ("DELETE", "queues/code/overrides/{limit}/", None, STAFF, None),
    ("GET", "exports/{export}/", None, READ, FOREIGN),
    ("GET", "schema/", None, PUBLIC, None),
    ("GET", "docs/", None, PUBLIC, None),
    ("GET", "/metrics", None, FIGURES, None),
    ("GET", "/healthz", None, PUBLIC, None),
    ("GET", "/readyz", None, PUBLIC, None),
)


@pytest.fixture
def as_role(
    key_of: Callable[..., ApiClient], member_of: Callable[..., ApiClient]
) -> Callable[[str], ApiClient]:
    """A client of acme's in a role; staff name acme to submit for it."""

    def make(role: str) -> ApiClient:
        kind, _, scope = role.partition(":")
        if kind == "key":
            return key_of("acme", Scope(scope))
        if role in {known.value for known in Role}:
            return member_of("acme", role=Role(role))
        return _signed_in(role) if role != "anonymous" else ApiClient()

    return make


STAFF_MAY: dict[str, tuple[str, ...]] = {
    "clerk": (),
    "staff viewer": ("view_task",),
    "operator": ("view_task", "operate_queue"),
    "administrator": ("view_task", "operate_queue", "administer_queue"),
}


def _signed_in(role: str) -> ApiClient:
    user = get_user_model().objects.create_user(role, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=STAFF_MAY[role]))
    client = ApiClient()
    client.force_login(user)
    return client


def names_of(organization_id: str) -> dict[str, str]:
    """Something of each kind that belongs to an organization."""
    make_organization(organization_id)
    given = arguments(organization_id=organization_id)
    task, ended = queue_manager.add_task(**given), queue_manager.add_task(**given)
    flows: list[UUID] = [
        queue_manager.add_workflow("site", "ann", organization_id, {"prompt": "x"}).workflow_id
        for _ in range(2)
    ]
    queue_manager.cancel(ended.pk)
    Task.objects.filter(workflow=flows[1]).update(open_deps=1)
    queue_manager.cancel_workflow(flows[1])
    assert Task.objects.get(pk=ended.pk).state == State.CANCELLED
    export = f"export-{organization_id}"
    exports.put(export, b"zip", filename="a.zip", organization_id=organization_id)
    return {
        "task": str(task.pk),
        "ended": str(ended.pk),
        "workflow": str(flows[0]),
        "over": str(flows[1]),
        "organization": organization_id,
        "grant": str(queue_manager.grant(organization_id, "CODE", 1, reason="launch").pk),
        "limit": str(queue_manager.override_queue("CODE", concurrency=9, reason="launch")[0].pk),
        "export": export,
    }


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} {row[1]}")
def test_each_role_gets_the_status_of_the_table(as_role: Callable[[str], ApiClient], row: Row):
    method, path, body, own, foreign = row
    places = {"own": (names_of("acme"), own)}
    if foreign is not None:
        places["foreign"] = (names_of("rival"), foreign)

    for place, (names, expected) in places.items():
        told = {role: _asked(as_role, role, method, path.format(**names), body) for role in ROLES}
        assert told == dict(zip(ROLES, expected, strict=True)), place


def _asked(
    as_role: Callable[[str], ApiClient], role: str, method: str, path: str, body: Any
) -> int:
    """The status of one request; nothing that it changed stays."""
    prometheus.clear_cache()
    # Staff see every organization; they name one only for what is submitted for it.
    is_submit = body is not None and method == "POST"
    headers = {"X-Organization": "acme"} if is_submit and role != "anonymous" else {}
    with transaction.atomic():
        told = as_role(role).generic(
            method,
            path if path.startswith("/") else f"/api/v1/{path}",
            b"" if body is None else json.dumps(body).encode(),
            content_type="application/json",
            headers=headers,
        )
        transaction.set_rollback(True)
    return int(told.status_code)


def test_the_table_of_this_test_has_every_route():
    routes = {
        str(pattern.pattern)
        for pattern in urls.urlpatterns
        if isinstance(pattern, URLPattern) and pattern.name != "nowhere"
    }

    assert len({path for _, path, *_ in TABLE if not path.startswith("/")}) == len(routes)


def test_every_action_that_changes_something_names_its_verb():
    nameless = [
        f"{pattern.name}: {action}"
        for pattern in urls.urlpatterns
        for method, action in (getattr(pattern.callback, "actions", None) or {}).items()
        if method not in ("get", "head") and action not in pattern.callback.cls.verbs
    ]

    assert nameless == []


def test_a_method_that_changes_something_and_names_no_verb_is_not_let_in(
    key_of: Callable[..., ApiClient], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(TaskViewSet, "verbs", {})
    client = key_of("acme")
    client.raise_request_exception = False

    told = client.send("tasks/", TASK)

    assert told.status_code == 500
    assert not Task.objects.exists()


def test_there_is_no_root_and_addresses_take_no_suffix_for_a_format(
    key_of: Callable[..., ApiClient],
):
    client = key_of("acme")

    for path in ("", "tasks.json", "tasks/.json", "queues/code.json"):
        assert client.ask(path).status_code == 404, path
    assert client.options("/api/v1/tasks/").status_code == 200
