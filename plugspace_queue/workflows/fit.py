"""Whether the output of one type fits a field of another type's input, by their JSON schemas.

Only certain misfits are reported: those whose values would be refused by the field.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from django.utils.translation import gettext as _
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic_core import PydanticOmit

from plugspace_queue.domain.fields import core_of
from plugspace_queue.domain.shapes import built_adapter, is_model

Schema = Mapping[str, Any]

DEEPEST = 12
"""Levels of nested objects that are compared."""


def misfit(output: Any, annotation: Any, *, is_closed: bool) -> str | None:
    """Why values of an output cannot enter a field with this annotation; None when they may.

    `is_closed` says whether the field's models refuse keys that they do not know, where they say
    nothing themselves.
    """
    wanted = core_of(annotation)
    if wanted is Any or output is Any or _extends(output, wanted):
        return None
    try:
        made = built_adapter(output).json_schema(mode="serialization")
        taken = built_adapter(wanted).json_schema(mode="validation")
    except (PydanticUserError, PydanticInvalidForJsonSchema, PydanticOmit):
        return None
    return next(_Comparison(made, taken, is_closed).faults(made, taken, "it", 0), None)


def _extends(output: Any, wanted: Any) -> bool:
    # A TypedDict is a class that allows no question about subclasses.
    are_models = is_model(output) and is_model(wanted)
    return bool(output == wanted or (are_models and issubclass(output, wanted)))


class _Comparison:
    def __init__(self, made: Schema, taken: Schema, is_closed: bool) -> None:
        self._made, self._taken, self._is_closed = made, taken, is_closed

    def faults(self, made: Schema, taken: Schema, place: str, depth: int) -> Iterator[str]:
        """What is certainly wrong with values of `made` where `taken` is taken."""
        made, taken = _resolved(made, self._made), _resolved(taken, self._taken)
        if depth > DEEPEST or not (_is_plain(made) and _is_plain(taken)):
            return
        if alternatives := _alternatives(made):
            # One that may enter is enough: which of them it will be is not known.
            found = [next(self.faults(one, taken, place, depth), None) for one in alternatives]
            yield from found[:1] if all(found) else ()  # type: ignore[misc]
        elif alternatives := _alternatives(taken):
            found = [next(self.faults(made, one, place, depth), None) for one in alternatives]
            yield from found[:1] if all(found) else ()  # type: ignore[misc]
        elif not _may_be(made["type"], taken["type"]):
            types = {"made": made["type"], "taken": taken["type"]}
            yield _("%(place)s is of the type %(made)s, not %(taken)s") % {"place": place, **types}
        elif made["type"] == "object":
            yield from self._of_objects(made, taken, place, depth)
        elif made["type"] == "array" and "items" in made and "items" in taken:
            yield from self.faults(made["items"], taken["items"], f"{place}[]", depth + 1)

    def _of_objects(self, made: Schema, taken: Schema, place: str, depth: int) -> Iterator[str]:
        known, wanted = made.get("properties"), taken.get("properties")
        if known is None or wanted is None:
            return
        for name in taken.get("required", ()):
            if name not in known and not made.get("additionalProperties"):
                yield _("%(place)s has no %(name)r") % {"place": place, "name": name}
        is_closed = taken.get("additionalProperties", not self._is_closed) is False
        for name, schema in known.items():
            if name in wanted:
                yield from self.faults(schema, wanted[name], f"{place}.{name}", depth + 1)
            elif is_closed and (name in made.get("required", ()) or "default" in schema):
                message = _("%(place)s has %(name)r, which the field does not take")
                yield message % {"place": place, "name": name}


def _resolved(schema: Schema, whole: Schema) -> Schema:
    while "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def _alternatives(schema: Schema) -> list[Schema]:
    """The schemas of which one holds; null is left out, as the output may be something else."""
    parts = schema.get("anyOf") or schema.get("oneOf") or []
    return [part for part in parts if part.get("type") != "null"]


def _is_plain(schema: Schema) -> bool:
    """Whether it names a type, or alternatives, and so can be compared."""
    named = schema.get("type")
    return bool(_alternatives(schema)) or (isinstance(named, str) and named != "null")


def _may_be(made: str, taken: str) -> bool:
    return made == taken or {made, taken} == {"integer", "number"}
