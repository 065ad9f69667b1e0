"""Who may do what, as one table: every verb and every kind of caller, by API and admin."""

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import transaction
from django.test import Client

from plugspace_queue import queue_manager
from plugspace_queue.api import prometheus as api_metrics
from plugspace_queue.domain.enums import Role, Scope
from plugspace_queue.domain.permissions import GROUPS, Verb
from plugspace_queue.models import ApiKey, Membership, QueueSettings
from tests.contracts.endpoints import Endpoint, Rows, all_endpoints
from tests.factories import arguments, fail_tasks, make_organization

pytestmark = pytest.mark.django_db

ANYBODY = (
    "anonymous",
    "key:read",
    "key:submit",
    "key:operate",
    "member:viewer",
    "member:member",
    "member:admin",
    "clerk",
    "only:operate_queue",
    "only:administer_queue",
    "only:view_task,administer_queue",
    "Queue viewer",
    "Queue operator",
    "Queue admin",
)
LOOKS_AND_ADMINISTERS = "only:view_task,administer_queue"
LOOKERS = {LOOKS_AND_ADMINISTERS, "Queue viewer", "Queue operator", "Queue admin"}
OPERATORS = {"Queue operator", "Queue admin"}
ADMINS = {LOOKS_AND_ADMINISTERS, "Queue admin"}

MAY: dict[str, set[str]] = {
    "view": {"key:read", "member:viewer", "member:member", "member:admin", *LOOKERS},
    "view_fleet": LOOKERS,
    "submit": {"key:submit", "member:member", "member:admin", *OPERATORS},
    "cancel": {"key:operate", "member:admin", *OPERATORS},
    "retry": {"key:operate", "member:admin", *OPERATORS},
    "pause": OPERATORS,
    "limit": OPERATORS,
    "stop_worker": OPERATORS,
    "triage": OPERATORS,
    "press_rq": OPERATORS,
    # On the page of a queue and in its PATCH limits stand beside policies.
    "set_policy": ADMINS & OPERATORS,
    "set_organization": ADMINS,
    "grant": ADMINS,
    "set_members": ADMINS,
    "set_tiers": ADMINS,
    "set_keys": ADMINS,
}


@pytest.fixture
def endpoints(django_user_model: Any) -> list[Endpoint]:
    """Every surface of every verb, for rows of acme's."""
    acme = make_organization("acme", tier="starter")
    ended = queue_manager.add_task(**arguments())
    queue_manager.cancel(ended.pk)
    QueueSettings.objects.get_or_create(type="CODE")
    rows = Rows(
        task=queue_manager.add_task(**arguments()),
        ended=ended,
        flow=queue_manager.add_workflow("site", "ann", "acme", {"prompt": "x"}).workflow_id,
        key=ApiKey.issue(acme, ["read"])[0],
        grant=queue_manager.grant("acme", "CODE", 1, reason="launch"),
        limit=queue_manager.override_queue("CODE", concurrency=9, reason="launch")[0],
        member=Membership.objects.create(
            organization=acme, user=django_user_model.objects.create_user("kim")
        ),
        group=fail_tasks(1).group,
    )
    return all_endpoints(rows)


@pytest.fixture
def client_of(db: None) -> Callable[[str], Client]:
    """A client of a kind of caller: a key or member of acme's, or staff in one of our groups.

    `only:…` is staff with permissions that none of the groups has alone.
    """
    call_command("queue_roles", verbosity=0)

    def make(kind: str) -> Client:
        what, _, word = kind.partition(":")
        if what == "key":
            _, secret = ApiKey.issue(make_organization("acme", tier="starter"), [Scope(word).value])
            return Client(headers={"Authorization": f"Bearer {secret}"})
        client = Client()
        if what != "anonymous":
            client.force_login(user_of(what, word))
        return client

    return make


