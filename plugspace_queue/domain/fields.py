"""The fields of a model of inputs or outputs: their keys in JSON, and which ones steps fill."""

import dataclasses
import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo

from plugspace_queue.domain.steps import From


class Field(NamedTuple):
    """One field of a pydantic model, dataclass or TypedDict."""

    name: str
    key: str
    """Its name in JSON."""
    annotation: Any
    source: str | None
    """The step or type whose output fills it; None for most."""
    is_required: bool


@functools.cache
def fields_of(model: Any) -> tuple[Field, ...] | None:
    """The fields of a model; None for a type that has none, and where any key is allowed."""
    model = core_of(model)
    if _is_class(model, BaseModel):
        is_open = model.model_config.get("extra") == "allow"
        return None if is_open else tuple(_of_pydantic(model))
    if dataclasses.is_dataclass(model):
        return tuple(_of_dataclass(model))
    if hasattr(model, "__required_keys__"):
        return tuple(_of_typed_dict(model))
    return None


def sources_of(model: Any) -> tuple[Field, ...]:
    """The fields that steps fill, also of a model that allows any key."""
    model = core_of(model)
    fields = tuple(_of_pydantic(model)) if _is_class(model, BaseModel) else fields_of(model) or ()
    return tuple(field for field in fields if field.source is not None)


Outputs = Mapping[str, tuple[Any, tuple[Any, ...]]]
"""Type → the model of its output, and the models that this took the place of."""


def with_outputs(model: Any, outputs: Outputs) -> Any:
    """A pydantic model whose fields with `From` take these outputs instead of replaced ones.

    A field with another annotation stays as it is: what fills it has to fit.
    """
    if not _is_class(model, BaseModel):
        return model
    changed = []
    for field in sources_of(model):
        now, before = outputs.get(field.source or "", (Any, ()))
        wanted = core_of(field.annotation)
        if now is not Any and wanted is not now and any(wanted is one for one in before):
            changed.append((field.name, now))
    return _with_annotations(model, tuple(changed)) if changed else model


@functools.cache
def _with_annotations(model: type[BaseModel], changed: tuple[tuple[str, Any], ...]) -> Any:
    fields: dict[str, Any] = {}
    for name, now in changed:
        info = model.model_fields[name]
        allows_none = NoneType in get_args(info.annotation)
        fields[name] = (now | None if allows_none else now, info)
    made = create_model(model.__name__, __base__=model, __module__=model.__module__, **fields)
    made.__doc__ = model.__doc__
    return made


def core_of(annotation: Any) -> Any:
    """The type without Annotated and without None.

    >>> core_of(Annotated[int | None, "meta"])
    <class 'int'>
    """
    if get_origin(annotation) is Annotated:
        return core_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not NoneType]
        return core_of(parts[0]) if len(parts) == 1 else annotation
    return annotation


def part_of(model: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a model knows of some JSON data, in nested objects too.

    An optional object of which nothing is known is left out.
    """
    fields = fields_of(model)
    if fields is None:
        return dict(given)
    part: dict[str, Any] = {}
    for field in fields:
        key = field.key if field.key in given else _other_name(model, field)
        if key not in given:
            continue
        value, is_known = given[key], True
        if isinstance(value, Mapping) and fields_of(field.annotation) is not None:
            value = part_of(field.annotation, value)
            is_known = bool(value) or field.is_required
        if is_known:
            part[field.key] = value
    return part


def unknown_key(models: list[Any], given: Mapping[str, Any], place: str = "") -> str | None:
    """The first key, with its place, that none of the models knows; None when all are known."""
    if any(fields_of(model) is None for model in models):
        return None
    for key, value in given.items():
        takers = [
            field.annotation
            for model in models
            for field in fields_of(model) or ()
            if key in (field.key, _other_name(model, field))
        ]
        if not takers:
            return f"{place}{key}"
        if isinstance(value, Mapping):
            found = unknown_key(takers, value, f"{place}{key}.")
            if found is not None:
                return found
    return None


def _other_name(model: Any, field: Field) -> str:
    """The name in Python where the model takes that as well, else the key."""
    config = getattr(core_of(model), "model_config", {})
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return field.name if by_name else field.key


def _of_pydantic(model: type[BaseModel]) -> Iterator[Field]:
    for name, info in model.model_fields.items():
        key = info.validation_alias if isinstance(info.validation_alias, str) else info.alias
        source = _source_in(info.metadata) or _source_of(info.annotation)
        yield Field(name, key or name, info.annotation, source, info.is_required())


def _of_dataclass(model: Any) -> Iterator[Field]:
    hints = get_type_hints(model, include_extras=True)
    for one in dataclasses.fields(model):
        if not one.init:
            continue
        if isinstance(one.default, FieldInfo):
            # A dataclass of pydantic's has Field(…) as a default.
            is_required = one.default.is_required()
        else:
            missing = dataclasses.MISSING
            is_required = one.default is missing and one.default_factory is missing
        yield _hinted(one.name, hints[one.name], is_required)


def _of_typed_dict(model: Any) -> Iterator[Field]:
    for name, hint in get_type_hints(model, include_extras=True).items():
        yield _hinted(name, hint, name in model.__required_keys__)


def _hinted(name: str, hint: Any, is_required: bool) -> Field:
    return Field(name, name, hint, _source_of(hint), is_required)


def _source_of(annotation: Any) -> str | None:
    """The source in `Annotated[T, From(…)]`, also where that is one of `… | None`."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return _source_in(metadata) or _source_of(inner)
    if get_origin(annotation) in (Union, UnionType):
        return next(filter(None, map(_source_of, get_args(annotation))), None)
    return None


def _source_in(metadata: Iterable[Any]) -> str | None:
    return next((str(one.step) for one in metadata if isinstance(one, From)), None)


def _is_class(model: Any, base: type) -> bool:
    return inspect.isclass(model) and issubclass(model, base)
