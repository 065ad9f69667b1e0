"""Every error of the API as one shape: RFC 9457 problem details with a stable `code`."""

import math
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.db import InterfaceError, OperationalError
from django.http import Http404, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from rest_framework import exceptions
from rest_framework.response import Response

from plugspace_queue import errors

CONTENT_TYPE = "application/problem+json"
MAX_LISTED = 50
TAKEN = {"type": "taskType", "status": "currentStatus"}
"""Details whose own names are members of every problem, and what they are called instead."""
RETITLED = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
"""Phrases of RFC 9110 that Python knows since 3.13: an answer is the same on every Python."""


class MethodNotAllowed(errors.QueueError):
    """This address does not know that method."""

    code: ClassVar[str] = "METHOD_NOT_ALLOWED"
    http_status: ClassVar[int] = 405


class NotAcceptable(errors.QueueError):
    """Not in this format; answers are application/json unless the document says otherwise."""

    code: ClassVar[str] = "NOT_ACCEPTABLE"
    http_status: ClassVar[int] = 406


class LengthRequired(errors.QueueError):
    """A body needs Content-Length here; one sent in chunks is not read."""

    code: ClassVar[str] = "LENGTH_REQUIRED"
    http_status: ClassVar[int] = 411


class UnsupportedMediaType(errors.QueueError):
    """Bodies are application/json only."""

    code: ClassVar[str] = "UNSUPPORTED_MEDIA_TYPE"
    http_status: ClassVar[int] = 415


class InternalError(errors.QueueError):
    """Something went wrong on our side; it was logged."""

    code: ClassVar[str] = "INTERNAL_ERROR"


def as_queue_error(error: Exception) -> errors.QueueError | None:
    """The error in our words, or None when it is nothing a caller may be told about."""
    if isinstance(error, errors.QueueError):
        return error
    for kinds, translate in _TRANSLATIONS:
        if isinstance(error, kinds):
            return translate(error)
    return None


def problem(error: errors.QueueError) -> Response:
    """The response for an error; details become camelCase members beside the standard ones."""
    status = error.http_status
    message, details = _as_sent(error)
    body = {
        "type": "about:blank",
        "title": _title(status),
        "status": status,
        "code": error.code,
        "detail": message,
        **{_member(name): value for name, value in details.items()},
    }
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        body["retryAfter"] = retry_after
    response = Response(body, status=status, content_type=CONTENT_TYPE)
    if retry_after is not None:
        response["Retry-After"] = str(max(1, math.ceil(retry_after)))
    is_of_window = not isinstance(error, errors.TooManyStreams)
    if isinstance(error, errors.RequestRateLimited) and is_of_window:
        _tell_window(response, error)
    return response


def _title(status: int) -> str:
    """The phrase of a status.

    >>> _title(404), _title(413)
    ('Not Found', 'Content Too Large')
    """
    return RETITLED.get(status) or HTTPStatus(status).phrase


def _member(detail: str) -> str:
    """What a detail is called in a problem.

    >>> _member("status"), _member("retry_of")
    ('currentStatus', 'retryOf')
    """
    return TAKEN.get(detail) or to_camel(detail)


def _as_sent(error: errors.QueueError) -> tuple[str, dict[str, Any]]:
    """Message and details with the argument named as callers send it: `projectId`."""
    field = error.details.get("field", "")
    if "_" not in field.partition(".")[0]:
        return error.message, error.details
    sent = to_camel(field)
    told = [entry | {"loc": [sent]} for entry in error.details.get("errors", [])]
    details = error.details | {"field": sent, "errors": told}
    return error.message.replace(field, sent, 1), details


def _tell_window(response: Response, error: errors.RequestRateLimited) -> None:
    response["RateLimit-Limit"] = str(error.details.get("limit", 0))
    response["RateLimit-Remaining"] = "0"
    response["RateLimit-Reset"] = response["Retry-After"]


def from_pydantic(error: ValidationError, where: str = "body") -> errors.ValidationRefused:
    """A refusal that names each wrong field; values are not repeated."""
    found = [
        {
            "loc": [str(part) for part in entry["loc"]],
            "msg": entry["msg"],
            "type": entry["type"],
        }
        for entry in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    first = found[0]
    place = ".".join(first["loc"]) or where
    return errors.ValidationRefused(
        f"{place}: {first['msg']}", errors=found[:MAX_LISTED], **_named(first["loc"])
    )


def _named(loc: Sequence[str]) -> dict[str, Any]:
    """The field of a place in a body, and of which item of a bulk.

    >>> _named(["tasks", "1", "input", "prompt"]), _named(["context", "userFeedback", "0"])
    ({'field': 'input.prompt', 'index': 1}, {'field': 'context.userFeedback'})
    """
    index = int(loc[1]) if loc[:1] == ["tasks"] and loc[1:2] and loc[1].isdigit() else None
    names = loc if index is None else loc[2:]
    field = ".".join(name for name in names if not name.isdigit())
    return {"field": field or None, "index": index}


def _authentication(error: Any) -> errors.QueueError:
    return errors.AuthenticationRefused(str(error.detail))


def _permission(error: Any) -> errors.QueueError:
    return errors.PermissionRefused(str(getattr(error, "detail", "")))


def _method(error: Any) -> errors.QueueError:
    return MethodNotAllowed(str(error.detail))


def _malformed(error: Any) -> errors.QueueError:
    return errors.ValidationRefused(str(error.detail))


def _too_big(error: Any) -> errors.QueueError:
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return errors.PayloadTooLarge("The body is larger than the server reads.", limit=limit)


def _unreadable(error: Any) -> errors.QueueError:
    return errors.ValidationRefused("The request cannot be read.")


_TRANSLATIONS: tuple[
    tuple[type[Exception] | tuple[type[Exception], ...], Callable[[Any], errors.QueueError]], ...
] = (
    (ValidationError, from_pydantic),
    ((exceptions.NotAuthenticated, exceptions.AuthenticationFailed), _authentication),
    ((exceptions.PermissionDenied, PermissionDenied), _permission),
    ((exceptions.NotFound, Http404), lambda error: errors.NotFound()),
    (RequestDataTooBig, _too_big),
    ((SuspiciousOperation, BadRequest, MultiPartParserError, UnreadablePostError), _unreadable),
    (exceptions.MethodNotAllowed, _method),
    (exceptions.NotAcceptable, lambda error: NotAcceptable()),
    (exceptions.UnsupportedMediaType, lambda error: UnsupportedMediaType()),
    ((exceptions.ParseError, exceptions.ValidationError), _malformed),
    ((OperationalError, InterfaceError), lambda error: errors.Unavailable()),
)