def user_of(what: str, word: str) -> Any:
    is_staff = what != "member"
    user = get_user_model().objects.create_user(what + word, is_staff=is_staff)
    if what == "only":
        user.user_permissions.set(Permission.objects.filter(codename__in=word.split(",")))
    elif what in GROUPS:
        user.groups.add(Group.objects.get(name=what))
    elif not is_staff:
        Membership.objects.create(organization_id="acme", user=user, role=Role(word))
    return user


def test_the_table_of_this_test_names_every_verb_and_every_verb_is_tried(
    endpoints: list[Endpoint],
):
    assert set(MAY) == {verb.value for verb in Verb}
    # A worker's page wants a worker: tests/admin/test_workers_page.py.
    assert {endpoint.verb for endpoint in endpoints} == set(MAY) - {"stop_worker"}


@pytest.mark.parametrize("kind", ANYBODY)
def test_every_verb_is_for_the_same_callers_whatever_the_surface(
    client_of: Callable[[str], Client], endpoints: list[Endpoint], kind: str
):
    client = client_of(kind)
    wrong = []
    for endpoint in endpoints:
        # Of all others only staff come through the admin.
        may = kind in (MAY[endpoint.verb] if endpoint.is_api else MAY[endpoint.verb] & LOOKERS)
        with nothing_stays():
            status, is_in = tried(client, endpoint)
        if is_in != may:
            wrong.append(f"{endpoint}: {'let in' if is_in else 'refused'} ({status})")

    assert not wrong, "\n".join(wrong)


@contextmanager
def nothing_stays() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def tried(client: Client, endpoint: Endpoint) -> tuple[int, bool]:
    """The status, and whether the caller was let in."""
    answer = asked_api(client, endpoint) if endpoint.is_api else asked_admin(client, endpoint)
    status = answer.status_code
    # Staff without a right name an organization that is not theirs, members too: 404.
    assert status in (200, 201, 202, 302, 401, 403, 404), f"{endpoint}: {status}"
    is_login = status == 302 and "/login/" in answer.headers["Location"]
    return status, status < 400 and not is_login and not is_left_out(client, endpoint)


def asked_api(client: Client, endpoint: Endpoint) -> Any:
    api_metrics.clear_cache()
    path = endpoint.path if endpoint.path.startswith("/") else f"/api/v1/{endpoint.path}"
    # Staff name the organization they submit for; anybody else has one.
    headers = {"X-Organization": "acme"} if endpoint.verb == "submit" else None
    body = (
        {"headers": headers}
        if endpoint.method == "GET"
        else {"headers": headers, "data": endpoint.body or {}, "content_type": "application/json"}
    )
    return getattr(client, endpoint.method.lower())(path, **body)


def asked_admin(client: Client, endpoint: Endpoint) -> Any:
    return getattr(client, endpoint.method.lower())(endpoint.path, endpoint.body or {})


def is_left_out(client: Client, endpoint: Endpoint) -> bool:
    """Whether the list does not offer the action: the admin passes over what it did not offer."""
    action = (endpoint.body or {}).get("action")
    if endpoint.is_api or action is None:
        return False
    return f'value="{action}"' not in client.get(endpoint.path).content.decode()


def test_no_permission_is_named_anywhere_but_in_the_table():
    package = Path("plugspace_queue")
    models = [
        model._meta.model_name for model in apps.get_app_config("plugspace_queue").get_models()
    ]
    words = {f"{word}_{model}" for word in ("view", "change", "delete") for model in models}
    words |= {"operate_queue", "administer_queue"}
    found = {
        f"{path}: {node.value}"
        for path in package.rglob("*.py")
        if "migrations" not in path.parts and path != package / "domain" / "permissions.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value.removeprefix("plugspace_queue.") in words
    }
    templates = {
        str(path) for path in package.rglob("*.html") if re.search(r"\bperms\.", path.read_text())
    }

    assert found | templates == set()


def test_a_group_made_before_gets_what_is_new_by_running_the_command_again():
    Group.objects.create(name="Queue admin")

    call_command("queue_roles", verbosity=0)

    held = Group.objects.get(name="Queue admin").permissions.values_list("codename", flat=True)
    assert set(held) == set(GROUPS["Queue admin"])
