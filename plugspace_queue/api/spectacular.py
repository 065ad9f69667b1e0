"""What the views take from drf-spectacular; without the extra `docs` stand-ins are taken.

They describe nothing: only the OpenAPI document and its page are missing then.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

IS_INSTALLED = find_spec("drf_spectacular") is not None

if TYPE_CHECKING or IS_INSTALLED:
    from drf_spectacular.contrib.pydantic import PydanticExtension
    from drf_spectacular.extensions import OpenApiAuthenticationExtension
    from drf_spectacular.generators import SchemaGenerator
    from drf_spectacular.openapi import AutoSchema
    from drf_spectacular.plumbing import ResolvedComponent, build_bearer_security_scheme_object
    from drf_spectacular.renderers import (
        OpenApiJsonRenderer,
        OpenApiJsonRenderer2,
        OpenApiYamlRenderer,
        OpenApiYamlRenderer2,
    )
    from drf_spectacular.settings import (
        SPECTACULAR_DEFAULTS,
        patched_settings,
        spectacular_settings,
    )
    from drf_spectacular.types import OpenApiTypes
    from drf_spectacular.utils import (
        OpenApiExample,
        OpenApiParameter,
        OpenApiResponse,
        extend_schema,
    )
else:
    from rest_framework.schemas.openapi import AutoSchema

    class Undescribed:
        """Takes any description and keeps none."""

        QUERY = HEADER = BINARY = DESCRIPTION = None

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    OpenApiExample = OpenApiParameter = OpenApiResponse = OpenApiTypes = Undescribed
    OpenApiAuthenticationExtension = PydanticExtension = ResolvedComponent = Undescribed
    OpenApiJsonRenderer = OpenApiJsonRenderer2 = Undescribed
    OpenApiYamlRenderer = OpenApiYamlRenderer2 = SchemaGenerator = Undescribed
    build_bearer_security_scheme_object = patched_settings = spectacular_settings = Undescribed
    SPECTACULAR_DEFAULTS: dict[str, Any] = {}

    def extend_schema(**details: Any) -> Any:
        """A decorator that changes nothing."""
        return lambda method: method


__all__ = [
    "IS_INSTALLED",
    "SPECTACULAR_DEFAULTS",
    "AutoSchema",
    "OpenApiAuthenticationExtension",
    "OpenApiExample",
    "OpenApiJsonRenderer",
    "OpenApiJsonRenderer2",
    "OpenApiParameter",
    "OpenApiResponse",
    "OpenApiTypes",
    "OpenApiYamlRenderer",
    "OpenApiYamlRenderer2",
    "PydanticExtension",
    "ResolvedComponent",
    "SchemaGenerator",
    "build_bearer_security_scheme_object",
    "extend_schema",
    "patched_settings",
    "spectacular_settings",
]
