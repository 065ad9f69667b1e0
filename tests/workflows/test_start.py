"""Starting a workflow: all steps at once, each with what it needs, charged together."""

import json
from itertools import pairwise

import pytest

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import State, Status
from plugspace_queue.models import Dependency, MonthlyUsage, Task, Workflow
from tests.factories import make_organization, make_task
from tests.workflows.examples import ARCHITECTURE, DESIGN

pytestmark = pytest.mark.django_db(transaction=True)

PROMPT = {
    "prompt": "Create a SaaS dashboard",
    "context": {"industry": "saas", "mood": "calm", "budget": "low"},
    "options": {"skipDesign": False, "skipCode": False, "includeTests": True},
}


def start(input, **changes):
    make_organization()
    handle = queue_manager.add_workflow("site", "ann", "acme", input, **changes)
    return list(Task.objects.filter(workflow=handle.workflow_id).order_by("step"))


@pytest.mark.parametrize(
    ("kind", "input", "expected"),
    [
        ("create", PROMPT, "ARCHITECT DESIGN CODE"),
        ("clone", {"url": "https://example.com/"}, "ANALYZE ARCHITECT DESIGN CODE"),
        ("design-only", PROMPT, "ARCHITECT DESIGN"),
        ("code-only", {"architecture": ARCHITECTURE}, "CODE"),
        ("code-only", {"design": DESIGN}, "CODE"),
        ("analyze-only", {"url": "https://example.com/", "options": {"depth": 2}}, "ANALYZE"),
        ("create", PROMPT | {"options": {"skipDesign": True}}, "ARCHITECT CODE"),
        ("create", PROMPT | {"options": {"skipCode": True}}, "ARCHITECT DESIGN"),
        ("create", PROMPT | {"options": {"skipCode": True, "skipDesign": True}}, "ARCHITECT"),
        (
            "create",
            PROMPT | {"options": {"skipDesign": True}, "design": DESIGN},
            "ARCHITECT CODE",
        ),
    ],
)
def test_every_kind_becomes_its_chain_of_steps(kind, input, expected):
    steps = start(input, kind=kind)

    assert [step.type for step in steps] == expected.split()
    assert [step.state for step in steps] == [State.WAITING] + [State.BLOCKED] * (len(steps) - 1)
    assert [step.open_deps for step in steps] == [0] + [1] * (len(steps) - 1)
    assert [step.deadline is None for step in steps] == [False] + [True] * (len(steps) - 1)
    links = set(Dependency.objects.values_list("parent", "task"))
    assert links == {(before.pk, after.pk) for before, after in pairwise(steps)}


@pytest.mark.parametrize(
    ("kind", "input", "field"),
    [
        ("create", {"url": "https://example.com/"}, "input.prompt"),
        ("design-only", {}, "input.prompt"),
        ("clone", {"prompt": "x"}, "input.url"),
        ("analyze-only", {"prompt": "x"}, "input.url"),
        ("code-only", {"prompt": "x"}, "input.architecture"),
        ("code-only", {"design": DESIGN, "options": {"skipCode": True}}, "input.options"),
        ("design-only", PROMPT | {"options": {"skipDesign": True}}, "input.options.skipDesign"),
        (
            "design-only",
            PROMPT | {"options": {"skipDesign": True, "skipCode": True}},
            "input.options.skipDesign",
        ),
        ("create", PROMPT | {"architecture": ARCHITECTURE}, "input.architecture"),
        ("create", PROMPT | {"design": DESIGN}, "input.design"),
        ("create", PROMPT | {"unknown": 1}, "input.unknown"),
        ("create", {"prompt": "x", "options": {"skipEverything": True}}, "input.options"),
        ("refine", {"prompt": "x"}, "context.parentTaskId"),
        ("nothing", PROMPT, "kind"),
        ("create", "text", "input"),
        ("create", {"prompt": " "}, "input.prompt"),
    ],
)
def test_a_step_that_would_lack_its_input_is_refused(kind, input, field):
    with pytest.raises(errors.ValidationRefused) as refused:
        start(input, kind=kind)

    assert refused.value.details["field"].startswith(field)
    assert not Workflow.objects.exists()


def test_each_step_takes_the_part_of_the_input_it_knows():
    architect, design, code = start(PROMPT)

    assert architect.input == {
        "prompt": "Create a SaaS dashboard",
        "context": {"industry": "saas", "budget": "low"},
        "options": {"includeTests": True},
    }
    assert design.input == {"context": {"industry": "saas", "mood": "calm"}}
    assert code.input == {"options": {"includeTests": True}}


def test_a_clone_without_a_prompt_rebuilds_what_is_there():
    steps = start({"url": "https://example.com/"}, kind="clone")

    assert "https://example.com/" in steps[1].input["prompt"]


