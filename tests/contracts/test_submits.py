"""Submits and refusals leave what they left before: answers, rows, charges, keys, events, costs.

`PSQ_RECORD=1` writes the snapshot instead of comparing; look at the difference before it is kept.
"""

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from redis import Redis

from plugspace_queue import queue_manager
from plugspace_queue.domain.enums import State
from plugspace_queue.limits import policies
from plugspace_queue.models import Task, TierPolicy
from tests.contracts.submits import Recorder, add, add_all, load_scripts, start
from tests.factories import make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)

SNAPSHOT = Path(__file__).with_name("submits.json")
COSTS = Path(__file__).with_name("submit_costs.json")
UNKNOWN = "018f0000-0000-7000-8000-000000000000"
NEW = {"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "A bakery"}}
FLOW = {"projectId": "site", "input": {"prompt": "A bakery"}}

Scenario = Callable[[Recorder, Any], None]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """A story that is recorded."""
    SCENARIOS[function.__name__] = function
    return function


@scenario
def single(rec: Recorder, api: Any) -> None:
    later = timezone.now() + timedelta(hours=2)
    rec.step("first", add)
    rec.step("plain", add)
    rec.step("lower priority", lambda: add(priority=3, max_retries=1, ttl=60))
    rec.step("scheduled", lambda: add(type="CODE", input={}, run_at=later))
    rec.step("not counted", lambda: add(limit_requests=False))
    rec.step("with a context", lambda: add(context={"userFeedback": ["more"], "maxIterations": 3}))


@scenario
def without_a_tier(rec: Recorder, api: Any) -> None:
    make_organization("bare", tier=None)
    rec.step("queue's priority", lambda: add(organization_id="bare", type="DEPLOY", input={}))
    rec.step("free's quota", lambda: add(organization_id="bare", type="DEPLOY", input={}))
    rec.step("too high", lambda: add(organization_id="bare", priority=0))


@scenario
def refused(rec: Recorder, api: Any) -> None:
    make_organization("idle", is_suspended=True)
    make_organization("small", tier="free")
    rec.step("unknown", lambda: add(organization_id="nobody"))
    rec.step("no id", lambda: add(organization_id=5))
    rec.step("suspended", lambda: add(organization_id="idle"))
    rec.step("priority", lambda: add(organization_id="small", priority=1))
    rec.step("parent", lambda: add(depends_on=[UNKNOWN]))
    rec.step("parent of others", lambda: add(depends_on=[other_task()]))
    rec.step("parent named", lambda: add(context={"parentTaskId": UNKNOWN}))
    rec.step("quota", lambda: add(organization_id="small", type="DEPLOY", input={}))
    rec.step("used up", lambda: add(organization_id="small", type="DEPLOY", input={}))
    failed = make_task(state=State.FAILED)
    rec.step("parent failed", lambda: add(depends_on=[failed.pk]))


BAD: dict[str, list[Any]] = {
    "type": ["NOTHING", None],
    "project_id": ["", "x" * 129, "a\x00b", 7],
    "user_id": [None],
    "input": [{}, {"prompt": "x", "more": 1}, "x", None, {"prompt": {1}}, {"prompt": "a\x00"}],
    "priority": [-1, 4, True],
    "max_retries": [-1, 101, 1.5],
    "ttl": [0, 10**9],
    "run_at": ["tomorrow", timezone.now().replace(tzinfo=None), timezone.now() + timedelta(3000)],
    "depends_on": ["no", ["no"], 5],
    "idempotency_key": ["", "x" * 256],
    "context": [[], {"iterationCount": 1}, {"maxIterations": 0}, {"userFeedback": [""]}],
    "more": [1],
}


@scenario
def not_valid(rec: Recorder, api: Any) -> None:
    for name, values in BAD.items():
        for value in values:
            rec.step(f"{name}={value!r:.20}", lambda name=name, value=value: add(**{name: value}))


@scenario
def full_window(rec: Recorder, api: Any) -> None:
    rec.step("before", add)
    limit_requests(2)
    rec.step("last one", add)
    rec.step("refused", add)
    rec.step("refused before it is validated", lambda: add(input={}))
    rec.step("trusted", lambda: add(limit_requests=False))
    rec.step("bulk", lambda: add_all({}, {}))
    rec.step("workflow", start)
    rec.step("REST", lambda: api.send("tasks/", NEW))


@scenario
def too_large(rec: Recorder, api: Any) -> None:
    rec.step("input", lambda: add(input={"prompt": "x" * 1_100_000}))
    rec.step("bulk", lambda: add_all({}, {"input": {"prompt": "x" * 1_100_000}}))
    rec.step("workflow", lambda: start(input={"prompt": "x" * 1_100_000}))
    rec.step("REST", lambda: api.send("tasks/", NEW | {"input": {"prompt": "x" * 1_100_000}}))


@scenario
def repeated(rec: Recorder, api: Any) -> None:
    rec.step("first", lambda: add(idempotency_key="k"))
    rec.step("again", lambda: add(idempotency_key="k"))
    rec.step("other arguments", lambda: add(idempotency_key="k", user_id="bob"))
    rec.step("as a workflow", lambda: start(idempotency_key="k"))
    rec.step("workflow", lambda: start(idempotency_key="w"))
    rec.step("workflow again", lambda: start(idempotency_key="w"))
    rec.step("workflow, other arguments", lambda: start(idempotency_key="w", ttl=5))
    rec.step("bulk", lambda: add_all({}, {}, key="b"))
    rec.step("bulk again", lambda: add_all({}, {}, key="b"))
    rec.step("other bulk", lambda: add_all({}, key="b"))
    rec.step("items", lambda: add_all({"idempotency_key": "i"}, {"idempotency_key": "i"}, {}))
    rec.step("items again", lambda: add_all({"idempotency_key": "i"}, {"idempotency_key": "k"}))
    rec.step("both keys", lambda: add_all({"idempotency_key": "x"}, key="b2"))


@scenario
def followers(rec: Recorder, api: Any) -> None:
    first = rec.step("parent", lambda: add(context={"userFeedback": ["one"]})).subject
    rec.step("waits", lambda: add(type="DESIGN", input={}, depends_on=[first.pk]))
    rec.step("iterates", lambda: add(context=child_of(first) | {"userFeedback": ["two"]}))
    rec.step("above the maximum", lambda: above_the_maximum(first))
    Task.objects.filter(pk=first.pk).update(state=State.COMPLETE, completed_at=timezone.now())
    rec.step("follows", lambda: add(type="DESIGN", input={}, depends_on=[first]))
    rec.step("refines", lambda: start(kind="refine", input={}, context=child_of(first)))


@scenario
def bulk(rec: Recorder, api: Any) -> None:
    make_organization("other")
    make_organization("small", tier="free")
    rec.step("first", lambda: add_all({}))
    rec.step(
        "mixed",
        lambda: add_all({}, {"type": "CODE", "input": {}}, {"organization_id": "other"}, {}),
    )
    rec.step("nothing", add_all)
    rec.step("one bad", lambda: add_all({}, {"priority": 9}))
    rec.step("one bad input", lambda: add_all({}, {}, {"input": {}}))
    rec.step("unknown", lambda: add_all({}, {"organization_id": "nobody"}))
    rec.step("lacking", lambda: add_all({}, {"user_id": None}))
    rec.step("no mapping", lambda: queue_manager.submit_tasks([5]))  # type: ignore[list-item]
    rec.step("parent", lambda: add_all({}, {"depends_on": [UNKNOWN]}))
    deploy = {"organization_id": "small", "type": "DEPLOY", "input": {}}
    rec.step("quota", lambda: add_all({}, deploy, deploy))


@scenario
def workflow(rec: Recorder, api: Any) -> None:
    make_organization("small", tier="free")
    rec.step("create", start)
    rec.step("clone", lambda: start(kind="clone", input={"url": "https://example.com/"}))
    rec.step("one step", lambda: start(kind="code-only", input={"prompt": "x"}))
    options = {"prompt": "x", "options": {"skipDesign": True}}
    rec.step("skips", lambda: start(input=options, priority=2, ttl=60))
    rec.step("kind", lambda: start(kind="nothing"))
    rec.step("prompt", lambda: start(input={}))
    rec.step("nothing left", lambda: start(kind="design-only", input=options))
    rec.step("no parent", lambda: start(kind="refine", input={}))
    rec.step("unknown parent", lambda: start(context={"parentTaskId": UNKNOWN}))
    rec.step("project", lambda: start(project_id=""))
    rec.step("ttl", lambda: start(ttl=0))
    rec.step("key", lambda: start(idempotency_key=""))
    rec.step("priority", lambda: start(organization_id="small", priority=0))
    rec.step("unknown", lambda: start(organization_id="nobody"))
    for at in range(6):
        rec.step(f"quota {at}", lambda: start(organization_id="small"))


@scenario
def rest(rec: Recorder, api: Any) -> None:
    key = {"Idempotency-Key": "k"}
    rec.step("task", lambda: api.send("tasks/", NEW))
    rec.step("key", lambda: api.send("tasks/", NEW, **key))
    rec.step("again", lambda: api.send("tasks/", NEW, **key))
    rec.step("conflict", lambda: api.send("tasks/", NEW | {"projectId": "x"}, **key))
    rec.step("bad key", lambda: api.send("tasks/", NEW, **{"Idempotency-Key": "x" * 241}))
    rec.step("bulk", lambda: api.send("tasks/bulk/", {"tasks": [NEW, NEW]}))
    rec.step("workflow", lambda: api.send("workflows/", FLOW))
    soon = (timezone.now() + timedelta(hours=1)).isoformat()
    rec.step("later", lambda: api.send("tasks/", NEW | {"runAt": soon}))


@scenario
def rest_refused(rec: Recorder, api: Any) -> None:
    bad = [
        {"type": "NOTHING"},
        {"projectId": ""},
        {"projectId": "a\nb"},
        {"input": {}},
        {"input": 5},
        {"priority": 4},
        {"ttl": 0},
        {"ttl": 10**9},
        {"maxRetries": True},
        {"runAt": "tomorrow"},
        {"runAt": "2999-01-01T00:00:00Z"},
        {"dependsOn": ["no"]},
        {"dependsOn": [UNKNOWN]},
        {"context": {"iterationCount": 1}},
        {"context": {"userFeedback": [""]}},
        {"organizationId": "acme"},
        {"userId": "bob"},
        {"more": 1},
    ]
    for one in bad:
        rec.step(f"task {one}", lambda one=one: api.send("tasks/", NEW | one))
        rec.step(
            f"bulk {one}", lambda one=one: api.send("tasks/bulk/", {"tasks": [NEW, NEW | one]})
        )
    rec.step("empty", lambda: api.send("tasks/", {}))
    rec.step("empty bulk", lambda: api.send("tasks/bulk/", {"tasks": []}))
    for one in ({"kind": "x"}, {"input": {}}, {"ttl": 0}, {"more": 1}, {"projectId": "a\nb"}):
        rec.step(f"workflow {one}", lambda one=one: api.send("workflows/", FLOW | one))


def other_task() -> Any:
    return make_task(organization=make_organization("other")).pk


def child_of(task: Task) -> dict[str, Any]:
    return {"parentTaskId": str(task.pk)}


def above_the_maximum(first: Task) -> Any:
    second = add(context=child_of(first) | {"userFeedback": ["x"], "maxIterations": 1}).subject
    return add(context=child_of(second) | {"userFeedback": ["y"], "maxIterations": 1})


def limit_requests(most: int) -> None:
    tier = TierPolicy.objects.get(pk="enterprise")
    tier.request_limit = most
    tier.save()


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_submit_leaves_what_it_always_left(
    name: str, redis: Redis, acme: Any, monkeypatch: pytest.MonkeyPatch
):
    # However slow the machine is: a tier that was read is not read again.
    monkeypatch.setattr(policies, "FRESH_FOR", 3600.0)
    make_organization()
    load_scripts(redis)
    rec = Recorder(redis)

    SCENARIOS[name](rec, acme)

    if os.environ.get("PSQ_RECORD"):
        record(SNAPSHOT, name, rec.recording())
        record(COSTS, f"{name} {connection.vendor}", rec.costs)
        return
    assert rec.recording() == json.loads(SNAPSHOT.read_text(encoding="utf-8"))[name]
    ceilings = json.loads(COSTS.read_text(encoding="utf-8"))[f"{name} {connection.vendor}"]
    dearer = [
        (step["step"], cost, ceiling)
        for step, cost, ceiling in zip(rec.steps, rec.costs, ceilings, strict=True)
        if cost["sql"] > ceiling["sql"] or cost["redis"] > ceiling["redis"]
    ]
    assert not dearer, "a submit sends more than it did"


def record(file: Path, name: str, value: Any) -> None:
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    known[name] = value
    text = json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")
