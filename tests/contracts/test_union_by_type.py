"""The document of the API shows the inputs and results of each declared type."""

from typing import Any

import pytest
from drf_spectacular.validation import validate_schema
from pydantic import BaseModel

from plugspace_queue import task_type
from plugspace_queue.api import openapi
from plugspace_queue.domain.catalog import open_for_declarations


def model(name: str, **fields: Any) -> type[BaseModel]:
    """A model that another module could have under the same name."""
    return type(name, (BaseModel,), {"__annotations__": fields, "__module__": f"of_{len(fields)}"})


@pytest.fixture
def document() -> Any:
    with open_for_declarations():
        task_type("SEND_MAIL", input=model("Input", to=str), output=model("Output", sent=bool))
        task_type("CALL", input=model("Input", number=str, seconds=int), output=dict[str, Any])
        task_type("HOUSEKEEPING", input=model("Secret", word=str), internal=True)
        task_type("AGENT")
        task_type("PLUGSPACE_CALL", input=model("Input", a=str, b=str, c=str))
        openapi.clear_cache()
        yield openapi.document()
    openapi.clear_cache()


def test_bodies_and_results_are_unions_by_type(document: Any):
    components = document["components"]["schemas"]

    validate_schema(document)
    mapping = components["PlugspaceNewTask"]["discriminator"]["mapping"]
    assert mapping["SEND_MAIL"] == "#/components/schemas/PlugspaceNewSendMailTask"
    assert components["PlugspaceNewSendMailTask"]["properties"]["type"]["const"] == "SEND_MAIL"
    shown = components["PlugspaceSendMailTask"]["properties"]["result"]["anyOf"]
    assert shown == [{"$ref": "#/components/schemas/PlugspaceSendMailOutput"}, {"type": "null"}]


def test_two_models_of_one_name_stay_two(document: Any):
    components = document["components"]["schemas"]

    assert set(components["PlugspaceSendMailInput"]["properties"]) == {"to"}
    assert set(components["PlugspaceCallInput"]["properties"]) == {"number", "seconds"}


def test_a_type_that_is_named_like_the_prefix_stays_apart(document: Any):
    components = document["components"]["schemas"]

    assert set(components["PlugspacePlugspaceCallInput"]["properties"]) == {"a", "b", "c"}


def test_internal_types_are_not_in_it(document: Any):
    assert "HOUSEKEEPING" not in str(document)
    assert "PlugspaceSecret" not in document["components"]["schemas"]


def test_a_type_that_is_named_like_a_component_gets_another_name(document: Any):
    mapping = document["components"]["schemas"]["PlugspaceAgentTask"]["discriminator"]["mapping"]

    assert mapping["AGENT"] == "#/components/schemas/PlugspaceAgentTask_"
