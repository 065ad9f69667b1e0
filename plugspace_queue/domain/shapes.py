"""What inputs and outputs of a task type look like: a model of the host's or ours, as JSON."""

import inspect
import json
from collections.abc import Iterator
from functools import cache, cached_property
from typing import Any, Generic, Literal

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import to_jsonable_python
from typing_extensions import TypeVar

Value = TypeVar("Value", default=Any)


class Shape(Generic[Value]):
    """Validates JSON data by a pydantic model, a dataclass, or any type that pydantic knows.

    Unknown keys are refused. A model that says `extra` itself decides for all models in it.
    """

    def __init__(self, type: Any) -> None:
        self.type = type

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Made when it is first asked, as building one takes long; raises pydantic's errors."""
        return built_adapter(self.type)

    def validate(self, data: Any, context: Any = None) -> Value:
        """The value of JSON data; raises pydantic's ValidationError."""
        if self._is_wire:
            found: Value = self.type.model_validate(data, context=context)
            return found
        # As JSON, where strict models take the texts of times, enumerations and ids.
        text = json.dumps(data)
        value: Value = self.adapter.validate_json(text, context=context, extra=self._extra)
        return value

    def to_json(self, value: Any) -> Any:
        """The value as JSON data, in the form in which it is stored."""
        if self._is_wire:
            return value.model_dump(mode="json", by_alias=True, exclude_none=True)
        return self.adapter.dump_python(value, mode="json", by_alias=True)

    def as_data(self, value: Any) -> Any:
        """An unchecked value as JSON data, for who validates that anyway."""
        return to_jsonable_python(value, by_alias=True, exclude_none=self._is_wire)

    def fault(self) -> str:
        """Why pydantic cannot validate it; empty when it can."""
        try:
            _ = self.adapter
        except (PydanticUserError, TypeError) as error:
            return str(error)
        return ""

    @property
    def refuses_unknown(self) -> bool:
        """Whether it refuses keys of which its models say nothing."""
        return not self._is_wire and self._extra == "forbid"

    @cached_property
    def _is_wire(self) -> bool:
        """Whether absent and null are the same for it, as in all models of ours."""
        return is_model(self.type) and getattr(self.type, "absent_is_null", False)

    @cached_property
    def _extra(self) -> Literal["forbid"] | None:
        return None if any(_stated_extra(self.adapter.core_schema)) else "forbid"


def built_adapter(type: Any) -> TypeAdapter[Any]:
    """The adapter of a type, complete also where its model is built at its first use.

    Raises pydantic's errors.
    """
    adapter = TypeAdapter(type)
    if is_model(type) and not adapter.pydantic_complete:
        # Without names from the frames of the caller: reading them crashes Python 3.13.0.
        type.model_rebuild(raise_errors=False, _types_namespace={})
        adapter.rebuild(raise_errors=False, _types_namespace={})
    return adapter


@cache
def shape_of(type: Any) -> Shape[Any]:
    """The shape of a type, the same for each call."""
    return Shape(type)


def is_model(type: Any) -> bool:
    """Whether it is a pydantic model."""
    return inspect.isclass(type) and issubclass(type, BaseModel)


def _stated_extra(schema: Any) -> Iterator[bool]:
    """One truth for each class within that says what becomes of unknown keys."""
    if isinstance(schema, dict):
        config = _config_of(schema.get("cls"))
        if "extra" in config:
            yield True
        for part in schema.values():
            yield from _stated_extra(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from _stated_extra(part)


def _config_of(cls: Any) -> Any:
    return getattr(cls, "model_config", None) or getattr(cls, "__pydantic_config__", None) or {}
