"""Workflows from submit to site: the demo's agents in a real worker process."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.models import MonthlyUsage, Task, Workflow
from tests.agents.web import Web, running_web, text
from tests.support import patient, wait_until

pytestmark = [
    pytest.mark.usefixtures("acme", "nothing_is_left"),
    pytest.mark.timeout(180),
    pytest.mark.slow,
]

QUEUES = ("analyze", "architect", "design", "code")
WISH = {
    "prompt": "Create a website for a small bakery called Kornblume with a menu and contact",
    "context": {"industry": "restaurant", "mood": "calm"},
}
PAGE = "<html><head><title>Kornblume</title></head><body><h1>Bread</h1></body></html>"


@pytest.fixture
def agents(rqworker) -> Callable[..., Any]:
    """A worker process with the demo's agents for all steps."""
    return lambda **environment: rqworker(*QUEUES, settings="project.settings", **environment)


def start(input: dict[str, Any], **arguments: Any) -> Workflow:
    handle = queue_manager.add_workflow("site", "ann", "acme", input, **arguments)
    return queue_manager.get_workflow(handle.workflow_id)


def steps_of(workflow: Workflow) -> dict[str, Task]:
    return {task.type: task for task in Task.objects.filter(workflow=workflow).order_by("step")}


def until_ended(workflow: Workflow, status: str = "complete") -> dict[str, Task]:
    """The steps once none of them is open; they show this status together."""
    wait_until(lambda: all(step.is_final for step in steps_of(workflow).values()), 60)
    steps = steps_of(workflow)
    told = {kind: (step.state, step.error) for kind, step in steps.items()}
    assert queue_manager.get_workflow(workflow.pk).status == status, told
    return steps


def until_mirrored(redis: Redis, workflow: Workflow, status: str) -> dict[str, Any]:
    """`plugspace:workflow:{id}` once it shows the status."""

    def told() -> dict[str, Any] | None:
        found = json.loads(redis.get(keys.workflow(str(workflow.pk))) or "{}")
        return found if found.get("status") == status else None

    return wait_until(told) or {}


def used() -> dict[str, int]:
    return dict(MonthlyUsage.objects.values_list("type", "used"))


def test_a_wish_becomes_a_site_step_by_step(agents):
    workflow = start(WISH)
    agents()

    steps = until_ended(workflow)

    assert list(steps) == ["ARCHITECT", "DESIGN", "CODE"]
    assert all(step.tokens_used and step.progress["stage"] for step in steps.values())
    moments = [(step.started_at, step.completed_at) for step in steps.values()]
    assert sorted(moment for pair in moments for moment in pair) == [m for p in moments for m in p]
    plan, design, code = (step.result for step in steps.values())
    assert plan["industry"] == "restaurant"
    assert design["mood"] == "calm"
    files = {file["path"]: file["content"] for file in code["files"]}
    assert {page["path"] for page in code["pages"]} <= set(files)
    assert plan["name"] in files[code["entry"]]
    assert any(design["light"]["primary"] in content for content in files.values())


def test_redis_shows_the_workflow_and_the_result_of_each_step(agents, redis):
    workflow = start(WISH)
    agents()

    steps = until_ended(workflow)

    told = until_mirrored(redis, workflow, "complete")
    assert [step["state"] for step in told["steps"]] == ["complete"] * 3
    assert redis.ttl(keys.workflow(str(workflow.pk))) > 0
    for kind, step in steps.items():
        key = f"plugspace:result:{step.pk}:{kind}"
        wait_until(lambda key=key: redis.exists(key))
        assert shown(redis, key, step) == step.result
        assert redis.ttl(key) > 0


def shown(redis, key, step):
    """The result under its key; a large one is in the row, and a note says where to ask for it."""
    found = json.loads(redis.get(key))
    if len(json.dumps(step.result)) <= 32 * 1024:
        return found
    assert (found["taskId"], found["path"]) == (str(step.pk), f"/api/v1/tasks/{step.pk}/")
    return step.result


def test_without_design_the_code_follows_the_plan(agents):
    workflow = start(WISH | {"options": {"skipDesign": True}})
    agents()

    steps = until_ended(workflow)

    assert list(steps) == ["ARCHITECT", "CODE"]
    assert steps["CODE"].context["previousTasks"] == [str(steps["ARCHITECT"].pk)]
    assert used() == {"ARCHITECT": 1, "CODE": 1}


def test_feedback_changes_the_site_and_counts_an_iteration(agents):
    first = start(WISH)
    agents()
    parent = until_ended(first)["CODE"]

    second = start(
        {},
        kind="refine",
        context={"parentTaskId": str(parent.pk), "userFeedback": ["rename it to Mohnblume"]},
    )
    steps = until_ended(second)

    plan = steps["ARCHITECT"].result
    assert plan["name"] == "Mohnblume"
    assert [(piece["applied"], piece["feedback"]) for piece in plan["revisions"]] == [
        (True, "rename it to Mohnblume")
    ]
    assert {step.context["iterationCount"] for step in steps.values()} == {1}
    code = steps["CODE"].result
    entry = next(file for file in code["files"] if file["path"] == code["entry"])
    assert "Mohnblume" in entry["content"]


@pytest.fixture
def web():
    with running_web() as served:
        served.pages["/"] = text(PAGE)
        yield served


def test_a_failed_step_cancels_the_rest_and_the_workflow_goes_on_from_it(agents, redis, web: Web):
    workflow = start({"url": f"{web.url}/"}, kind="clone")
    # Addresses of this machine are refused by the guard, unless that is allowed.
    strict = agents()
    failed = until_ended(workflow, "failed")

    assert failed["ANALYZE"].state == "failed"
    later = [failed[kind] for kind in ("ARCHITECT", "DESIGN", "CODE")]
    assert {(step.state, step.error["code"]) for step in later} == {("cancelled", "CANCELLED")}
    assert all(step.refunded_at for step in later)
    assert used() == {"ANALYZE": 1, "ARCHITECT": 0, "DESIGN": 0, "CODE": 0}
    assert until_mirrored(redis, workflow, "failed")["steps"][1]["state"] == "cancelled"
    assert web.asked == []

    strict.terminate()
    strict.wait(timeout=patient(30))
    agents(ANALYZE_ALLOW_PRIVATE="1")
    queue_manager.retry_workflow(workflow.pk)

    steps = until_ended(workflow)
    assert web.asked
    assert steps["ARCHITECT"].result["name"]
    assert used() == {"ANALYZE": 2, "ARCHITECT": 1, "DESIGN": 1, "CODE": 1}
    assert steps["ANALYZE"].attempts.count() == 2
    until_mirrored(redis, workflow, "complete")


def test_a_cancelled_workflow_stops_where_it_is(rqworker, redis, until_running):
    workflow = start({"prompt": "hold"})
    rqworker("architect", "design")
    until_running(steps_of(workflow)["ARCHITECT"])

    queue_manager.cancel_workflow(workflow.pk)

    steps = until_ended(workflow, "failed")
    assert {step.state for step in steps.values()} == {"cancelled"}
    # What had started is not given back.
    assert used() == {"ARCHITECT": 1, "DESIGN": 0, "CODE": 0}
    until_mirrored(redis, workflow, "failed")
