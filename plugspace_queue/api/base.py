"""The base of every view: authenticators, scopes, body limit, one shape of errors.

All policies stand here, so that a host project needs no REST_FRAMEWORK setting.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import IO, Any, ClassVar

from django.conf import settings
from django.core.signals import got_request_exception
from django.db.models import Model
from django.utils.cache import patch_cache_control
from drf_spectacular.openapi import AutoSchema
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, set_rollback

from plugspace_queue import auditing, metrics
from plugspace_queue.api.callers import ApiKeyAuthentication, Caller, MemberAuthentication
from plugspace_queue.api.problems import (
    InternalError,
    LengthRequired,
    NotAcceptable,
    as_queue_error,
    problem,
)
from plugspace_queue.conf import get_settings
from plugspace_queue.errors import (
    AuthenticationRefused,
    NotFound,
    PayloadTooLarge,
    PermissionRefused,
)
from plugspace_queue.types import Scope

logger = logging.getLogger("plugspace_queue.api")

# Room for everything of a body that is not the input.
ENVELOPE = 64 * 1024


class LimitedJSONParser(JSONParser):
    """JSON of at most the view's `max_body` bytes, whatever Content-Length says."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        limit = (parser_context or {})["view"].max_body()
        data = stream.read(limit + 1)
        if len(data) > limit:
            raise PayloadTooLarge("The body is larger than the limit.", limit=limit)
        try:
            return self._loads(data)
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is not valid JSON: {error}") from error

    def _loads(self, data: bytes) -> Any:
        # Strict as DRF's own: NaN and Infinity are no JSON.
        return _json_loads(data.decode())


def _json_loads(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Parsers disagree on which of two equal keys counts: what was checked before us, by a proxy
    # say, might not be what we read.
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        key = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"the key {key[:100]!r} stands twice in one object")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class Negotiation(DefaultContentNegotiation):
    """As REST framework's, but a format that we do not speak is no missing address."""

    def filter_renderers(self, renderers: Any, format: str) -> Any:
        found = [renderer for renderer in renderers if renderer.format == format]
        if not found:
            raise NotAcceptable
        return found


class HasScope(BasePermission):
    """The caller's key or role grants what the view asks for this method."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not isinstance(request.auth, Caller):
            raise AuthenticationRefused("Send an API key: Authorization: Bearer psq_…")
        needed = view.scopes.get(request.method, Scope.READ)
        if needed not in request.auth.scopes:
            raise PermissionRefused(f"This needs the scope {needed}.", scope=needed.value)
        if request.method in view.staff_methods and not request.auth.is_staff:
            raise PermissionRefused("This is for staff only.")
        return True


class Problems:
    """What makes every error of an APIView a problem."""

    request: Any
    get_authenticate_header: Callable[[Any], str]

    def handle_exception(self, exc: Exception) -> Response:
        set_rollback()
        error = as_queue_error(exc)
        if error is None:
            error = self._unexpected(exc)
        metrics.count(metrics.PROBLEMS, error.code)
        response = problem(error)
        if error.http_status == AuthenticationRefused.http_status:
            response["WWW-Authenticate"] = self.get_authenticate_header(self.request)
        response.exception = True
        return response

    def _unexpected(self, exc: Exception) -> InternalError:
        if settings.DEBUG:
            raise exc
        got_request_exception.send(sender=type(self), request=self.request._request)
        logger.error("unexpected error in the API", exc_info=exc)
        return InternalError()


class ApiView(Problems, APIView):
    """A view of the API. `scopes` and `staff_methods` say what each method asks for."""

    authentication_classes = [ApiKeyAuthentication, MemberAuthentication]
    permission_classes = [HasScope]
    renderer_classes = [JSONRenderer]
    content_negotiation_class = Negotiation
    parser_classes = [LimitedJSONParser]
    throttle_classes = []
    versioning_class = None
    schema: Any = AutoSchema()

    scopes: ClassVar[Mapping[str, Scope]] = {"POST": Scope.SUBMIT}
    staff_methods: ClassVar[frozenset[str]] = frozenset()

    @property
    def caller(self) -> Caller:
        """Who calls."""
        caller = self.request.auth
        assert isinstance(caller, Caller)
        return caller

    def note(self, row: Model, said: str, reason: str = "") -> None:
        """Write down what staff did to a row; what tenants do to their own is their affair."""
        if self.caller.is_staff:
            auditing.note(self.caller.user_id, [row], f"{said}, over the API", reason)

    def max_body(self) -> int:
        """The largest body of this view, in bytes."""
        return get_settings().max_input + ENVELOPE

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        # Django and REST framework take a body without a length for an empty one.
        if request.META.get("HTTP_TRANSFER_ENCODING") and not request.META.get("CONTENT_LENGTH"):
            raise LengthRequired

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        done = super().finalize_response(request, response, *args, **kwargs)
        patch_cache_control(done, private=True, no_store=True)
        return done


class NoSuchAddress(ApiView):
    """Whatever else lies below the prefix, in the same shape as all errors."""

    authentication_classes = []
    permission_classes = []
    schema: Any = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise NotFound("No such address; every address of the API ends with a slash.")
