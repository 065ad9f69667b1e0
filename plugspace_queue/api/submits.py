"""What submits and retries over HTTP share: the key, 201 or 200, the request window, who pays."""

from collections.abc import Callable
from typing import Any

from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from plugspace_queue.api.authentication import Caller
from plugspace_queue.api.openapi import operation, submitted
from plugspace_queue.api.responses import with_window
from plugspace_queue.api.spectacular import OpenApiParameter
from plugspace_queue.errors import ValidationRefused
from plugspace_queue.limits.request_limit import RequestsLeft

HEADER = "Idempotency-Key"
LONGEST = 240

IDEMPOTENCY_KEY = OpenApiParameter(
    HEADER,
    {"type": "string", "minLength": 1, "maxLength": LONGEST},
    OpenApiParameter.HEADER,
    description="Repeat a submit with the same key: it is done once, a replay answers 200.",
)


def submit(operation_id: str, summary: str, body: Any, shape: Any) -> Callable[[Any], Any]:
    """Describe an operation that submits."""
    return operation(
        operation_id,
        summary=summary,
        parameters=[IDEMPOTENCY_KEY],
        request=body,
        responses=submitted(shape),
    )


def idempotency_key(request: Request) -> str | None:
    """The caller's key, or None. Raises ValidationRefused for an empty or too long one."""
    key = request.headers.get(HEADER)
    if key is not None and not (0 < len(key) <= LONGEST and key.isprintable()):
        raise ValidationRefused(
            _("%(header)s must be 1 to %(longest)s printable characters.")
            % {"header": HEADER, "longest": LONGEST}
        )
    return key


def stored(
    body: Any, window: RequestsLeft | None, *, is_replay: bool, place: str | None = None
) -> Response:
    """201 with the address of what is new, 200 for a replay; with the request window."""
    code = status.HTTP_200_OK if is_replay else status.HTTP_201_CREATED
    response = Response(body, status=code, headers={"Location": place} if place else None)
    if window is not None:
        response["RateLimit-Limit"] = str(window.limit)
        response["RateLimit-Remaining"] = str(window.remaining)
        response["RateLimit-Reset"] = str(window.reset)
    return response


def terms(caller: Caller, reason: str = "") -> dict[str, Any]:
    """A tenant's retry is charged and counted, staff's is given away with a reason."""
    return {
        "charge": not caller.is_staff,
        "limit_requests": not caller.is_staff,
        "reason": reason or f"over the API by {caller.user_id}",
    }


def retried(body: Any, caller: Caller, organization_id: str) -> Response:
    """The answer to a retry, with the window it counted in."""
    response = Response(body)
    return response if caller.is_staff else with_window(response, organization_id)
