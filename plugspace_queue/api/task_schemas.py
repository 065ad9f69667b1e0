"""Tasks in the OpenAPI document: a union by `type`, made from the declared types.

All schemas of inputs and outputs are made in one pass of pydantic, so that two models of one name
stay two. drf-spectacular would take the first for both.
"""

import copy
import re
from collections.abc import Container, Mapping
from typing import Any

from pydantic import TypeAdapter

from plugspace_queue.domain.catalog import public_types
from plugspace_queue.domain.task_types import TaskType

Schema = dict[str, Any]

PLACE = "#/components/schemas/"
UNIONS: Mapping[str, str] = {
    "NewTask": "New{}Task",
    "BulkTask": "Bulk{}Task",
    "AgentTask": "{}Task",
}
"""The components that are unions, and the names of their parts."""


def add_types(result: Any, generator: Any, request: Any, public: bool) -> Any:
    """Make tasks unions by their type (a hook of drf-spectacular)."""
    components: dict[str, Schema] = result["components"]["schemas"]
    kinds = public_types()
    if not kinds or "AgentTask" not in components:
        return result
    values = _schemas_of_values(kinds, components)
    components |= values.components
    for name, pattern in UNIONS.items():
        if name in components:
            whole = components[name]
            parts = {kind: _free(pattern.format(camel(kind)), components) for kind in kinds}
            components |= {parts[kind]: _part(whole, kind, values) for kind in kinds}
            components[name] = _union(whole, parts)
    result["components"]["schemas"] = dict(sorted(components.items()))
    return result


def camel(name: str) -> str:
    """The name of a type as part of a component's name.

    >>> camel("CODE"), camel("SEND_MAIL")
    ('Code', 'SendMail')
    """
    return "".join(word.capitalize() for word in name.split("_"))


class ValueSchemas:
    """The schemas of inputs and outputs: a component for each, and those they refer to."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}
        self.input: dict[str, Schema] = {}
        self.output: dict[str, Schema] = {}


def _schemas_of_values(kinds: list[TaskType], taken: Mapping[str, Schema]) -> ValueSchemas:
    # As callers send inputs, and as results are sent to them.
    adapters = [(f"{kind}.input", "validation", kind.input.adapter) for kind in kinds]
    adapters += [(f"{kind}.output", "serialization", kind.output.adapter) for kind in kinds]
    schemas, shared = TypeAdapter.json_schemas(adapters, ref_template=PLACE + "{model}")  # type: ignore[arg-type]
    definitions: dict[str, Schema] = shared.get("$defs", {})
    wanted = {
        f"{kind}.{side}": _free(f"{camel(kind)}{side.capitalize()}", taken)
        for kind in kinds
        for side in ("input", "output")
    }
    tops = {key: schema for (key, _), schema in schemas.items()}
    names = _names(tops, definitions, wanted, taken)
    found = ValueSchemas()
    found.components = {names[old]: schema for old, schema in definitions.items()}
    for key, name in wanted.items():
        found.components.setdefault(name, tops[key])
    found.components = _renamed(found.components, names)
    for kind in kinds:
        found.input[kind] = {"$ref": PLACE + wanted[f"{kind}.input"]}
        found.output[kind] = {"$ref": PLACE + wanted[f"{kind}.output"]}
    return found


def _names(
    tops: Mapping[str, Any],
    definitions: Mapping[str, Schema],
    wanted: Mapping[str, str],
    taken: Mapping[str, Schema],
) -> dict[str, str]:
    """A component's name for each definition: the type's for its model, else pydantic's own."""
    names: dict[str, str] = {}
    for key, name in wanted.items():
        place = tops[key].get("$ref", "") if len(tops[key]) == 1 else ""
        names.setdefault(place.removeprefix(PLACE), name)
    names.pop("", None)
    used = {*taken, *wanted.values()}
    for old in definitions:
        if old not in names:
            names[old] = _free(re.sub(r"[^A-Za-z0-9_]", "", old), used)
            used.add(names[old])
    return names


def _free(name: str, used: Container[str]) -> str:
    return name if name not in used else _free(f"{name}_", used)


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    """The schema with references to the new names."""
    if isinstance(schema, dict):
        renamed = {key: _renamed(part, names) for key, part in schema.items()}
        if isinstance(place := schema.get("$ref"), str):
            old = place.removeprefix(PLACE)
            renamed["$ref"] = PLACE + names.get(old, old)
        return renamed
    return [_renamed(part, names) for part in schema] if isinstance(schema, list) else schema


def _part(whole: Schema, kind: TaskType, values: ValueSchemas) -> Schema:
    part = copy.deepcopy(whole)
    part["title"] = kind.label
    fields = part["properties"]
    fields["type"] = {"const": kind.value, "title": "Type", "type": "string"}
    fields["input"] = _in_place_of(fields["input"], values.input[kind])
    if "result" in fields:
        text = {k: v for k, v in fields["result"].items() if k != "default"}
        fields["result"] = {**text, "anyOf": [values.output[kind], {"type": "null"}]}
    return part


def _in_place_of(field: Schema, value: Schema) -> Schema:
    """The schema of the value, with the words of the field, and null where that allows it."""
    text: Schema = {key: field[key] for key in ("title", "description") if key in field}
    is_nullable = {"type": "null"} in field.get("anyOf", [])
    return {**text, "anyOf": [value, {"type": "null"}]} if is_nullable else {**text, **value}


def _union(whole: Schema, parts: Mapping[TaskType, str]) -> Schema:
    mapping = {kind.value: PLACE + name for kind, name in parts.items()}
    return {
        "title": whole["title"],
        "description": whole.get("description", ""),
        "oneOf": [{"$ref": place} for place in mapping.values()],
        "discriminator": {"propertyName": "type", "mapping": mapping},
    }
