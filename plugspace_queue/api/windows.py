"""RateLimit-* headers: what is left of the organization's running request window."""

from rest_framework.response import Response

from plugspace_queue.engine import server
from plugspace_queue.models import Organization
from plugspace_queue.policies import tier_of


def with_window(response: Response, organization_id: str) -> Response:
    """The response with limit, calls left and seconds to the reset; without Redis as it was."""
    window = server.request_window(organization_id)
    if window is None:
        return response
    used, seconds = window
    organization = Organization.objects.select_related("tier").get(pk=organization_id)
    limit = tier_of(organization).request_limit
    response["RateLimit-Limit"] = str(limit)
    response["RateLimit-Remaining"] = str(max(0, limit - used))
    response["RateLimit-Reset"] = str(seconds)
    return response
