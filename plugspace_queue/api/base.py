"""The base of every view: authenticators, scopes, body limit, one shape of errors.

All policies stand here, so that a host project needs no REST_FRAMEWORK setting.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.core.signals import got_request_exception
from django.db.models import Model
from django.utils.cache import patch_cache_control
from drf_spectacular.openapi import AutoSchema
from pydantic import BaseModel
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, set_rollback

from plugspace_queue import audit_log, metrics
from plugspace_queue.api.authentication import ApiKeyAuthentication, Caller, MemberAuthentication
from plugspace_queue.api.exceptions import InternalError, NotAcceptable, as_queue_error, problem
from plugspace_queue.api.parsers import LimitedJSONParser, require_length
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.errors import AuthenticationRefused, NotFound

logger = logging.getLogger("plugspace_queue.api")

Body = TypeVar("Body", bound=BaseModel)


class Negotiation(DefaultContentNegotiation):
    """As REST framework's, but a format that we do not speak is no missing address."""

    def filter_renderers(self, renderers: Any, format: str) -> Any:
        found = [renderer for renderer in renderers if renderer.format == format]
        if not found:
            raise NotAcceptable
        return found


class MayDo(BasePermission):
    """The caller may do what this method of the view is, by the one table of permissions."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not isinstance(request.auth, Caller):
            raise AuthenticationRefused("Send an API key: Authorization: Bearer psq_…")
        request.auth.require(view.verbs.get(request.method, Verb.VIEW))
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
    """A view of the API. `verbs` says what each method does; one left out looks."""

    authentication_classes = [ApiKeyAuthentication, MemberAuthentication]
    permission_classes = [MayDo]
    renderer_classes = [JSONRenderer]
    content_negotiation_class = Negotiation
    parser_classes = [LimitedJSONParser]
    throttle_classes = []
    versioning_class = None
    schema: Any = AutoSchema()

    verbs: ClassVar[Mapping[str, Verb]] = {"POST": Verb.SUBMIT}

    @property
    def caller(self) -> Caller:
        """Who calls."""
        caller = self.request.auth
        assert isinstance(caller, Caller)
        return caller

    def note(self, row: Model, said: str, reason: str = "") -> None:
        """Write down what staff did to a row; what tenants do to their own is their affair."""
        if self.caller.is_staff:
            audit_log.note(self.caller.user_id, [row], f"{said}, over the API", reason)

    max_body: ClassVar[int | None] = None
    """The largest body of this view, in bytes; None: MAX_INPUT and its envelope."""

    def body(self, model: type[Body], *, is_optional: bool = False) -> Body:
        """The body of the request, checked; one that may be left out is empty then."""
        data = self.request.data
        return model.model_validate((data or {}) if is_optional else data)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        require_length(request)

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
