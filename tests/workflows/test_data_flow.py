"""How the input of a declared workflow, and the outputs of its steps, reach the steps."""

from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from plugspace_queue import From, errors, queue_manager, workflow_kind
from plugspace_queue.domain.enums import State, Status
from plugspace_queue.models import Task, Workflow
from plugspace_queue.testing import processors, run_pending
from tests.workflows.podcasts import DOERS, declare_types

pytestmark = pytest.mark.django_db(transaction=True)

GIVEN = {"url": "https://pod/1", "words": 5, "title": "One"}
WHO = {"organization": "acme", "project": "show", "user": "ann"}


@pytest.fixture
def types(declare: Any) -> Any:
    queue_manager.set_organization("acme", tier="enterprise")
    return SimpleNamespace(**declare_types(declare))


def diamond(types: Any, **options: Any) -> Any:
    return workflow_kind(
        "podcast",
        steps=[
            types.TRANSCRIBE.step(),
            types.SUMMARIZE.step(after=[types.TRANSCRIBE], skip="skipSummary"),
            types.CHAPTERS.step(after=[types.TRANSCRIBE]),
            types.PUBLISH.step(after=["SUMMARIZE", "CHAPTERS"]),
        ],
        **options,
    )


def steps_of(handle: Any) -> dict[str, Task]:
    rows = Task.objects.filter(workflow=handle.workflow_id).order_by("step")
    return {task.name_in_workflow: task for task in rows}


def run(handle: Any, **doers: Any) -> dict[str, Task]:
    with processors(DOERS | doers, output=None):
        run_pending()
    return steps_of(handle)


def test_each_step_takes_the_fields_that_it_knows_and_its_parents_outputs(types: Any):
    kind = diamond(types)

    handle = kind.submit(GIVEN, **WHO)
    inputs = {name: task.input for name, task in steps_of(handle).items()}
    done = run(handle)

    assert inputs == {
        "TRANSCRIBE": {"url": "https://pod/1", "language": "en"},
        "SUMMARIZE": {"words": 5},
        "CHAPTERS": {"words": 5},
        "PUBLISH": {"summary": None, "chapters": None, "title": "One"},
    }
    assert done["PUBLISH"].result == {
        "title": "One",
        "summary": "5 of heard https://pod/1",
        "chapters": ["heard https://pod/1"],
        "results": ["CHAPTERS", "SUMMARIZE", "TRANSCRIBE"],
    }
    row = Workflow.objects.get(pk=handle.workflow_id)
    assert (row.kind, row.kind_version, row.status) == ("podcast", kind.version, Status.COMPLETE)
    assert row.input == GIVEN


def test_a_step_gets_nothing_of_a_parallel_branch(types: Any):
    seen: dict[str, list[str]] = {}

    def told(context: Any) -> Any:
        seen["CHAPTERS"] = sorted(context.results)
        return {"titles": []}

    handle = diamond(types).submit(GIVEN, **WHO)
    run(handle, CHAPTERS=told)

    assert seen == {"CHAPTERS": ["TRANSCRIBE"]}


def test_contexts_name_what_comes_before_and_after_in_the_graph(types: Any):
    handle = diamond(types).submit(GIVEN, **WHO)
    steps = steps_of(handle)
    ids = {name: str(task.pk) for name, task in steps.items()}

    assert steps["TRANSCRIBE"].context["chainedTasks"] == [ids["SUMMARIZE"], ids["CHAPTERS"]]
    assert steps["CHAPTERS"].context["previousTasks"] == [ids["TRANSCRIBE"]]
    assert steps["PUBLISH"].context["previousTasks"] == [
        ids["TRANSCRIBE"],
        ids["SUMMARIZE"],
        ids["CHAPTERS"],
    ]
    assert steps["PUBLISH"].context["parentTaskId"] == ids["SUMMARIZE"]
    assert [task.open_deps for task in steps.values()] == [0, 1, 1, 2]


