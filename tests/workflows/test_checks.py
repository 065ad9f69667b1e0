"""`manage.py check` tells what is wrong with a kind by the models of its types."""

from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from django.core.checks import run_checks
from pydantic import BaseModel, ConfigDict, Field

from plugspace_queue import From, errors, queue_manager, workflow_kind
from plugspace_queue.domain.steps import step
from plugspace_queue.workflows.fit import misfit
from tests.workflows.podcasts import Transcript, declare_types

pytestmark = pytest.mark.usefixtures("declaring")


def found() -> list[tuple[str | None, str]]:
    # Of kinds: types of a test need no quota for each tier (psq.W010).
    found = run_checks(tags=["plugspace_queue"])
    return [(one.id, one.msg) for one in found if one.id != "psq.W010"]


@pytest.fixture
def types(declare: Any) -> dict[str, Any]:
    return declare_types(declare)


def test_the_kinds_of_the_seed_are_right():
    assert found() == []


def test_a_kind_of_a_type_that_is_not_declared(types: Any):
    workflow_kind("lost", steps=[types["TRANSCRIBE"].step(), step("TRANSLATE")])

    ((code, told),) = found()
    assert code == "psq.E030"
    assert told.startswith("Workflow kind 'lost', step TRANSLATE: the task type TRANSLATE is not")


@pytest.mark.django_db(transaction=True)
def test_a_workflow_with_a_step_of_no_declared_type_is_refused(types: Any, declare: Any):
    queue_manager.set_organization("acme", tier="enterprise")
    declare("HIDDEN", input=dict, output=dict, internal=True)
    for name in ("TRANSLATE", "HIDDEN"):
        kind = workflow_kind(f"of-{name.lower()}", steps=[step(name)])

        with pytest.raises(errors.ValidationRefused, match=f"of the type {name}") as refused:
            kind.submit({}, organization="acme", project="p", user="u")
        assert refused.value.details["field"] == "kind"


def test_a_needed_output_that_no_step_before_makes(types: Any):
    workflow_kind("late", steps=[types["SUMMARIZE"].step(), types["TRANSCRIBE"].step()])

    ((code, told),) = found()
    assert code == "psq.E031"
    assert "no step before it makes TRANSCRIBE, which its field transcript needs" in told


class Given(BaseModel):
    transcript: Transcript


def test_a_needed_output_may_be_given_by_the_caller_or_made_by_a_function(types: Any):
    workflow_kind("given", steps=[types["SUMMARIZE"].step()], input=Given)
    workflow_kind(
        "made",
        steps=[types["CHAPTERS"].step(after=[], takes=lambda i, s: i), types["PUBLISH"].step()],
        input=Given,
    )

    assert found() == []


def test_an_output_of_two_steps_of_one_type_is_ambiguous(types: Any):
    both = [types["TRANSCRIBE"].step(name=name, after=[]) for name in ("left", "right")]
    workflow_kind("two", steps=[*both, types["SUMMARIZE"].step(after=both)])

    ((code, told),) = found()
    assert code == "psq.E032"
    assert "From('TRANSCRIBE') of the field transcript may be one of left, right" in told


def test_an_output_that_does_not_fit(types: Any, declare: Any):
    class Scored(BaseModel):
        transcript: Annotated[Scores, From("TRANSCRIBE")]

    scored = declare("SCORED", input=Scored, output=dict)
    workflow_kind("scored", steps=[types["TRANSCRIBE"].step(), scored.step()])

    ((code, told),) = found()
    assert code == "psq.E033"
    assert "the output of TRANSCRIBE does not fit its field transcript: it has no 'scores'" in told


def test_an_output_that_is_converted_need_not_fit(types: Any, declare: Any):
    class Scored(BaseModel):
        transcript: Annotated[Scores, From("TRANSCRIBE")]

    scored = declare("SCORED", input=Scored, output=dict)
    convert = scored.step(input_from=lambda given, results: given)
    workflow_kind("scored", steps=[types["TRANSCRIBE"].step(), convert])

    assert found() == []


