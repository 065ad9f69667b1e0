"""The OpenAPI document and its page; decorators that describe the operations."""

import functools
import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.http import HttpResponse
from django.utils import translation
from pydantic import BaseModel
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from plugspace_queue.api import examples
from plugspace_queue.api.base import Negotiation, PageSchema, ProblemMixin
from plugspace_queue.api.examples import of_operation, of_problems, with_status
from plugspace_queue.api.exceptions import CONTENT_TYPE
from plugspace_queue.api.responses import Problem
from plugspace_queue.api.spectacular import (
    OpenApiAuthenticationExtension,
    OpenApiParameter,
    OpenApiResponse,
    SchemaGenerator,
    SpectacularAPIView,
    SpectacularSwaggerView,
    build_bearer_security_scheme_object,
    extend_schema,
    patched_settings,
)
from plugspace_queue.errors import QueueError

F = TypeVar("F", bound=Callable[..., Any])

SETTINGS: dict[str, Any] = {
    "TITLE": "plugspace queue",
    "DESCRIPTION": (
        "Tasks and workflows of an organization. Authenticate with an API key "
        "(`Authorization: Bearer psq_…`) or with a session; a member of several organizations "
        "names one in the header `X-Organization`. Errors are RFC 9457 problem details "
        "with a stable `code`."
    ),
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "plugspace_queue.api.task_schemas.add_types",
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


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """`Authorization: Bearer psq_…`."""

    target_class = "plugspace_queue.api.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return dict(build_bearer_security_scheme_object("Authorization", "Bearer"))


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Django's session cookie."""

    target_class = "plugspace_queue.api.authentication.MemberAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}


class TenantScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """What the project's own callable takes; only the project knows what that is."""

    target_class = "plugspace_queue.api.authentication.TenantAuthentication"
    name = "project"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        text = "The credentials that this site takes elsewhere."
        return {"type": "http", "scheme": "bearer", "description": text}


@functools.cache
def document() -> dict[str, Any]:
    """The OpenAPI document, generated once in a process: it is the same for every caller."""
    with patched_settings(SETTINGS), translation.override(None):
        untyped: Any = SchemaGenerator
        generator = untyped(urlconf=SchemaView.urlconf)
        made: dict[str, Any] = generator.get_schema(request=None, public=True)
    return made


_texts: dict[str, str | bytes] = {}


def _rendered(renderer: BaseRenderer) -> str | bytes:
    """The document in one media type, cached like the document."""
    if renderer.media_type not in _texts:
        _texts[renderer.media_type] = renderer.render(document(), renderer.media_type, {})
    return _texts[renderer.media_type]


def clear_cache() -> None:
    """Generate the document anew."""
    document.cache_clear()
    _texts.clear()


class _PublicPage(ProblemMixin):
    """Base of the document and its page: public, and a problem is JSON here too."""

    authentication_classes: Any = []
    permission_classes: Any = []
    content_negotiation_class: Any = Negotiation

    def handle_exception(self, exc: Exception) -> Any:
        response = super().handle_exception(exc)
        text = JSONRenderer().render(response.data)
        return HttpResponse(text, status=response.status_code, content_type=response.content_type)


class SchemaView(_PublicPage, SpectacularAPIView):
    """The document."""

    urlconf = "plugspace_queue.urls"

    @operation(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer: BaseRenderer = request.accepted_renderer
        charset = f"; charset={renderer.charset}" if renderer.charset else ""
        return HttpResponse(
            _rendered(renderer),
            content_type=renderer.media_type + charset,
            headers={
                "Content-Disposition": f'inline; filename="{SETTINGS["TITLE"]}.{renderer.format}"'
            },
        )


class DocsView(_PublicPage, SpectacularSwaggerView):
    """The page of the document; all its files come from this site, and nothing is inline."""

    url_name = "plugspace_queue:schema"
    title = SETTINGS["TITLE"]
    template_name = "plugspace_queue/docs.html"

    @operation(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        untyped: Any = super()
        response: Response = untyped.get(request, *args, **kwargs)
        return response

    def _dump(self, data: Any) -> str:
        # Settings in the form of a script would be blocked by the page's policy.
        return "{}" if isinstance(data, str) else json.dumps(data)