def test_contexts_say_who_comes_before_and_after():
    one, two, three = start(PROMPT, context={"maxIterations": 4})
    ids = [str(step.pk) for step in (one, two, three)]

    assert one.context == {
        "previousTasks": [],
        "iterationCount": 0,
        "maxIterations": 4,
        "chainedTasks": [ids[1]],
    }
    assert two.context["previousTasks"] == [ids[0]]
    assert two.context["parentTaskId"] == ids[0]
    assert three.context["previousTasks"] == ids[:2]
    assert "chainedTasks" not in three.context


def test_all_steps_are_charged_or_none_and_the_missing_type_is_named():
    make_organization(tier="free")
    for _ in range(5):
        queue_manager.add_workflow("site", "ann", "acme", PROMPT)

    with pytest.raises(errors.QuotaExceeded) as refused:
        queue_manager.add_workflow("site", "ann", "acme", PROMPT)

    assert refused.value.details["type"] == "CODE"
    assert dict(MonthlyUsage.objects.values_list("type", "used")) == {
        "ARCHITECT": 5,
        "CODE": 5,
        "DESIGN": 5,
    }
    assert Task.objects.count() == 15


def test_one_request_is_counted_and_steps_inherit_the_priority(redis):
    steps = start(PROMPT, priority=2)

    assert redis.get(keys.ratelimit("acme")) == b"1"
    assert {step.priority for step in steps} == {2}


def test_only_the_first_step_stands_in_line_and_redis_knows_the_workflow(redis):
    steps = start(PROMPT)

    assert redis.llen(keys.wait("architect")) == 1
    assert redis.llen(keys.wait("design")) == 0
    told = json.loads(redis.get(keys.workflow(str(steps[0].workflow_id))))
    assert (told["kind"], told["status"]) == ("create", "pending")
    assert [step["state"] for step in told["steps"]] == ["waiting", "blocked", "blocked"]


def test_a_workflow_costs_few_queries(django_assert_max_num_queries):
    start(PROMPT)

    # organization, three counters, ledger, workflow, steps, links, and the frame of a transaction;
    # two more after the commit for the copy in Redis.
    with django_assert_max_num_queries(13):
        queue_manager.add_workflow("site", "ann", "acme", PROMPT)


def test_the_handle_and_the_lookup_agree():
    make_organization()
    handle = queue_manager.add_workflow("site", "ann", "acme", PROMPT)

    found = queue_manager.get_workflow(handle.workflow_id)

    assert found.task_ids == handle.task_ids
    assert found.status == Status.PENDING
    with pytest.raises(errors.NotFound):
        queue_manager.get_workflow(handle.workflow_id, organization_id="other")


def test_an_input_above_the_limit_is_refused(settings):
    settings.PLUGSPACE_QUEUE = {"MAX_INPUT": 2000}

    with pytest.raises(errors.PayloadTooLarge):
        start({"prompt": "x" * 3000})


def test_refining_goes_on_from_a_complete_task():
    first = start(PROMPT)[-1]
    complete(first)
    context = {"parentTaskId": str(first.pk), "userFeedback": ["darker"], "maxIterations": 2}

    steps = refine(context)

    assert steps[0].input["prompt"] == PROMPT["prompt"]
    assert steps[0].context["parentTaskId"] == str(first.pk)
    assert {step.context["iterationCount"] for step in steps} == {1}
    assert {tuple(step.context["userFeedback"]) for step in steps} == {("darker",)}


def test_feedback_adds_up_until_the_maximum_is_reached():
    task = start(PROMPT, context={"maxIterations": 2})[-1]
    for word in ("darker", "bigger"):
        complete(task)
        task = refine({"parentTaskId": str(task.pk), "userFeedback": [word]})[-1]
    complete(task)

    assert task.context["userFeedback"] == ["darker", "bigger"]
    with pytest.raises(errors.InvalidState) as refused:
        refine({"parentTaskId": str(task.pk), "userFeedback": ["more"]})
    assert refused.value.details["reason"] == "MAX_ITERATIONS"


def test_only_a_complete_task_of_the_organization_is_refined():
    open_task = start(PROMPT)[-1]
    foreign = make_task(organization=make_organization("other"), state=State.COMPLETE)

    with pytest.raises(errors.InvalidState):
        refine({"parentTaskId": str(open_task.pk)})
    with pytest.raises(errors.NotFound):
        refine({"parentTaskId": str(foreign.pk)})


def refine(context):
    return start({}, kind="refine", context=context)


def complete(task):
    Task.objects.filter(pk=task.pk).update(state=State.COMPLETE, completed_at=task.queued_at)
