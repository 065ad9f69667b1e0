"""Components of OpenAPI documents: our models and our ways to authenticate, and their names.

The names of schemas begin with one word, so that a document of the project that shows our paths, or
a client that is generated from several documents, has no two things of one name.
"""

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from plugspace_queue.api.base import is_own_document
from plugspace_queue.api.spectacular import (
    OpenApiAuthenticationExtension,
    PydanticExtension,
    ResolvedComponent,
    build_bearer_security_scheme_object,
)

PREFIX = "Plugspace"
PLACE = "#/components/schemas/"


def add_prefix(result: Any, generator: Any, request: Any, public: bool) -> Any:
    """Put the prefix before the name of every schema (a hook of drf-spectacular)."""
    schemas = result.get("components", {}).get("schemas", {})
    names = {name: PREFIX + name for name in schemas}
    renamed: dict[str, Any] = _renamed(result, names)
    if schemas:
        renamed["components"]["schemas"] = {
            names[name]: schema for name, schema in renamed["components"]["schemas"].items()
        }
    return renamed


def _renamed(part: Any, names: Mapping[str, str]) -> Any:
    """A part of the document with references to the new names; mappings of unions hold some too."""
    if isinstance(part, dict):
        return {key: _renamed(value, names) for key, value in part.items()}
    if isinstance(part, list):
        return [_renamed(value, names) for value in part]
    if isinstance(part, str) and part.startswith(PLACE):
        old = part.removeprefix(PLACE)
        return PLACE + names.get(old, old)
    return part


class WireExtension(PydanticExtension):  # type: ignore[no-untyped-call]
    """Our models in a document of the project: with the prefix, which ours gets at its end."""

    priority = 1

    @classmethod
    def _matches(cls, target: Any) -> bool:
        untyped: Any = super()
        return bool(untyped._matches(target)) and target.__module__.startswith("plugspace_queue.")

    def get_name(self, auto_schema: Any, direction: str) -> str:
        untyped: Any = super()
        return f"{_prefix()}{untyped.get_name(auto_schema, direction)}"

    def map_serializer(self, auto_schema: Any, direction: str) -> Any:
        place = f"{PLACE}{_prefix()}{{model}}"
        schema = self.target.model_json_schema(ref_template=place, mode="serialization")
        parts = schema.pop("$defs", {})
        if not is_own_document():
            for name, part in {self.target.__name__: schema, **parts}.items():
                parts = {**_named_enums(name, part), **parts}
        for name, part in parts.items():
            untyped: Any = ResolvedComponent
            component = untyped(
                name=_prefix() + name, type=ResolvedComponent.SCHEMA, object=name, schema=part
            )
            auto_schema.registry.register_on_missing(component)
        return schema


def _named_enums(model: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Take the enumerations that stand in a model's fields out of it, by a name of their own.

    A hook of drf-spectacular would name them after the field, as those of the project.
    """
    found = {}
    for field, property_ in schema.get("properties", {}).items():
        if "enum" in property_:
            name = f"{model}{field[:1].upper()}{field[1:]}"
            found[name] = {key: property_.pop(key) for key in ("enum", "type") if key in property_}
            property_["allOf"] = [{"$ref": f"{PLACE}{PREFIX}{name}"}]
    return found


def _prefix() -> str:
    return "" if is_own_document() else PREFIX


class Scheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Base of the ways to authenticate."""

    word = ""

    @property
    def name(self) -> str:  # type: ignore[override]
        """A name that differs from the project's own ones in the project's document."""
        own = self.word[:1].upper() + self.word[1:]
        return self.word if is_own_document() else f"plugspace{own}"


class KeyScheme(Scheme):  # type: ignore[no-untyped-call]
    """`Authorization: Bearer psq_…`."""

    target_class = "plugspace_queue.api.authentication.ApiKeyAuthentication"
    word = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return dict(build_bearer_security_scheme_object("Authorization", "Bearer"))


class SessionScheme(Scheme):  # type: ignore[no-untyped-call]
    """Django's session cookie."""

    target_class = "plugspace_queue.api.authentication.MemberAuthentication"
    word = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


class TenantScheme(Scheme):  # type: ignore[no-untyped-call]
    """What the project's own callable takes; only the project knows what that is."""

    target_class = "plugspace_queue.api.authentication.TenantAuthentication"
    word = "project"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        text = "The credentials that this site takes elsewhere."
        return {"type": "http", "scheme": "bearer", "description": text}
