"""Who may do what, as one table: every verb and every kind of caller, by API and admin."""

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django_rq.settings import get_queues_map

from plugspace_queue import queue_manager
from plugspace_queue.api import prometheus as api_metrics
from plugspace_queue.domain.enums import Role, Scope
from plugspace_queue.domain.permissions import GROUPS, Verb
from plugspace_queue.models import ApiKey, Membership, QueueSettings
from tests.factories import arguments, make_organization

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
    "press_rq": OPERATORS,
    # On the page of a queue and in its PATCH limits stand beside policies.
    "set_policy": ADMINS & OPERATORS,
    "set_organization": ADMINS,
    "set_members": ADMINS,
    "set_tiers": ADMINS,
    "set_keys": ADMINS,
}


class Door(NamedTuple):
    """One request that does a verb."""

    verb: str
    path: str
    body: dict[str, Any] | None = None
    method: str = "POST"

    @property
    def is_api(self) -> bool:
        return not self.path.startswith("/admin/")

    def __str__(self) -> str:
        return f"{self.verb} {self.method} {self.path}"


@pytest.fixture
def doors(django_user_model: Any) -> list[Door]:
    """Every surface of every verb, for rows of acme's."""
    acme = make_organization("acme", tier="starter")
    task = queue_manager.add_task(**arguments())
    ended = queue_manager.add_task(**arguments())
    queue_manager.cancel(ended.pk)
    flow = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "x"}).workflow_id
    key, _ = ApiKey.issue(acme, ["read"])
    member = Membership.objects.create(
        organization=acme, user=django_user_model.objects.create_user("kim")
    )
    QueueSettings.objects.get_or_create(type="CODE")
    index = get_queues_map()["architect"]
    new = {"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "x"}}
    membership = {"organization": "acme", "user": member.user_id, "role": "viewer"}
    no_members = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    tier = {"slug": "odd", "priority": 3, "request_limit": 5, "request_window": 60}
    tier |= dict.fromkeys(("architect", "design", "code", "analyze", "deploy", "export"), 1)

    def ours(name: str, *args: Any) -> str:
        return reverse(f"admin:plugspace_queue_{name}", args=args)

    def rq(name: str, *args: Any) -> str:
        return reverse(f"admin:django_rq_{name}", args=args)

    def chosen(model: str, action: str, pk: Any) -> Door:
        body = {"action": action, "_selected_action": [str(pk)]}
        return Door(action.partition("_")[0], ours(f"{model}_changelist"), body)

    return [
        Door("view", "tasks/", method="GET"),
        Door("view", f"tasks/{task.pk}/", method="GET"),
        Door("view", f"tasks/{task.pk}/explain/", method="GET"),
        Door("view", f"workflows/{flow}/", method="GET"),
        Door("view", "queues/", method="GET"),
        Door("view", "organizations/acme/", method="GET"),
        Door("view", "organizations/acme/usage/", method="GET"),
        *(
            Door("view_fleet", ours(f"{model}_changelist"), method="GET")
            for model in (
                *("apikey", "attempt", "audit", "dashboard", "idempotencykey", "membership"),
                *("monthlyusage", "organization", "queuesettings", "task", "tierpolicy"),
                *("usageentry", "worker", "workflow"),
            )
        ),
        Door("view_fleet", ours("task_change", task.pk), method="GET"),
        Door("view_fleet", rq("home"), method="GET"),
        Door("view_fleet", rq("jobs", index), method="GET"),
        Door("view_fleet", "/metrics", method="GET"),
        Door("submit", "tasks/", new),
        Door("submit", "tasks/bulk/", {"tasks": [new]}),
        Door("submit", "workflows/", {"projectId": "site", "input": {"prompt": "x"}}),
        Door("cancel", f"tasks/{task.pk}/cancel/"),
        Door("cancel", f"workflows/{flow}/cancel/"),
        Door("cancel", ours("task_cancel", task.pk)),
        Door("cancel", ours("task_all", "cancel"), method="GET"),
        Door("cancel", f"{ours('worker_stop')}?task={task.pk}", method="GET"),
        Door("retry", f"tasks/{ended.pk}/retry/"),
        Door("retry", ours("task_retry", ended.pk)),
        Door("retry", ours("task_all", "retry"), method="GET"),
        Door("pause", "queues/code/pause/"),
        Door("pause", "queues/code/resume/"),
        Door("pause", ours("dashboard_pause", "code"), {"verb": "pause", "reason": "why"}),
        Door("limit", "queues/code/", {"globalConcurrency": 7}, "PATCH"),
        Door("limit", ours("dashboard_limits", "code"), {"concurrency": 2, "reason": "why"}),
        Door("press_rq", rq("stop_job", index, task.pk)),
        Door("press_rq", rq("clear", index)),
        Door("set_policy", "queues/code/", {"policy": "weighted"}, "PATCH"),
        Door("set_policy", "queues/code/", {"limiter": None, "defaultPriority": 1}, "PATCH"),
        Door("set_policy", ours("queuesettings_change", "CODE"), {"policy": "weighted"}),
        Door("set_organization", "organizations/acme/", {"tier": "enterprise"}, "PATCH"),
        Door("set_organization", "organizations/acme/", {"isSuspended": True}, "PATCH"),
        Door("set_organization", ours("organization_change", "acme"), {"name": "A", **no_members}),
        Door("set_organization", ours("organization_add"), {"id": "new", **no_members}),
        Door("set_members", ours("membership_change", member.pk), membership),
        Door("set_members", ours("membership_delete", member.pk), {"post": "yes"}),
        Door("set_tiers", ours("tierpolicy_add"), tier),
        Door("set_tiers", ours("tierpolicy_change", "free"), tier),
        Door("set_keys", ours("apikey_add"), {"organization": "acme", "scopes": ["read"]}),
        Door("set_keys", ours("apikey_change", key.pk), {"scopes": ["read", "submit"]}),
        chosen("task", "cancel_chosen", task.pk),
        chosen("task", "retry_chosen", ended.pk),
        chosen("workflow", "cancel_chosen", flow),
        chosen("organization", "pause_chosen", "acme"),
        chosen("queuesettings", "pause_chosen", "CODE"),
    ]


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


def test_the_table_of_this_test_names_every_verb_and_every_verb_has_a_door(doors: list[Door]):
    assert set(MAY) == {verb.value for verb in Verb}
    # A worker's page wants a worker: tests/admin/test_workers_page.py.
    assert {door.verb for door in doors} == set(MAY) - {"stop_worker"}


@pytest.mark.parametrize("kind", ANYBODY)
def test_every_verb_is_for_the_same_callers_whatever_the_surface(
    client_of: Callable[[str], Client], doors: list[Door], kind: str
):
    client = client_of(kind)
    wrong = []
    for door in doors:
        # Of all others only staff come through the admin.
        may = kind in (MAY[door.verb] if door.is_api else MAY[door.verb] & LOOKERS)
        with nothing_stays():
            status, is_in = tried(client, door)
        if is_in != may:
            wrong.append(f"{door}: {'let in' if is_in else 'refused'} ({status})")

    assert not wrong, "\n".join(wrong)


@contextmanager
def nothing_stays() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def tried(client: Client, door: Door) -> tuple[int, bool]:
    """The status, and whether the caller was let in."""
    answer = asked_api(client, door) if door.is_api else asked_admin(client, door)
    status = answer.status_code
    # Staff without a right name an organization that is not theirs, members too: 404.
    assert status in (200, 201, 202, 302, 401, 403, 404), f"{door}: {status}"
    is_login = status == 302 and "/login/" in answer.headers["Location"]
    return status, status < 400 and not is_login and not is_left_out(client, door)


def asked_api(client: Client, door: Door) -> Any:
    api_metrics.forget()
    path = door.path if door.path.startswith("/") else f"/api/v1/{door.path}"
    # Staff name the organization they submit for; anybody else has one.
    headers = {"X-Organization": "acme"} if door.verb == "submit" else None
    body = (
        {"headers": headers}
        if door.method == "GET"
        else {"headers": headers, "data": door.body or {}, "content_type": "application/json"}
    )
    return getattr(client, door.method.lower())(path, **body)


def asked_admin(client: Client, door: Door) -> Any:
    return getattr(client, door.method.lower())(door.path, door.body or {})


def is_left_out(client: Client, door: Door) -> bool:
    """Whether the list does not offer the action: the admin passes over what it did not offer."""
    action = (door.body or {}).get("action")
    if door.is_api or action is None:
        return False
    return f'value="{action}"' not in client.get(door.path).content.decode()


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
