"""The OpenAPI document and its page; decorators that describe the operations."""

import functools
import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.conf import settings
from django.http import HttpResponse
from django.urls import reverse
from django.utils import translation
from django.utils.encoding import escape_uri_path
from pydantic import BaseModel
from rest_framework.renderers import JSONRenderer, TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from plugspace_queue.api import components, examples
from plugspace_queue.api.base import DESCRIPTION, Negotiation, PageSchema, ProblemMixin
from plugspace_queue.api.examples import of_operation, of_problems, with_status
from plugspace_queue.api.exceptions import CONTENT_TYPE
from plugspace_queue.api.responses import Problem
from plugspace_queue.api.spectacular import (
    SPECTACULAR_DEFAULTS,
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiParameter,
    OpenApiResponse,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
    SchemaGenerator,
    extend_schema,
    patched_settings,
)
from plugspace_queue.errors import QueueError

F = TypeVar("F", bound=Callable[..., Any])

SETTINGS: dict[str, Any] = {
    "TITLE": "plugspace queue",
    "DESCRIPTION": DESCRIPTION,
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "COMPONENT_SPLIT_REQUEST": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "plugspace_queue.api.task_schemas.add_types",
        # After all that makes components.
        f"{components.__name__}.add_prefix",
    ],
}

_REFUSALS = {
    400: "Not valid",
    401: "No valid credentials",
    402: "Quota used up",
    403: "Not allowed",
    404: "Not found, or of another organization",
    409: "Not possible in this state, or a conflict",
    411: "A chunked body, without Content-Length",
    413: "Too large",
    429: "Too many requests",
    503: "Redis or the database is unavailable, or no room for another stream",
}
OTHERS = "Any other refusal"

READS = (400, 401, 403, 404, 503)
CHANGES = (*READS, 409, 411, 413)
SUBMITS = tuple(_REFUSALS)


def operation(operation_id: str | None = None, **details: Any) -> Callable[[F], F]:
    """Describe a method of a view; works without REST_FRAMEWORK["DEFAULT_SCHEMA_CLASS"]."""

    def described(method: F) -> F:
        # extend_schema builds on the class that it finds here, and else on the project's default.
        vars(method).setdefault("kwargs", {})["schema"] = PageSchema
        found = of_operation(operation_id)
        return extend_schema(operation_id=operation_id, examples=found, **details)(method)

    return described


def answers(code: Any, shape: Any, refusals: Iterable[int] = READS) -> dict[Any, Any]:
    """The responses of an operation: the successful one, and refusals as problems."""
    problems: dict[Any, Any] = {
        status: _problem(_REFUSALS[status], with_status(status)) for status in refusals
    }
    problems["default"] = _problem(OTHERS, examples.OTHERS)
    return {code: shape} | {(status, CONTENT_TYPE): one for status, one in problems.items()}


def _problem(text: str, refusals: tuple[QueueError, ...]) -> OpenApiResponse:
    codes = ", ".join(error.code for error in refusals)
    return OpenApiResponse(Problem, f"{text} ({codes})", examples=of_problems(refusals))


def submitted(shape: Any) -> dict[Any, Any]:
    """The responses of a submit: 201, or 200 for a replay with the same Idempotency-Key."""
    return answers(201, shape, SUBMITS) | {200: OpenApiResponse(shape, "The first response")}


def parameters(model: type[BaseModel]) -> list[OpenApiParameter]:
    """The fields of a query model as parameters of an operation."""
    schema = model.model_json_schema(by_alias=True)
    defs = schema.get("$defs", {})
    return [_parameter(name, field, defs) for name, field in schema["properties"].items()]


def _parameter(name: str, field: dict[str, Any], defs: dict[str, Any]) -> OpenApiParameter:
    plain = next((o for o in field.get("anyOf", []) if o.get("type") != "null"), field)
    if "$ref" in plain:
        plain = defs[plain["$ref"].rsplit("/", 1)[1]]
    kept = {k: v for k, v in plain.items() if k not in ("title", "description", "default")}
    text = field.get("description", "")
    return OpenApiParameter(name, kept, OpenApiParameter.QUERY, description=text)


PROJECTS_OWN = ("SERVE_", "DEFAULT_GENERATOR_CLASS")
"""Beginnings of settings that a document cannot have of its own."""


@functools.cache
def document() -> dict[str, Any]:
    """The OpenAPI document, generated once in a process: it is the same for every caller.

    Made with drf-spectacular's defaults and our settings, whatever the project's are.
    """
    defaults = {k: v for k, v in SPECTACULAR_DEFAULTS.items() if not k.startswith(PROJECTS_OWN)}
    with patched_settings({**defaults, **SETTINGS}), translation.override(None):
        untyped: Any = SchemaGenerator
        generator = untyped(urlconf=SchemaView.urlconf)
        made: dict[str, Any] = generator.get_schema(request=None, public=True)
    return made


def document_below(prefix: str) -> dict[str, Any]:
    """The document of a site that has our URLs below a prefix (`/queue`; "": at its root)."""
    whole = document()
    if not prefix:
        return whole
    head = {name: whole[name] for name in ("openapi", "info")}
    return {**head, "servers": [{"url": prefix}], **whole}


@functools.lru_cache(maxsize=16)
def _rendered(renderer: Any, prefix: str) -> str | bytes:
    """The document in one media type, cached like the document."""
    text: str | bytes = renderer().render(document_below(prefix), renderer.media_type, {})
    return text


def clear_cache() -> None:
    """Generate the document anew."""
    document.cache_clear()
    _rendered.cache_clear()


class _PublicPage(ProblemMixin):
    """Base of the document and its page: public, and a problem is JSON here too."""

    authentication_classes: Any = []
    permission_classes: Any = []
    throttle_classes: Any = []
    versioning_class: Any = None
    content_negotiation_class: Any = Negotiation
    schema: Any = None

    def handle_exception(self, exc: Exception) -> Any:
        response = super().handle_exception(exc)
        text = JSONRenderer().render(response.data)
        return HttpResponse(text, status=response.status_code, content_type=response.content_type)


class SchemaView(_PublicPage, APIView):
    """The document."""

    urlconf = "plugspace_queue.urls"
    route = "api/v1/schema/"
    renderer_classes = (
        OpenApiYamlRenderer,
        OpenApiYamlRenderer2,
        OpenApiJsonRenderer,
        OpenApiJsonRenderer2,
    )

    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer: Any = request.accepted_renderer
        charset = f"; charset={renderer.charset}" if renderer.charset else ""
        # With what a proxy or a WSGI server puts before all addresses of the project.
        prefix = escape_uri_path(request.path.removesuffix(self.route).rstrip("/"))
        return HttpResponse(
            _rendered(renderer.__class__, prefix),
            content_type=renderer.media_type + charset,
            headers={
                "Content-Disposition": f'inline; filename="{SETTINGS["TITLE"]}.{renderer.format}"'
            },
        )


class DocsView(_PublicPage, APIView):
    """The page of the document; all its files come from this site, and nothing is inline."""

    renderer_classes = (TemplateHTMLRenderer,)

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        match = request._request.resolver_match
        assert match is not None
        context = {
            "title": SETTINGS["TITLE"],
            "schema_url": reverse(f"{match.namespace}:schema"),
            "settings": json.dumps({"deepLinking": True}),
            "csrf_header_name": settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-"),
        }
        return Response(context, template_name="plugspace_queue/docs.html")
