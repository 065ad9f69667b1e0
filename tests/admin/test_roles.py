"""Who gets where in the admin: every page and press by role in one table, RQ's pages too."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.core import serializers
from django.test import Client
from django.urls import NoReverseMatch, reverse
from django_rq.settings import get_queues_map
from redis import Redis

from plugspace_queue import queue_manager
from plugspace_queue.domain.enums import State
from plugspace_queue.models import (
    ApiKey,
    Attempt,
    IdempotencyKey,
    Membership,
    MonthlyUsage,
    Organization,
    QueueSettings,
    Task,
    TierPolicy,
    UsageEntry,
    Workflow,
)
from tests.factories import arguments, fail_tasks, make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)

ROLES = ("", "viewer", "operator", "admin")
NOBODY = "nobody"
OURS = {"plugspace_queue", "django_rq"}

# Who may look, who may press. A page that answers presses only is looked at by nobody.
RECORD = {
    "changelist": ("viewer", "viewer"),
    "add": (NOBODY, NOBODY),
    "history": ("viewer", "viewer"),
    "delete": (NOBODY, NOBODY),
    "change": ("viewer", NOBODY),
}
SETTING = RECORD | {"change": ("viewer", "admin")}
CATALOG = SETTING | {"add": ("admin", "admin"), "delete": ("admin", "admin")}
LIVE = {"live": ("viewer", "viewer")}
PAGE = {"changelist": ("viewer", "viewer")}
LOOK = ("viewer", "operator")
PRESS = (NOBODY, "operator")
GRANT = (NOBODY, "admin")
STAFF = ("", "")

TABLE: dict[str, dict[str, tuple[str, str]]] = {
    "apikey": CATALOG,
    "attempt": RECORD,
    "audit": PAGE,
    "dashboard": PAGE
    | LIVE
    | {"series": ("viewer", "viewer"), "queue": ("viewer", "viewer")}
    | {"slots": ("viewer", "viewer"), "slots_live": ("viewer", "viewer")}
    | {"pause": PRESS, "limits": PRESS, "end": PRESS},
    "failuregroup": PAGE
    | LIVE
    | {"change": ("viewer", "viewer"), "group_live": ("viewer", "viewer")}
    | {"retry": PRESS, "decide": PRESS},
    "idempotencykey": RECORD,
    "membership": CATALOG,
    "monthlyusage": RECORD,
    "organization": CATALOG
    | {"delete": (NOBODY, NOBODY), "shares": ("viewer", "viewer")}
    | {"grant": GRANT, "tier": GRANT, "end": GRANT},
    "queuesettings": SETTING,
    "task": RECORD | LIVE | {"cancel": PRESS, "retry": PRESS, "all": ("operator", "operator")},
    "tierpolicy": CATALOG,
    "usageentry": RECORD,
    "worker": PAGE | LIVE | {"stop": ("operator", "operator")},
    "workflow": RECORD | LIVE,
    "rq": {
        # Open to all staff, as RQ's own: they show each queue by its own rule.
        **dict.fromkeys(("dashboard_changelist", "home"), STAFF),
        **dict.fromkeys(("jobs", "queue_details"), LOOK),
        **dict.fromkeys(("finished_jobs", "failed_jobs", "scheduled_jobs"), LOOK),
        **dict.fromkeys(("started_jobs", "deferred_jobs", "workers"), LOOK),
        **dict.fromkeys(("job_detail", "clear", "requeue_all", "delete_failed_jobs"), LOOK),
        **dict.fromkeys(("delete_job", "requeue_job", "enqueue_job"), LOOK),
        **dict.fromkeys(("confirm_action", "actions"), LOOK),
        "stop_job": PRESS,
        "home_json": STAFF,
        # RQ's own, which is there when that package is.
        **({"metrics": STAFF} if find_spec("prometheus_client") else {}),
    },
}
# Of what no test makes: a result, a worker, a scheduler; test_rq_pages.py has their guard.
ELSEWHERE = {"result_detail", "worker_details", "scheduler_jobs"}
ELSEWHERE |= {"cron_scheduler_detail", "cron_job_detail"}

LATE = {b"plugspace:metrics"}

BODIES: list[dict[str, Any]] = [
    {},
    {"reason": "mischief", "verb": "pause", "post": "yes", "limiter_max": 1, "_save": "Save"},
    {"action": "delete", "post": "yes"},
]


@pytest.fixture
def rows(django_user_model: Any) -> dict[str, Any]:
    """One row of each kind, by the name of its model."""
    acme = make_organization()
    task = queue_manager.add_task(**arguments())
    ended = make_task(state=State.FAILED, started_at=task.queued_at)
    workflow = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A bakery"})
    at = task.queued_at
    member = django_user_model.objects.create_user("member")
    QueueSettings.objects.get_or_create(type="ARCHITECT")
    return {
        "task": task,
        "workflow": Workflow.objects.get(pk=workflow.workflow_id),
        "organization": acme,
        "tierpolicy": TierPolicy.objects.create(slug="odd", priority=3, quotas={}),
        "queuesettings": QueueSettings.objects.get(pk="ARCHITECT"),
        "attempt": Attempt.objects.create(
            task=ended, number=1, fence=1, started_at=at, ended_at=at, outcome="failed"
        ),
        "apikey": ApiKey.issue(acme, ["read"])[0],
        "membership": Membership.objects.create(organization=acme, user=member),
        "idempotencykey": IdempotencyKey.objects.create(organization=acme, key="k", task=task),
        "monthlyusage": MonthlyUsage.objects.first(),
        "usageentry": UsageEntry.objects.first(),
        "failuregroup": fail_tasks(1).group,
        "override": queue_manager.override_queue("ARCHITECT", concurrency=9, reason="launch")[0],
        "grant": queue_manager.grant("acme", "CODE", 1, reason="launch"),
    }


def entries() -> Iterator[tuple[str, str]]:
    """Every address of our part of the admin, as (key of the table, key of its row)."""
    for model, model_admin in admin.site._registry.items():
        label, name = model._meta.app_label, str(model._meta.model_name)
        for pattern in model_admin.urls if label in OURS else ():
            full = getattr(pattern, "name", None)
            if not full:
                continue
            if label == "django_rq":
                yield "rq", full.removeprefix("django_rq_")
            else:
                yield name, full.removeprefix(f"plugspace_queue_{name}_")


def address(model: str, page: str, rows: dict[str, Any]) -> str:
    """Where that is, for the rows of the test."""
    if model == "rq":
        index, task = get_queues_map()["architect"], rows["task"].pk
        tries: list[list[Any]] = [[], [index], [index, task]]
        return found(f"admin:django_rq_{page}", tries)
    if (model, page) == ("worker", "stop"):
        return f"{reverse('admin:plugspace_queue_worker_stop')}?task={rows['task'].pk}"
    if page == "end":
        key, of = ("override", "architect") if model == "dashboard" else ("grant", "acme")
        return reverse(f"admin:plugspace_queue_{model}_end", args=[of, rows[key].pk])
    given = {"all": ["retry"]}.get(page) or ([rows[model].pk] if model in rows else ["architect"])
    return found(f"admin:plugspace_queue_{model}_{page}", [given, []])


def found(name: str, tries: list[list[Any]]) -> str:
    for given in tries:
        try:
            return reverse(name, args=given)
        except NoReverseMatch:
            continue
    raise AssertionError(f"no address of {name}")


def table() -> list[tuple[str, str, str, str]]:
    return [
        (model, page, look, press)
        for model, pages in TABLE.items()
        for page, (look, press) in pages.items()
    ]


def is_let_in(client: Client, method: str, where: str) -> bool:
    status = getattr(client, method)(where).status_code
    assert status in (200, 302, 403, 404, 405), f"{method} {where}: {status}"
    return status in (200, 302)


def test_the_table_names_every_address():
    known = {(model, page) for model, page, _, _ in table()}

    assert set(entries()) - {("rq", page) for page in ELSEWHERE} == known


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.slow
def test_each_role_gets_where_the_table_says(
    signed_in: Callable[[str], Client], rows: dict[str, Any], role: str
):
    client = signed_in(role)
    wrong = []
    for model, page, *least in table():
        # The press before may have taken its job away.
        rows["task"] = queue_manager.add_task(**arguments(), limit_requests=False)
        where = address(model, page, rows)
        for method, who in zip(("get", "post"), least, strict=True):
            may = who != NOBODY and ROLES.index(role) >= ROLES.index(who)
            if is_let_in(client, method, where) != may:
                wrong.append(f"{method} {where}: {'refused' if may else 'let in'}")

    assert not wrong, "\n".join(wrong)


def test_nobody_gets_anywhere_without_signing_in(rows: dict[str, Any]):
    for model, page, *_ in table():
        where = address(model, page, rows)
        for method in ("get", "post"):
            answer = getattr(Client(), method)(where)
            is_login = answer.status_code == 302 and "/login/" in answer.headers["Location"]
            assert is_login or answer.status_code == 401, f"{method} {where}"


@pytest.mark.slow
@pytest.mark.parametrize("role", ["", "viewer"])
def test_who_may_only_look_changes_nothing_whatever_is_sent(
    signed_in: Callable[[str], Client], rows: dict[str, Any], redis: Redis, role: str
):
    client = signed_in(role)
    before = world(redis)

    for model, page, *_ in table():
        where = address(model, page, rows)
        client.get(where)
        for body in (*BODIES, *chosen(model, rows)):
            client.post(where, body)
        for method in ("put", "patch", "delete"):
            getattr(client, method)(where)

    after = world(redis)
    assert after[0] == before[0]
    assert changed(before[1], after[1]) == {}


def chosen(model: str, rows: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the form of a list sends: an action for a ticked row."""
    if model == "rq":
        for action in ("delete", "requeue", "stop"):
            yield {"action": action, "job_ids": [str(rows["task"].pk)]}
    elif model in rows:
        for action in ("delete_selected", "retry_chosen", "cancel_chosen", "pause_chosen"):
            yield {"action": action, "_selected_action": [str(rows[model].pk)], "post": "yes"}
        yield {"action": "revoke_chosen", "_selected_action": [str(rows[model].pk)]}