def test_a_step_that_is_left_out_is_linked_around(types: Any):
    handle = diamond(types).submit(GIVEN | {"options": {"skipSummary": True}}, **WHO)

    done = run(handle)

    assert list(done) == ["TRANSCRIBE", "CHAPTERS", "PUBLISH"]
    assert done["PUBLISH"].result["summary"] is None
    assert done["PUBLISH"].result["chapters"] == ["heard https://pod/1"]


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"url": None}, "input.url", "string"),
        ({"colour": "red"}, "input.colour", "no step of podcast takes it"),
        ({"options": {"skipAll": True}}, "input.options", "no step of podcast takes it"),
        ({"options": {"skipSummary": "yes"}}, "input.options.skipSummary", "true or false"),
        ({"words": "many"}, "input.words", "integer"),
        ({"transcript": {"text": "x"}}, "input.transcript", "made by this workflow's TRANSCRIBE"),
        ({"title": ...}, "input.title", "is needed by the PUBLISH step"),
    ],
)
def test_what_no_step_can_take_is_refused_at_the_submit(
    types: Any, change: dict[str, Any], field: str, told: str
):
    given = {name: value for name, value in (GIVEN | change).items() if value is not ...}

    with pytest.raises(errors.ValidationRefused, match=told) as refused:
        diamond(types).submit(given, **WHO)

    assert refused.value.details["field"] == field
    assert not Workflow.objects.exists()


def test_skipping_the_only_producer_of_a_needed_field_is_refused(types: Any):
    kind = workflow_kind(
        "short", steps=[types.TRANSCRIBE.step(skip="skipListening"), types.SUMMARIZE.step()]
    )
    given = {"url": "https://pod/1", "options": {"skipListening": True}}

    with pytest.raises(errors.ValidationRefused, match="is needed by the SUMMARIZE step"):
        kind.submit(given, **WHO)

    handle = kind.submit(given | {"transcript": {"text": "typed"}}, **WHO)
    assert run(handle)["SUMMARIZE"].result == {"text": "100 of typed"}


class Episode(BaseModel):
    url: str
    title: str = "Untitled"
    options: dict[str, bool] = {}


def test_a_model_of_the_kind_validates_the_whole_input(types: Any):
    kind = diamond(types, input=Episode)

    handle = kind.submit(Episode(url="https://pod/2"), **WHO)

    assert Workflow.objects.get(pk=handle.workflow_id).input == {
        "url": "https://pod/2",
        "title": "Untitled",
        "options": {},
    }
    assert steps_of(handle)["PUBLISH"].input["title"] == "Untitled"
    with pytest.raises(errors.ValidationRefused) as refused:
        kind.submit({"url": "x", "words": 3}, **WHO)
    assert refused.value.details["field"] == "input.words"


def test_takes_sees_the_input_and_the_steps_before_and_may_change_what_is_taken(types: Any):
    seen: list[Any] = []

    def shortened(given: Any, steps: Any) -> Any:
        seen.append((dict(given), list(steps)))
        return {"words": len(given["title"])}

    kind = workflow_kind(
        "taken",
        steps=[types.TRANSCRIBE.step(), types.SUMMARIZE.step(takes=shortened)],
        input=Episode,
    )
    handle = kind.submit(Episode(url="u", title="four"), **WHO)

    assert steps_of(handle)["SUMMARIZE"].input == {"words": 4}
    assert seen == [({"url": "u", "title": "four", "options": {}}, ["TRANSCRIBE"])]


@pytest.mark.parametrize("option", ["takes", "check"])
def test_a_function_of_the_declaration_refuses_with_a_value_error(types: Any, option: str):
    def refuse(given: Any, steps: Any) -> Any:
        raise ValueError("not on a Sunday")

    of_step = {"takes": refuse} if option == "takes" else {}
    of_kind = {"check": refuse} if option == "check" else {}
    kind = workflow_kind(
        "refusing", steps=[types.TRANSCRIBE.step(**of_step)], input=Episode, **of_kind
    )

    with pytest.raises(errors.ValidationRefused, match="input: not on a Sunday"):
        kind.submit(Episode(url="u"), **WHO)


def test_input_from_makes_the_input_at_the_start_from_results_by_name(types: Any):
    def both(given: Any, results: Any) -> Any:
        texts = [results[name]["text"] for name in ("left", "right")]
        return given | {"transcript": {"text": " and ".join(texts)}}

    kind = workflow_kind(
        "stereo",
        steps=[
            types.TRANSCRIBE.step(name="left", after=[]),
            types.TRANSCRIBE.step(name="right", after=[]),
            types.SUMMARIZE.step(after=["left", "right"], input_from=both),
        ],
    )
    handle = kind.submit({"url": "u", "words": 1}, **WHO)
    assert [task.state for task in steps_of(handle).values()] == ["waiting", "waiting", "blocked"]

    done = run(handle)

    assert done["SUMMARIZE"].result == {"text": "1 of heard u and heard u"}
    assert done["SUMMARIZE"].step_name == "SUMMARIZE"


