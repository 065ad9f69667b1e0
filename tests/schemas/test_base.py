"""Only storable text and unguessed values get through."""

from typing import Any

import pytest
from pydantic import ValidationError

from plugspace_queue.schemas.base import WireModel, require_storable


class Sample(WireModel):
    """A model with one field of each difficulty."""

    total_count: int = 0
    share: float = 0.0
    anything: Any = None


def test_names_are_camel_case_outside_and_snake_case_inside() -> None:
    assert Sample.from_wire({"totalCount": 3}) == Sample(total_count=3)
    assert Sample(total_count=3).to_wire() == {"totalCount": 3, "share": 0.0}


@pytest.mark.parametrize("value", [True, "3", 3.0, None])
def test_only_an_integer_is_an_integer(value: object) -> None:
    with pytest.raises(ValidationError):
        Sample.from_wire({"totalCount": value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(value: float) -> None:
    with pytest.raises(ValidationError):
        Sample.from_wire({"share": value})


@pytest.mark.parametrize(
    "value",
    ["a\x00", {"a": ["b", {"c": "\udc00"}]}, {"key\x00": 1}, ["\ud83d"]],
)
def test_unstorable_text_is_refused_however_deep(value: object) -> None:
    with pytest.raises(ValidationError):
        Sample.from_wire({"anything": value})


def test_text_of_every_script_is_taken() -> None:
    assert Sample.from_wire({"anything": ["Grüße, 世界 🎉\ud7ff\ue000"]})


def test_deeply_nested_data_does_not_exhaust_the_stack() -> None:
    nested: object = "\x00"
    for _ in range(50_000):
        nested = [nested]

    with pytest.raises(ValueError, match="lone surrogates"):
        require_storable(nested)
