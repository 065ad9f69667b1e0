"""Base classes of the views: authentication, permissions, body limit, one shape of errors.

All policies are set here, so that a host project needs no REST_FRAMEWORK setting.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.core.signals import got_request_exception
from django.db.models import Model
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.utils.translation import gettext as _
from pydantic import BaseModel
from rest_framework.authentication import BaseAuthentication
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import SAFE_METHODS
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, set_rollback
from rest_framework.viewsets import ViewSetMixin

from plugspace_queue import audit_log, metrics
from plugspace_queue.api import tenants
from plugspace_queue.api.authentication import (
    ApiKeyAuthentication,
    Caller,
    MemberAuthentication,
    TenantAuthentication,
)
from plugspace_queue.api.exceptions import InternalError, NotAcceptable, as_queue_error, problem
from plugspace_queue.api.parsers import LimitedJSONParser, require_length
from plugspace_queue.api.permissions import HasVerb
from plugspace_queue.api.requests import ReasonRequest
from plugspace_queue.api.spectacular import AutoSchema, spectacular_settings
from plugspace_queue.conf import get_settings
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.errors import AuthenticationRefused, NotFound

logger = logging.getLogger("plugspace_queue.api")

Body = TypeVar("Body", bound=BaseModel)


DESCRIPTION = (
    "Tasks and workflows of an organization. Authenticate with an API key "
    "(`Authorization: Bearer psq_…`) or with a session; a member of several organizations "
    "names one in the header `X-Organization`. Errors are RFC 9457 problem details "
    "with a stable `code`."
)
"""Of the API's own OpenAPI document, which is known by it."""


def is_own_document() -> bool:
    """Whether the document that is being made is ours, and not the project's."""
    return bool(spectacular_settings.DESCRIPTION == DESCRIPTION)


class PageSchema(AutoSchema):
    """The schema of a view of ours: in our own document, and in the project's if it asks for it."""

    def __get__(self, instance: Any, owner: Any) -> Any:
        is_shown = is_own_document() or get_settings().in_host_schema
        return super().__get__(instance, owner) if is_shown else None

    def _is_list_view(self, serializer: Any = None) -> bool:
        # REST framework would wrap the answers of `list` into an array; ours are pages already.
        return False


class Negotiation(DefaultContentNegotiation):
    """As REST framework's, but an unknown `format` is 406 and not 404."""

    def filter_renderers(self, renderers: Any, format: str) -> Any:
        found = [renderer for renderer in renderers if renderer.format == format]
        if not found:
            raise NotAcceptable
        return found


class ProblemMixin:
    """Answers every error of an APIView as problem details."""

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


class ApiView(ProblemMixin, APIView):
    """A view of the API; its methods need the verb `view`."""

    authentication_classes = [ApiKeyAuthentication, MemberAuthentication]
    permission_classes = [HasVerb]
    renderer_classes = [JSONRenderer]
    content_negotiation_class = Negotiation
    parser_classes = [LimitedJSONParser]
    throttle_classes = []
    versioning_class = None
    schema: Any = PageSchema()

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Those of the class, and the project's own callable before sessions."""
        found = super().get_authenticators()
        if found and isinstance(found[-1], MemberAuthentication) and tenants.is_configured():
            found.insert(-1, TenantAuthentication())
        return found

    @property
    def caller(self) -> Caller:
        """Who sent the request."""
        caller = self.request.auth
        assert isinstance(caller, Caller)
        return caller

    def required_verb(self) -> Verb:
        """What the caller must be allowed to do."""
        return Verb.VIEW

    def place(self, name: str, *args: object) -> str:
        """The path of one of our URLs, below the include through which this request came."""
        match = self.request._request.resolver_match
        assert match is not None
        return reverse(f"{match.namespace}:{name}", args=args)

    max_body: ClassVar[int | None] = None
    """The largest body of this view, in bytes; None: MAX_INPUT and its envelope."""

    def body(self, model: type[Body], *, is_optional: bool = False) -> Body:
        """The validated body of the request; an optional one may be omitted."""
        data = self.request.data
        return model.model_validate((data or {}) if is_optional else data)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        require_length(request)

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        patch_cache_control(final, private=True, no_store=True)
        return final


class ApiViewSet(ViewSetMixin, ApiView):
    """The actions of one resource. `verbs` names what each action needs; reads need `view`."""

    lookup_url_kwarg: ClassVar[str]
    lookup_value_converter: ClassVar[str]
    verbs: ClassVar[Mapping[str, Verb]]

    def required_verb(self) -> Verb:
        # A method without an action is answered with 405 after the permission check.
        if self.request.method in SAFE_METHODS or self.action is None:
            return Verb.VIEW
        return self.verbs[self.action]

    def read_reason(self) -> str:
        """The reason in the body, which may be left out."""
        return self.body(ReasonRequest, is_optional=True).reason

    def audit(self, row: Model, change: str, reason: str = "") -> None:
        """Record what staff did to a row; what tenants do to their own rows is not audited."""
        if self.caller.is_staff:
            audit_log.note(self.caller.user_id, [row], f"{change}, over the API", reason)


class UnknownAddress(ApiView):
    """Answers every other URL below the prefix with a problem."""

    authentication_classes = []
    permission_classes = []
    schema: Any = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise NotFound(_("No such address; every address of the API ends with a slash."))


class MissingDocument(UnknownAddress):
    """Answers in place of the OpenAPI document where the extra `docs` is not installed."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise NotFound(
            _("The OpenAPI document needs an extra: pip install 'plugspace_queue[docs]'.")
        )
