"""The organization's running request window: as RateLimit-* headers, and beside its usage."""

from rest_framework.response import Response

from plugspace_queue.api.responses import RequestWindow
from plugspace_queue.broker import server
from plugspace_queue.models import Organization
from plugspace_queue.policies import tier_of


def window_of(organization: Organization) -> RequestWindow:
    """Limit, calls counted and left, seconds to the reset."""
    plan = tier_of(organization)
    running = server.request_window(organization.pk)
    used, reset = running or (None, None)
    return RequestWindow(
        limit=plan.request_limit,
        duration=plan.request_window,
        used=used,
        remaining=None if used is None else max(0, plan.request_limit - used),
        reset=reset,
    )


def with_window(response: Response, organization_id: str) -> Response:
    """The response with the window's headers; without Redis as it was."""
    window = window_of(Organization.objects.select_related("tier").get(pk=organization_id))
    if window.used is not None:
        response["RateLimit-Limit"] = str(window.limit)
        response["RateLimit-Remaining"] = str(window.remaining)
        response["RateLimit-Reset"] = str(window.reset)
    return response
