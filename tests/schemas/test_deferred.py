"""Models of ours are built at their first use; those that a host derives where it declares them."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic._internal import _typing_extra
from pydantic.errors import PydanticSchemaGenerationError

from plugspace_queue.domain.shapes import built_adapter
from plugspace_queue.schemas.base import WireModel


def model_of_ours(number: int = 0) -> Any:
    """A model as one of our modules declares it."""
    names = {"__module__": "plugspace_queue.schemas.new", "__annotations__": {"count": int}}
    return type(f"New{number}", (WireModel,), names)


def test_a_model_of_ours_is_built_when_it_is_first_used():
    model = model_of_ours()
    assert not model.__pydantic_complete__

    assert model.from_wire({"count": 3}).count == 3

    assert model.__pydantic_complete__


def test_a_model_of_the_host_is_built_where_it_is_declared():
    class Brief(WireModel):
        count: int

    assert Brief.__pydantic_complete__


def test_a_fault_in_a_model_of_the_host_is_seen_where_it_is_declared():
    with pytest.raises(PydanticSchemaGenerationError):

        class Brief(WireModel):
            page: Barrier


def test_a_model_of_the_host_may_name_another_that_follows():
    class Brief(WireModel):
        page: "Page"

    class Page(WireModel):
        title: str

    Brief.model_rebuild()

    assert Brief.from_wire({"page": {"title": "Home"}}).page.title == "Home"


def test_the_first_use_reads_no_variables_of_frames(monkeypatch: pytest.MonkeyPatch):
    # Reading them crashes Python 3.13.0.
    def crash(**told: object) -> None:
        raise AssertionError("the frames were read")

    model, other = model_of_ours(), model_of_ours(1)
    monkeypatch.setattr(_typing_extra, "parent_frame_namespace", crash)

    assert model.from_wire({"count": 1}).to_wire() == {"count": 1}
    assert built_adapter(other).validate_python({"count": 2}).count == 2


def test_threads_may_use_models_for_the_first_time_at_once():
    models, start = [model_of_ours(number) for number in range(30)], Barrier(8)

    def use(thread: int) -> list[int]:
        start.wait(timeout=10)
        found = []
        for model in models if thread % 2 else reversed(models):
            with pytest.raises(ValidationError):
                model.from_wire({"count": "none"})
            found.append(model.from_wire({"count": thread}).count)
        return found

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(use, range(8)))

    assert counts == [[thread] * len(models) for thread in range(8)]
