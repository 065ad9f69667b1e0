"""What the views take from drf-spectacular; without the extra `docs` stand-ins are taken.

They describe nothing: only the OpenAPI document and its page are missing then.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

IS_INSTALLED = find_spec("drf_spectacular") is not None

if TYPE_CHECKING or IS_INSTALLED:
    from drf_spectacular.extensions import OpenApiAuthenticationExtension
    from drf_spectacular.generators import SchemaGenerator
    from drf_spectacular.openapi import AutoSchema
    from drf_spectacular.plumbing import build_bearer_security_scheme_object
    from drf_spectacular.settings import patched_settings
    from drf_spectacular.types import OpenApiTypes
    from drf_spectacular.utils import (
        OpenApiExample,
        OpenApiParameter,
        OpenApiResponse,
        extend_schema,
    )
    from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
else:
    from rest_framework.schemas.openapi import AutoSchema
    from rest_framework.views import APIView

    class Undescribed:
        """Takes any description and keeps none."""

        QUERY = HEADER = BINARY = None

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    OpenApiExample = OpenApiParameter = OpenApiResponse = OpenApiTypes = Undescribed
    OpenApiAuthenticationExtension = SchemaGenerator = Undescribed
    SpectacularAPIView = SpectacularSwaggerView = APIView
    build_bearer_security_scheme_object = patched_settings = Undescribed

    def extend_schema(**details: Any) -> Any:
        """A decorator that changes nothing."""
        return lambda method: method


__all__ = [
    "IS_INSTALLED",
    "AutoSchema",
    "OpenApiAuthenticationExtension",
    "OpenApiExample",
    "OpenApiParameter",
    "OpenApiResponse",
    "OpenApiTypes",
    "SchemaGenerator",
    "SpectacularAPIView",
    "SpectacularSwaggerView",
    "build_bearer_security_scheme_object",
    "extend_schema",
    "patched_settings",
]
