"""The documented inputs, to the letter, and what they refuse."""

from typing import Any

import pytest
from django.test import override_settings
from pydantic import ValidationError

from plugspace_queue.conf import AppSettings
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.schemas.inputs import ACCEPTED

INPUTS = {kind: kind.input.type for kind in TaskType}
OUTPUTS = {kind: kind.output.type for kind in TaskType}
MAX_PROMPT = AppSettings().max_prompt

DOCUMENTED: list[tuple[str, dict[str, Any]]] = [
    ("ARCHITECT", {"prompt": "Create a SaaS dashboard"}),
    (
        "ARCHITECT",
        {
            "prompt": "Create a SaaS dashboard",
            "context": {
                "industry": "saas",
                "style": "modern",
                "features": ["billing", "teams"],
                "targetAudience": "finance teams",
                "budget": "medium",
                "timeline": "urgent",
            },
            "options": {"includeTests": True},
        },
    ),
    ("DESIGN", {}),
    (
        "DESIGN",
        {
            "context": {
                "industry": "saas",
                "style": "calm",
                "brandColors": ["#0af", "#112233"],
                "referenceImage": "https://example.org/a.png",
                "mood": "playful",
            }
        },
    ),
    ("CODE", {"options": {"includeTests": True, "includeStorybook": False}}),
    (
        "ANALYZE",
        {
            "url": "https://example.org/",
            "options": {
                "depth": 3,
                "includeScreenshots": False,
                "analyzeTech": True,
                "analyzeDesign": True,
                "analyzePerformance": True,
            },
        },
    ),
    ("DEPLOY", {}),
    ("EXPORT", {"format": "zip", "ttl": 3600}),
]

REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("ARCHITECT", {}),
    ("ARCHITECT", {"prompt": ""}),
    ("ARCHITECT", {"prompt": " \n\t "}),
    ("ARCHITECT", {"prompt": "x" * (MAX_PROMPT + 1)}),
    ("ARCHITECT", {"prompt": 7}),
    ("ARCHITECT", {"prompt": "a\x00b"}),
    ("ARCHITECT", {"prompt": "a\ud800b"}),
    ("ARCHITECT", {"prompt": "a", "colour": "red"}),
    ("ARCHITECT", {"prompt": "a", "context": {"budget": "huge"}}),
    ("ARCHITECT", {"prompt": "a", "context": {"features": ["ok", "bad\x00"]}}),
    ("ARCHITECT", {"prompt": "a", "options": {"includeTests": 1}}),
    ("ARCHITECT", {"prompt": "a", "options": {"includeTests": "true"}}),
    ("DESIGN", {"context": {"brandColors": ["red"]}}),
    ("DESIGN", {"context": {"brandColors": ["#12345"]}}),
    ("DESIGN", {"context": {"brandColors": ["#123456\n"]}}),
    ("DESIGN", {"context": {"referenceImage": "file:///etc/passwd"}}),
    ("ANALYZE", {"url": "ftp://example.org/"}),
    ("ANALYZE", {"url": "javascript:alert(1)"}),
    ("ANALYZE", {"url": "//example.org/"}),
    ("ANALYZE", {"url": "https://"}),
    ("ANALYZE", {"url": "https://user:pw@example.org/"}),
    ("ANALYZE", {"url": "https://example.org:99999/"}),
    ("ANALYZE", {"url": "https://exa mple.org/"}),
    ("ANALYZE", {"url": "https://example.org/", "options": {"depth": 4}}),
    ("ANALYZE", {"url": "https://example.org/", "options": {"depth": -1}}),
    ("ANALYZE", {"url": "https://example.org/", "options": {"depth": True}}),
    ("EXPORT", {"format": "rar"}),
    ("EXPORT", {"ttl": 1}),
    ("DEPLOY", {"target": "moon"}),
    ("DEPLOY", {"name": "../up"}),
]


@pytest.mark.parametrize(("task_type", "data"), DOCUMENTED)
def test_a_documented_input_comes_back_as_it_was(task_type: str, data: dict[str, Any]) -> None:
    wire = INPUTS[task_type].from_wire(data).to_wire()

    assert data.items() <= wire.items()
    assert INPUTS[task_type].from_wire(wire).to_wire() == wire


@pytest.mark.parametrize(("task_type", "data"), REFUSED)
def test_a_wrong_input_is_refused(task_type: str, data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        INPUTS[task_type].from_wire(data)


def test_a_prompt_of_the_greatest_length_is_taken() -> None:
    assert INPUTS["ARCHITECT"].from_wire({"prompt": "x" * MAX_PROMPT})


@override_settings(PLUGSPACE_QUEUE={"MAX_PROMPT": 10})
def test_the_longest_prompt_is_a_setting_that_leaves_accepted_tasks_alone() -> None:
    architect = INPUTS["ARCHITECT"]

    with pytest.raises(ValidationError) as refused:
        architect.from_wire({"prompt": "x" * 11})

    assert refused.value.errors()[0]["msg"] == "String should have at most 10 characters"
    assert architect.from_wire({"prompt": "é" * 10})
    assert architect.model_validate({"prompt": "x" * 11}, context=ACCEPTED)
    assert architect.model_json_schema()["properties"]["prompt"]["maxLength"] == 10


@override_settings(PLUGSPACE_QUEUE={"MAX_PROMPT": MAX_PROMPT + 1})
def test_a_longer_prompt_is_taken_where_the_setting_allows_it() -> None:
    assert INPUTS["ARCHITECT"].from_wire({"prompt": "x" * (MAX_PROMPT + 1)})


def test_each_task_type_has_an_input_and_an_output() -> None:
    types = {"ARCHITECT", "DESIGN", "CODE", "ANALYZE", "DEPLOY", "EXPORT"}

    assert set(INPUTS) == set(OUTPUTS) == types
    assert all(model.model_fields["summary"].is_required() for model in OUTPUTS.values())


def test_the_error_names_the_field_as_it_is_on_the_wire() -> None:
    with pytest.raises(ValidationError) as error:
        INPUTS["ARCHITECT"].from_wire({"prompt": "a", "context": {"targetAudience": 5}})

    assert error.value.errors()[0]["loc"] == ("context", "targetAudience")


def test_every_schema_can_be_published_as_json_schema() -> None:
    for model in (*INPUTS.values(), *OUTPUTS.values()):
        assert model.model_json_schema()["properties"]