def test_an_input_from_whose_kind_is_gone_fails_the_step_clearly(types: Any):
    kind = workflow_kind(
        "gone",
        steps=[
            types.TRANSCRIBE.step(),
            types.SUMMARIZE.step(
                input_from=lambda given, results: given | {"transcript": results["TRANSCRIBE"]}
            ),
        ],
    )
    handle = kind.submit({"url": "u"}, **WHO)
    workflow_kind("gone", steps=[types.TRANSCRIBE.step()], replace=True)

    done = run(handle)

    error = done["SUMMARIZE"].error
    assert (done["SUMMARIZE"].state, error["code"]) == (State.FAILED, "VALIDATION_ERROR")
    assert "has no input_from for its step SUMMARIZE any more" in error["message"]


def test_a_running_workflow_ends_by_the_graph_it_began_with(types: Any):
    handle = diamond(types).submit(GIVEN, **WHO)
    version = Workflow.objects.get(pk=handle.workflow_id).kind_version

    changed = workflow_kind("podcast", steps=[types.TRANSCRIBE.step()], replace=True)
    done = run(handle)

    assert {task.state for task in done.values()} == {State.COMPLETE}
    assert Workflow.objects.get(pk=handle.workflow_id).kind_version == version != changed.version


def test_from_finds_the_only_step_of_a_type_whatever_its_name(types: Any):
    kind = workflow_kind(
        "renamed", steps=[types.TRANSCRIBE.step(name="listen"), types.SUMMARIZE.step(name="tell")]
    )

    done = run(kind.submit({"url": "u"}, **WHO))

    assert done["tell"].result == {"text": "100 of heard u"}


def test_a_task_alone_may_leave_a_field_to_its_parent(types: Any):
    heard = queue_manager.add_task(
        "TRANSCRIBE", project_id="p", user_id="u", organization_id="acme", input={"url": "u"}
    )
    told = queue_manager.add_task(
        "SUMMARIZE",
        project_id="p",
        user_id="u",
        organization_id="acme",
        input={"words": 2},
        depends_on=[heard],
    )
    with processors(DOERS, output=None):
        run_pending()
    told.refresh_from_db()

    assert told.result == {"text": "2 of heard u"}
    with pytest.raises(errors.ValidationRefused, match="transcript"):
        queue_manager.add_task(
            "SUMMARIZE", project_id="p", user_id="u", organization_id="acme", input={"words": 2}
        )


def test_a_kind_refines_with_what_the_refined_workflow_was_given(types: Any):
    kind = diamond(types, refines=True)
    first = diamond_of_old(types).submit(GIVEN | {"options": {"skipSummary": True}}, **WHO)
    last = run(first)["PUBLISH"]

    with pytest.raises(errors.ValidationRefused) as refused:
        kind.submit({}, **WHO)
    assert refused.value.details["field"] == "context.parentTaskId"

    context = {"parentTaskId": str(last.pk), "userFeedback": ["shorter"]}
    again = kind.submit({"words": 2}, **WHO, context=context)
    done = run(again)

    assert done["SUMMARIZE"].result == {"text": "2 of heard https://pod/1"}
    assert done["PUBLISH"].result["title"] == "One"
    assert {task.context["iterationCount"] for task in done.values()} == {1}
    assert done["PUBLISH"].context["userFeedback"] == ["shorter"]
    assert done["PUBLISH"].result["results"] == ["CHAPTERS", "SUMMARIZE", "TRANSCRIBE"]


def diamond_of_old(types: Any) -> Any:
    """The same graph under another name."""
    return workflow_kind(
        "podcast-of-old",
        steps=[
            types.TRANSCRIBE.step(),
            types.SUMMARIZE.step(after=[types.TRANSCRIBE], skip="skipSummary"),
            types.CHAPTERS.step(after=[types.TRANSCRIBE]),
            types.PUBLISH.step(after=["SUMMARIZE", "CHAPTERS"]),
        ],
    )


class Loose(BaseModel):
    notes: Annotated[Any, From("TRANSCRIBE")] = None


def test_an_output_of_any_form_fills_a_field_of_any_form(types: Any, declare: Any):
    loose = declare("LOOSE", input=Loose, output=dict)
    kind = workflow_kind("loose", steps=[types.TRANSCRIBE.step(), loose.step()])

    done = run(kind.submit({"url": "u"}, **WHO), LOOSE=lambda c: {"got": c.input.notes})

    assert done["LOOSE"].result == {"got": {"text": "heard u"}}
