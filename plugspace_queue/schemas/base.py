"""The bases of our models; of wire models: camelCase names, no conversion, only storable text."""

import threading
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

import pydantic.main
from django.utils.translation import gettext_lazy
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel

from plugspace_queue.domain.text import find_unstorable

STORABLE = {"is_storable": True}
"""Validation context of data whose strings were checked already."""

ACCEPTED = {"is_accepted": True}
"""Validation context of a stored input: its strings are not checked again, and a limit that was
lowered later does not make it invalid."""


_building: Any = getattr(pydantic.main, "_rebuild_lock", None) or threading.RLock()
"""Pydantic's own lock; releases before 2.14 have none, and no thread may see a half-built model."""

_EXPLICIT = 2
"""The depth of frames that pydantic takes when a caller calls `model_rebuild`."""


class DeferredModel(BaseModel):
    """Base of our models: they are built at their first use, which makes importing us cheap.

    A model of the host that extends one is built where it is declared, as pydantic does it, so
    that its faults are seen there.
    """

    model_config = ConfigDict(defer_build=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not cls.__module__.startswith("plugspace_queue."):
            cls.model_rebuild(raise_errors=False, _types_namespace={})

    @classmethod
    def model_rebuild(
        cls,
        *,
        force: bool = False,
        raise_errors: bool = True,
        _parent_namespace_depth: int = _EXPLICIT,
        _types_namespace: Mapping[str, Any] | None = None,
    ) -> bool | None:
        """As pydantic's, but the first use does not look for names in the frames of its caller.

        Our models need none, and reading the variables of frames crashes Python 3.13.0.
        """
        if _types_namespace is None and _parent_namespace_depth != _EXPLICIT:
            _types_namespace = {}
        with _building:
            return super().model_rebuild(
                force=force,
                raise_errors=raise_errors,
                _parent_namespace_depth=_parent_namespace_depth + 1,
                _types_namespace=_types_namespace,
            )


class WireModel(DeferredModel):
    """Base of all models on the wire.

    Names are camelCase outside and snake_case inside; unknown keys are refused,
    values are not converted (`True` is no integer, `"1"` neither), numbers are
    finite, and no string anywhere holds U+0000 or a lone surrogate.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    absent_is_null: ClassVar[bool] = True
    """Its stored form leaves out what is null."""

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, data: Any, info: ValidationInfo) -> Any:
        # Data from a row is storable, as it was stored.
        if info.context is not STORABLE and info.context is not ACCEPTED:
            require_storable(data)
        return data

    def to_wire(self) -> dict[str, Any]:
        """The model as strict JSON data: camelCase keys, absent instead of null."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def from_wire(cls, data: Mapping[str, Any]) -> Self:
        """The model of JSON data; raises pydantic's ValidationError."""
        return cls.model_validate(data)


def require_storable(value: object) -> None:
    """Raise ValueError when a string inside cannot be stored (PostgreSQL refuses both kinds)."""
    for text in _strings(value):
        if find_unstorable(text):
            raise ValueError(gettext_lazy("text must not contain U+0000 or lone surrogates"))


def _strings(value: object) -> Iterator[str]:
    # A stack instead of recursion: nested data must not exhaust Python's.
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            waiting.extend(item)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError(gettext_lazy("must not be blank"))
    return text


NotBlank = AfterValidator(_not_blank)
Word = Annotated[str, StringConstraints(min_length=1, max_length=100), NotBlank]
Line = Annotated[str, StringConstraints(min_length=1, max_length=300), NotBlank]
Text = Annotated[str, StringConstraints(max_length=4_000)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$", max_length=64)]
HexColor = Annotated[str, Field(pattern=r"^#(?:[0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})$")]
Count = Annotated[int, Field(ge=0)]