def test_a_replaced_output_that_a_field_of_its_own_model_does_not_fit(types: Any, declare: Any):
    class Paint(BaseModel):
        summary: Annotated[Own, From("TRANSCRIBE")]

    paint = declare("PAINT", input=Paint, output=dict)
    workflow_kind("paint", steps=[types["TRANSCRIBE"].step(), paint.step()])
    assert found() == []

    declare("TRANSCRIBE", output=Scores, replace=True)

    codes = {code for code, _ in found()}
    assert codes == {"psq.E033"}


def test_a_needed_output_of_a_step_that_may_fail(types: Any):
    workflow_kind(
        "brave",
        steps=[types["TRANSCRIBE"].step(on_failure="continue"), types["SUMMARIZE"].step()],
    )

    ((code, told),) = found()
    assert code == "psq.E034"
    assert "its field transcript needs the output of TRANSCRIBE" in told


def test_a_switch_that_is_an_option_of_a_step_as_well(types: Any, declare: Any):
    class Options(BaseModel):
        skip_it: bool = Field(False, alias="skipIt")

    class Optional(BaseModel):
        options: Options = Options()

    optional = declare("OPTIONAL", input=Optional, output=dict)
    workflow_kind("both", steps=[types["TRANSCRIBE"].step(), optional.step(skip="skipIt")])

    ((code, told),) = found()
    assert code == "psq.E035"
    assert "its model has an option 'skipIt', which also leaves out a step" in told


def test_a_switch_that_the_input_of_the_kind_does_not_have(types: Any):
    class Closed(BaseModel):
        url: str

    workflow_kind("closed", steps=[types["TRANSCRIBE"].step(skip="skipIt")], input=Closed)

    ((code, told),) = found()
    assert code == "psq.E036"
    assert "the input of the kind has no options.skipIt" in told


def test_a_source_that_is_neither_a_type_nor_a_step(declare: Any):
    class Mistyped(BaseModel):
        transcript: Annotated[Transcript | None, From("TRANSCIBE")] = None

    declare("MISTYPED", input=Mistyped)

    ((code, told),) = found()
    assert code == "psq.W030"
    assert "MISTYPED: From('TRANSCIBE') of the field transcript names neither" in told


class Scores(BaseModel):
    scores: list[int]


class Own(BaseModel):
    text: str


class Wide(BaseModel):
    text: str
    language: str = "en"


class Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")
    text: str


class Nested(BaseModel):
    parts: list[Own]
    best: Own | None = None


class OtherNested(BaseModel):
    parts: list[Scores]


class Textual(TypedDict):
    text: str


@dataclass
class Plain:
    text: str


@pytest.mark.parametrize(
    ("output", "annotation", "told"),
    [
        (Own, Own, None),
        (Own, Own | None, None),
        (Own, Any, None),
        (Any, Own, None),
        (Own, dict[str, Any], None),
        (dict, Own, None),
        (Own, Plain, None),
        (Textual, Own, None),
        (Own, Textual, None),
        (Own, Wide, None),
        (Wide, Own, "it has 'language', which the field does not take"),
        (Wide, Lenient, None),
        (Own, Scores, "it has no 'scores'"),
        (Nested, Nested, None),
        (Nested, OtherNested, "it.parts[] has no 'scores'"),
        (str, int, "it is of the type string, not integer"),
        (int, float, None),
        (list[str], list[int], "it[] is of the type string, not integer"),
        (list[str], Own, "it is of the type array, not object"),
        (Own | Scores, Own, None),
        (str | int, Own, "it is of the type string, not object"),
        (Own, Scores | Lenient, None),
        (Own, Scores | int, "it has no 'scores'"),
        (Own | None, Own, None),
        (None, Own, None),
    ],
)
def test_only_what_is_certain_is_a_misfit(output: Any, annotation: Any, told: str | None):
    is_closed = annotation is not Lenient and annotation != Scores | Lenient

    assert misfit(output, annotation, is_closed=is_closed) == told