def changed(before: dict[bytes, Any], after: dict[bytes, Any]) -> dict[bytes, Any]:
    keys = before.keys() | after.keys()
    pairs = {key: (before.get(key), after.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def world(redis: Redis) -> tuple[str, dict[bytes, Any]]:
    """All rows of ours and of the audit; of Redis all but the counters, which come late, and
    what goes by itself."""
    models = (Task, Workflow, Organization, TierPolicy, QueueSettings, Attempt, ApiKey)
    also = (Membership, IdempotencyKey, MonthlyUsage, UsageEntry, LogEntry)
    kept = [row for model in (*models, *also) for row in model._default_manager.order_by("pk")]
    return serializers.serialize("json", kept), {
        key: content(redis, key)
        for key in redis.keys("*")
        if redis.ttl(key) < 0 and key not in LATE
    }


def content(redis: Redis, key: bytes) -> Any:
    """What is in a key; not its dump, for a hash that is merely read may change its order."""
    reads: dict[bytes, Callable[[], Any]] = {
        b"hash": lambda: redis.hgetall(key),
        b"list": lambda: redis.lrange(key, 0, -1),
        b"set": lambda: redis.smembers(key),
        b"zset": lambda: redis.zrange(key, 0, -1, withscores=True),
        b"stream": lambda: redis.xrange(key),
        b"string": lambda: redis.get(key),
    }
    kind: Any = redis.type(key)
    return reads[kind]()
